"""``agenttrace run --trace``: an unchanged program, whose functions are seen by their names."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.reading import query

__all__: list[str] = []

pytestmark = pytest.mark.slow

TOOLS = "def add(a, b):\n    return a + b\n\nTOOLS = {'add': add}\n"
AGENT = """
import sys
from mypkg.tools import TOOLS, add

def plan(text):
    return TOOLS["add"](1, 2) + add(3, 4)

class Shop:
    def sell(self, what):
        return what

print(plan(sys.argv[1]), Shop().sell("x"), sorted(name for name in globals() if name[0] != "_"))
print(plan.__code__.co_firstlineno, __file__, __name__)
"""


def write(folder: Path) -> None:
    (folder / "mypkg").mkdir()
    (folder / "mypkg" / "__init__.py").write_text("")
    (folder / "mypkg" / "tools.py").write_text(TOOLS)
    (folder / "agent.py").write_text(AGENT)


def calls(database: Path) -> list[str]:
    return [name for (name,) in query(database, "SELECT tool_name FROM tool_traces ORDER BY started_at, id")]


@pytest.fixture
def where(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path / "traces.db"


class TestTheProgram:
    def test_prints_what_it_would_print(self, shell: Shell, where: Path) -> None:
        """And leaves a call for each function that is meant."""
        plain = shell("hi", python=("agent.py",))
        done = shell(
            "run", "--db", str(where), "--trace", "mypkg.tools:*", "--trace=__main__:*", "agent.py", "hi"
        )
        assert (done.returncode, done.stdout) == (0, plain.stdout)
        assert sorted(calls(where)) == ["add", "add", "plan"]
        assert done.stderr.count("\n") == 1
        assert "1 agent, 3 calls, none failed" in done.stderr

    def test_may_be_a_module_or_a_zip_file(self, shell: Shell, where: Path) -> None:
        """``-m`` and a container have a program to trace too."""
        assert (
            shell("run", "--db", str(where), "--trace", "__main__:Shop.*", "-m", "agent", "hi").returncode
            == 0
        )
        assert calls(where) == ["sell"]
        archive = where.parent / "agent.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("__main__.py", AGENT)
            file.writestr("mypkg/__init__.py", "")
            file.writestr("mypkg/tools.py", TOOLS)
        other = where.with_name("other.db")
        done = shell("run", "--db", str(other), "--trace", "*:*", str(archive), "hi", cwd=where.parent.parent)
        assert done.returncode == 0, done.stderr
        assert sorted(calls(other)) == ["add", "add", "plan"]

    def test_tells_its_children(self, shell: Shell, where: Path) -> None:
        """A program that it starts, and that records, traces the same functions."""
        child = "import agenttrace; from mypkg.tools import add; add(1, 1)"
        (where.parent / "start.py").write_text(
            f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        )
        done = shell("run", "--db", str(where), "--trace", "mypkg.tools:add", "start.py")
        assert done.returncode == 0, done.stderr
        assert calls(where) == ["add"]

    def test_fails_on_its_own_lines(self, shell: Shell, where: Path) -> None:
        """The traceback of a traced program is that of the program."""
        (where.parent / "broken.py").write_text("def fail():\n    raise ValueError('no')\n\nfail()\n")
        plain = shell(python=("broken.py",))
        done = shell("run", "--db", str(where), "--trace", "__main__:*", "broken.py")
        assert done.returncode == plain.returncode == 1
        lines = [line for line in plain.stderr.splitlines() if line.startswith("  File")]
        assert [
            line for line in done.stderr.splitlines() if line.startswith("  File") and "broken.py" in line
        ] == lines
        assert query(where, "SELECT fate FROM failures") == [("escaped",)]

    def test_runs_untraced_where_tracing_is_off(self, shell: Shell, where: Path) -> None:
        """AGENTTRACE=0 wins, and then nothing is compiled anew."""
        done = shell(
            "run", "--db", str(where), "--trace", "__main__:*", "agent.py", "hi", env={"AGENTTRACE": "0"}
        )
        assert done.returncode == 0
        assert "running without tracing" in done.stderr
        assert not where.exists()


class TestPatterns:
    def test_that_fit_nothing_are_said_at_the_end(self, shell: Shell, where: Path) -> None:
        """With why: no such module, or which functions there are."""
        done = shell(
            *("run", "--db", str(where), "--trace", "mypkg.tools:ad", "--trace", "mypackage:*"),
            *("--trace", "mypkg.tools:a?d", "agent.py", "hi"),
        )
        assert done.returncode == 0
        first, second, summary = done.stderr.splitlines()
        assert first.endswith("--trace mypkg.tools:ad: no such function in mypkg.tools; there are add")
        assert second.endswith("--trace mypackage:*: no module mypackage was imported")
        assert "2 calls" in summary

    @pytest.mark.parametrize("pattern", ["mypkg.tools", "mypkg/tools.py:*", ":*", "mypkg:"])
    def test_that_are_none_stop_before_the_program_runs(
        self, shell: Shell, where: Path, pattern: str
    ) -> None:
        """With an example of one, and the exit code of wrong usage."""
        done = shell("run", "--db", str(where), "--trace", pattern, "agent.py", "hi")
        assert (done.returncode, done.stdout) == (2, "")
        assert "give module:function, such as 'mypkg.tools:*'" in done.stderr
        assert not where.exists()
