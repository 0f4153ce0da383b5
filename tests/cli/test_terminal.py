"""The terminal: colour when wanted, ASCII when needed, nothing hostile, quiet on a closed pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Shell, write_story
from tests.query.factory import Story
from tests.query.test_render import HOSTILE

__all__: list[str] = []


@pytest.fixture
def hostile(clean_environment: Path) -> Path:
    """Give a database whose every text is an attack on the terminal."""
    story = Story("evil\x1b[2J\u202e")
    story.conversation(HOSTILE, {HOSTILE: HOSTILE})
    agent = story.start(HOSTILE, agent_id=f"id{HOSTILE}", given=HOSTILE)
    story.turn(agent, HOSTILE)
    story.call(
        agent,
        HOSTILE,
        {HOSTILE: [HOSTILE]},
        error=(HOSTILE, HOSTILE),
        handled_at={"file": HOSTILE, "line": 1},
    )
    story.add("note", agent, {"text": HOSTILE})
    story.open_call(agent, HOSTILE)
    path = clean_environment / "traces.db"
    write_story(path, story, ended=False)
    return path


class TestHostileText:
    @pytest.mark.parametrize(
        "args",
        [
            ("list",),
            ("show",),
            ("show", "--full"),
            ("show", "--timeline"),
            ("show", "--timeline", "--full"),
            ("show", "--event", "5"),
            ("show", "--all", "--depth", "2"),
            ("show", "--format", "markdown"),
            ("show", "--format", "markdown", "--timeline"),
            ("show", "--format", "markdown", "--event", "5"),
            ("show", "--agent", "nobody"),
            ("show", "\x1b[2Jnobody"),
            ("errors",),
            ("ps",),
            ("sql", "SELECT * FROM trajectory_events"),
            ("sql", 'SELECT agent_name AS "\x1b[2J" FROM agents'),
            ("doctor", "--verify"),
            ("list", "--json"),
            ("show", "--json"),
            ("errors", "--json"),
            ("ps", "--json"),
        ],
        ids=lambda args: " ".join(args).replace("\x1b", "ESC"),
    )
    def test_reaches_the_terminal_as_escapes(
        self, invoke: Invoke, hostile: Path, args: tuple[str, ...]
    ) -> None:
        """No control character, and no bidirectional override, is ever printed."""
        result = invoke(*args)
        for text in (result.stdout, result.stderr):
            for char in ("\x1b", "\x07", "\r", "\u202e", "\u009b"):
                assert char not in text

    def test_is_no_markup(self, invoke: Invoke, hostile: Path) -> None:
        """rich's own markup in a payload is shown letter by letter."""
        assert "[bold red]x[/]" in invoke("show", "--timeline", "--full", env={"COLUMNS": "200"}).stdout

    def test_is_no_markup_with_colour_either(self, invoke: Invoke, hostile: Path) -> None:
        """With colour on, the only escape sequences are ours: colours and styles."""
        import re

        text = invoke("show", "--timeline", env={"FORCE_COLOR": "1", "TERM": "xterm-256color"}).stdout
        assert "\x1b[" in text
        assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", text)


