"""``agenttrace run``: a program sees, does and ends as it would without us, and its calls are recorded."""

from __future__ import annotations

import json
import re
import signal
import sys
import zipfile
from pathlib import Path

import pytest

from agenttrace.cli.run import _find_program
from tests.cli.conftest import Shell

__all__: list[str] = []

pytestmark = pytest.mark.slow

PROBE = """
import json, os, sys
main = sys.modules["__main__"]
print(json.dumps({
    "name": __name__, "file": __file__, "spec": __spec__ and __spec__.name, "package": __package__,
    "loader": type(__loader__).__name__, "argv": sys.argv, "path0": sys.path[0], "names": sorted(globals()),
    "is_main": main.__dict__ is globals(), "builtins": type(__builtins__).__name__, "doc": __doc__,
}))
"""

ENDINGS = """
import atexit, os, signal, sys

def end(how):
    if how == "raise": raise ValueError("boom")
    if how == "chain":
        try: 1 / 0
        except ZeroDivisionError as exc: raise RuntimeError("x") from exc
    if how == "group": raise ExceptionGroup("g", [ValueError(1), KeyError(2)])
    if how == "base": raise GeneratorExit
    if how == "exit": sys.exit()
    if how == "exit3": sys.exit(3)
    if how == "exit-text": sys.exit("bye")
    if how == "exit-list": sys.exit([1])
    if how == "os-exit": os._exit(7)
    if how == "interrupt": os.kill(os.getpid(), signal.SIGINT)
    if how == "raise-interrupt": raise KeyboardInterrupt
    if how == "terminate": os.kill(os.getpid(), signal.SIGTERM)
    if how == "hook":
        sys.excepthook = lambda kind, exc, tb: print(kind, tb.tb_frame.f_code.co_name, file=sys.stderr)
        raise ValueError
    if how == "atexit":
        atexit.register(print, "last words", file=sys.stderr)
        raise ValueError
    if how == "fork":
        if os.fork() == 0: sys.exit(5)
        os.wait()

end(sys.argv[1])
"""

AGENT = """
import sys
from agenttrace import agent_scope, traced_tool

@traced_tool
def divide(a, b):
    return a / b

with agent_scope("boss"):
    with agent_scope("worker"):
        divide(4, 2)
        try:
            divide(1, 0)
        except ZeroDivisionError:
            pass
"""

POOL = """
import multiprocessing, os
from agenttrace import agent_scope, traced_tool

@traced_tool
def square(n):
    return n * n

def work(n):
    with agent_scope("child"):
        return square(n), os.environ["AGENTTRACE"]

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(work, range(4)))
        pool.close()
        pool.join()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with programs of every form."""
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "ends.py").write_text(ENDINGS)
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "pool.py").write_text(POOL)
    (tmp_path / "broken.py").write_text("def x(:\n")
    (tmp_path / "imports.py").write_text("import no_such_module\n")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(PROBE)
    (package / "inner.py").write_text(PROBE)
    (tmp_path / "link.py").symlink_to(package / "inner.py")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", PROBE)
    return tmp_path


def without_notes(text: str) -> str:
    """Leave out what we say ourselves."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("agenttrace: "))


class TestIdentity:
    @pytest.mark.parametrize(
        "args",
        [
            "probe.py a --db x -m --json",
            "./probe.py",
            "package/inner.py",
            "link.py",
            "package x",
            "app.zip x",
            "-m package x --help",
            "-m package.inner -h -m y",
            "-mpackage",
            "-m probe",
        ],
    )
    def test_is_what_python_gives(self, shell: Shell, folder: Path, args: str) -> None:
        """__main__, its names and loader, argv and sys.path[0] are those of ``python``."""
        plain = shell(*args.split(), python=())
        traced = shell("run", *args.split())
        assert plain.returncode == traced.returncode == 0, traced.stderr
        assert json.loads(traced.stdout) == json.loads(plain.stdout)

    def test_leaves_the_path_alone_in_safe_mode(self, shell: Shell, folder: Path) -> None:
        """With PYTHONSAFEPATH the script's folder is not importable, as without us."""
        (folder / "sees.py").write_text(
            "import sys; print([p for p in sys.path if p.startswith(sys.argv[1])])"
        )
        args = ("sees.py", str(folder))
        plain = shell(*args, python=(), env={"PYTHONSAFEPATH": "1"})
        traced = shell("run", *args, env={"PYTHONSAFEPATH": "1"})
        assert plain.stdout == traced.stdout == "[]\n"

    def test_has_no_context_of_ours(self, shell: Shell, folder: Path) -> None:
        """A program that uses click itself finds no context around it."""
        (folder / "uses_click.py").write_text("import click; print(click.get_current_context(silent=True))")
        assert shell("run", "uses_click.py").stdout == "None\n"


