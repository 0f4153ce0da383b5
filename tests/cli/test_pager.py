"""The pager: for what is longer than the screen of a terminal, and for nothing else."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, write_story
from tests.query.factory import Story

__all__: list[str] = []

pty = pytest.importorskip("pty")

_ROOT = Path(__file__).parent.parent.parent
_TAKE_THREE = (
    f"{sys.executable} -c \"import sys; print('PAGED'); [print(next(sys.stdin), end='') for _ in '123']\""
)


@pytest.fixture
def long(clean_environment: Path) -> Path:
    """Give the default database, with a run that is longer than any screen."""
    story = Story("long", process_id="b" * 16)
    agent = story.start("a")
    for number in range(120):
        story.call(agent, f"tool_{number % 2}")
    path = clean_environment / "traces.db"
    write_story(path, story)
    return path


def on_terminal(*args: str, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal of 24 lines of 80; give its exit code and all that was printed."""
    terminal, inside = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    given = {"LINES": "24", "COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": str(_ROOT), **environment}
    child = subprocess.Popen(
        [sys.executable, "-m", "agenttrace", *args],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**kept, **given},
        start_new_session=True,
    )
    os.close(inside)
    text = b""
    try:
        while True:
            ready, _, _ = select.select([terminal], [], [], 60)
            assert ready, "nothing was printed for a minute"
            text += os.read(terminal, 65536)
    except OSError:
        pass  # the terminal's end on Linux
    finally:
        code = child.wait(60)
        os.close(terminal)
    return code, text.decode()


@pytest.mark.slow
class TestPager:
    def test_takes_what_is_longer_than_the_screen(self, long: Path) -> None:
        """It gets the whole from its first line, in colour, and leaving it early is quiet and exits 0."""
        code, text = on_terminal("show", AGENTTRACE_PAGER=_TAKE_THREE, PAGER="false")
        lines = text.splitlines()
        assert code == 0
        assert lines[0] == "PAGED"
        assert "conversation" in lines[1]
        assert len(lines) == 4
        assert "\x1b[" in text

    def test_is_that_of_the_environment(self, long: Path) -> None:
        """PAGER is taken where AGENTTRACE_PAGER does not stand."""
        assert on_terminal("show", PAGER=_TAKE_THREE)[1].startswith("PAGED")

    @pytest.mark.parametrize("environment", [{"AGENTTRACE_PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "'"}])
    def test_is_left_out_when_told_so(self, long: Path, environment: dict[str, str]) -> None:
        """Nothing, or cat, or what cannot be read, means none."""
        code, text = on_terminal("show", **environment)
        assert code == 0
        assert text.count("tool_") > 100

    def test_is_left_out_by_the_option(self, long: Path) -> None:
        """``--no-pager`` prints all at once."""
        code, text = on_terminal("show", "--no-pager", PAGER=_TAKE_THREE)
        assert code == 0
        assert "PAGED" not in text
        assert text.count("tool_") > 100

    def test_that_cannot_be_started_is_done_without(self, long: Path) -> None:
        """A pager that is not there costs nobody the output."""
        code, text = on_terminal("show", PAGER="no-such-pager-anywhere")
        assert code == 0
        assert text.count("tool_") > 100

    def test_is_not_for_what_fits(self, long: Path) -> None:
        """What a screen holds is printed as ever."""
        code, text = on_terminal("list", PAGER=_TAKE_THREE)
        assert code == 0
        assert "PAGED" not in text
        assert "long" in text

    def test_is_not_for_a_pipe(self, shell: Shell, long: Path) -> None:
        """A pipe gets the text, whatever the environment says."""
        done = shell("show", env={"PAGER": _TAKE_THREE})
        assert done.returncode == 0
        assert "PAGED" not in done.stdout
        assert done.stdout.count("tool_") > 100