class TestColour:
    def test_is_off_in_a_pipe_and_with_no_color(self, invoke: Invoke, database: Path) -> None:
        """A pipe gets no escape sequences; NO_COLOR takes colours away also where they were forced."""
        assert "\x1b" not in invoke("show").stdout
        text = invoke("show", env={"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}).stdout
        assert "\x1b[31m" not in text and "\x1b[32m" not in text


class TestAscii:
    @pytest.mark.slow
    def test_is_used_where_the_encoding_knows_no_more(self, shell: Shell, database: Path) -> None:
        """With an ASCII stdout the tree is drawn in ASCII, and foreign letters become escapes."""
        story = Story("unicode", process_id="b" * 16)
        agent = story.start("агент", given="漢字")
        story.call(agent, "café", {"é": "ü"}, error=("Fehler", "größer"))
        write_story(database, story)
        for args in (
            ("show", "unicode"),
            ("show", "unicode", "--timeline"),
            ("list",),
            ("errors",),
            ("show", "unicode", "--json"),
            ("show", "unicode", "--format", "markdown"),
            ("ps",),
        ):
            done = shell(*args, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
            assert done.returncode == 0, done.stderr
            assert done.stdout.isascii()
            assert "\\u2714" not in done.stdout  # a mark of ours has a word instead
        assert "|- " in shell("show", "c0ffee", env={"PYTHONIOENCODING": "ascii"}).stdout


class TestClosedPipe:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "args",
        [
            "show --timeline --full",
            "show --full --json",
            "sql 'SELECT * FROM trajectory_events'",
            "list --json",
        ],
    )
    def test_ends_quietly(self, database: Path, args: str) -> None:
        """``| head -1`` gets its line; the command exits 0 and says nothing."""
        big = Story("big", process_id="b" * 16)
        agent = big.start("a")
        for number in range(2000):
            big.call(agent, "t", {"n": number, "text": "x" * 200})
        write_story(database, big)
        command = f"{sys.executable} -m agenttrace {args} | head -n 1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
        assert done.stderr == ""


class TestImport:
    def run_and_list_modules(self, *args: str) -> set[str]:
        """Run the command line in a fresh process; give what it imported."""
        program = (
            "import sys, json\n"
            "from agenttrace.cli.main import cli\n"
            f"cli.main({list(args)!r}, standalone_mode=False, prog_name='agenttrace')\n"
            "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        modules: list[str] = json.loads(done.stderr.splitlines()[-1])
        return set(modules)

    @pytest.mark.slow
    def test_of_help_loads_no_command(self) -> None:
        """``agenttrace --help`` needs neither peewee nor sqlite3 nor rich, and loads no command."""
        modules = self.run_and_list_modules("--help")
        assert not modules & {
            "peewee",
            "sqlite3",
            "rich",
            "rich.console",
            "agenttrace.cli.show",
            "agenttrace.store",
        }

    @pytest.mark.slow
    def test_of_a_question_loads_no_other(self, database: Path) -> None:
        """``ps`` and ``list`` do without what diagnoses, compares, redacts, migrates or renders Markdown."""
        for command in ("ps", "list"):
            loaded = self.run_and_list_modules(command)
            assert not loaded & {
                "agenttrace.encode.redact",
                "agenttrace.query.compare",
                "agenttrace.query.diagnose",
                "agenttrace.query.diff",
                "agenttrace.query.find",
                "agenttrace.query.render_markdown",
                "agenttrace.write.drain",
                "playhouse.migrations",
            }

    @pytest.mark.slow
    def test_of_json_loads_no_rich(self, database: Path) -> None:
        """What prints JSON does without the terminal library."""
        assert "rich.console" not in self.run_and_list_modules("list", "--json")


class TestRecovery:
    @pytest.mark.slow
    @pytest.mark.shared_ring
    def test_comes_before_reading(self, shell: Shell, tmp_path: Path, clean_environment: Path) -> None:
        """What a killed program left in its ring is stored by the next command, and shows as interrupted."""
        script = tmp_path / "dies.py"
        script.write_text(
            "import os, signal\n"
            "from agenttrace import agent_scope, configure, traced_tool\n"
            "configure(enabled=True, flush_interval_s=60)\n"
            "@traced_tool\n"
            "def work(n):\n"
            "    if n == 3:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return n\n"
            "with agent_scope('worker'):\n"
            "    for n in range(9):\n"
            "        work(n)\n"
        )
        died = shell(str(script), python=())
        assert died.returncode == -signal.SIGKILL
        done = shell("show")
        assert done.returncode == 0, done.stderr
        assert "recovered" in done.stderr
        assert done.stdout.count("‼ interrupted") == 3  # the conversation, the agent and the call
        assert "work(n=2) ✔" in done.stdout
        assert "recovered" not in shell("show").stderr
        assert json.loads(shell("ps", "--json").stdout)["operations"] == []


def test_the_tests_run_where_pipes_are(tmp_path: Path) -> None:
    """bash is there, or the tests of pipes say nothing."""
    assert os.path.exists("/bin/bash") or os.name == "nt"