class TestEnding:
    @pytest.mark.parametrize(
        "args",
        [
            "ends.py none",
            "ends.py raise",
            "ends.py chain",
            "ends.py group",
            "ends.py base",
            "ends.py exit",
            "ends.py exit3",
            "ends.py exit-text",
            "ends.py exit-list",
            "ends.py os-exit",
            "ends.py interrupt",
            "ends.py raise-interrupt",
            "ends.py terminate",
            "ends.py hook",
            "ends.py atexit",
            "ends.py fork",
            "broken.py",
            "imports.py",
        ],
    )
    def test_is_what_python_does(self, shell: Shell, folder: Path, args: str) -> None:
        """Exit code or signal, stdout, and on stderr the ordinary traceback without a frame of ours."""
        plain = shell(*args.split(), python=())
        traced = shell("run", *args.split())
        assert traced.returncode == plain.returncode
        assert traced.stdout == plain.stdout
        assert without_notes(traced.stderr) == plain.stderr

    @pytest.mark.parametrize(
        ("args", "exit_code", "message"),
        [
            ("none.py", 2, "can't open file"),
            ("-m none", 1, "No module named none"),
            ("-m package.none", 1, "No module named package.none"),
            ("-m xml", 1, "'xml' is a package and cannot be directly executed"),
        ],
    )
    def test_of_nothing_to_run_has_pythons_code(
        self, shell: Shell, folder: Path, args: str, exit_code: int, message: str
    ) -> None:
        """A script or module that is not there: Python's message and code."""
        done = shell("run", *args.split())
        assert done.returncode == exit_code == shell(*args.split(), python=()).returncode
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    def test_of_a_broken_parent_package_is_its_own(self, shell: Shell, folder: Path) -> None:
        """An import error inside the package is shown as such."""
        (folder / "package" / "__init__.py").write_text("import no_such_module\n")
        done = shell("run", "-m", "package.inner")
        assert done.returncode == 1
        assert "No module named 'no_such_module'" in done.stderr
        assert "agenttrace/cli" not in done.stderr

    def test_without_a_program_is_usage(self, shell: Shell) -> None:
        """Nothing named: exit code 2 and the usage."""
        done = shell("run")
        assert done.returncode == 2
        assert "Usage: agenttrace run" in done.stderr


class TestRecording:
    def test_says_in_one_line_where_to_look(self, shell: Shell, folder: Path) -> None:
        """Agents, calls, failures, and the command that shows them."""
        done = shell("run", "agent.py")
        assert done.returncode == 0
        assert done.stdout == ""
        assert done.stderr == "agenttrace: 2 agents, 2 calls, 1 failed, 1 swallowed -> agenttrace show last\n"
        tree = shell("show", "last").stdout
        assert "worker ✔" in tree and "divide(a=1, b=0) ✘" in tree

    def test_goes_to_the_database_that_is_named(
        self, shell: Shell, folder: Path, clean_environment: Path
    ) -> None:
        """--db before the program is ours; the last line repeats it; the default stays untouched."""
        done = shell("run", "--db", "other.db", "agent.py")
        assert f"-> agenttrace show last --db {folder / 'other.db'}\n" in done.stderr
        assert (folder / "other.db").exists()
        assert not (clean_environment / "traces.db").exists()

    def test_says_when_nothing_was(self, shell: Shell, folder: Path, clean_environment: Path) -> None:
        """A program without anything to trace leaves no database."""
        done = shell("run", "probe.py")
        assert "nothing was recorded" in done.stderr
        assert not list(clean_environment.iterdir())

    def test_yields_to_agenttrace_0(self, shell: Shell, folder: Path, clean_environment: Path) -> None:
        """AGENTTRACE=0 beats all: the program runs, and nothing is recorded."""
        done = shell("run", "agent.py", env={"AGENTTRACE": "0"})
        assert done.returncode == 0
        assert "running without tracing" in done.stderr
        assert not list(clean_environment.iterdir())

    @pytest.mark.parametrize("form", [("pool.py",), ("-m", "pool")])
    def test_reaches_spawned_processes(self, shell: Shell, folder: Path, form: tuple[str, ...]) -> None:
        """A spawn pool finds the main module as usual, and its workers record too."""
        done = shell("run", *form)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[(0, '1'), (1, '1'), (4, '1'), (9, '1')]\n"
        rows = json.loads(shell("sql", "--json", "SELECT count(*) AS n FROM tool_traces").stdout)["rows"]
        assert rows == [{"n": 4}]
        assert re.search(r"4 agents, 4 calls, none failed -> agenttrace list\n", done.stderr)

    def test_survives_an_interrupt(self, shell: Shell, folder: Path) -> None:
        """Ctrl-C ends the program by SIGINT, and what was recorded is there."""
        source = AGENT + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
        (folder / "stopped.py").write_text(source)
        done = shell("run", "stopped.py")
        assert done.returncode == -signal.SIGINT
        assert "2 agents, 2 calls" in done.stderr


class TestArguments:
    @pytest.mark.parametrize(
        ("args", "own"),
        [
            ("x.py --db y", 0),
            ("--db y x.py --db z", 2),
            ("--db=y x.py", 1),
            ("-m mod -m x", 2),
            ("--db y -m mod --help", 4),
            ("-mmod --help", 1),
            ("--module=mod a", 1),
            ("", 0),
            ("--help", 1),
        ],
    )
    def test_are_ours_up_to_the_program(self, args: str, own: int) -> None:
        """What stands after the program is the program's, whatever it looks like."""
        assert _find_program(args.split()) == own

    def test_may_be_divided_by_two_hyphens(self) -> None:
        """-- ends ours, and is taken out."""
        words = ["--db", "y", "--", "-x.py", "a"]
        assert _find_program(words) == 2
        assert words == ["--db", "y", "-x.py", "a"]


def test_python_is_the_one_under_test() -> None:
    """The commands run in this interpreter's version."""
    assert sys.version_info >= (3, 11)
