"""``agenttrace make-test``: a test that fails until the fault is mended, and passes from then on."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agenttrace.cassette import Cassette
from agenttrace.testing.found_runs import CannotMake, choose_finding
from agenttrace.testing.made_tests import CURABLE, MadeTest, render_literal, render_test, slug
from tests.cli.conftest import Shell
from tests.reading import ROOT

_HEAD = """
import json
import sys

from agenttrace import agent_scope, conversation_scope, drop_result, model_turn, tool_scope, traced_tool


def ran(what):
    with open("ran.txt", "a") as file:
        file.write(what + "\\n")


def ask(messages, answers, model="some-model", **said):
    with model_turn(model, input=messages) as turn:
        answer = turn.recorded
        if answer is None:
            ran("model")
            answer = answers.pop(0)
        turn.set_output(answer, **said)
    return answer


@traced_tool
def fetch(url):
    ran("fetch")
    if url.startswith("slow"):
        raise TimeoutError(f"no answer from {url}")
    if url.startswith("limited"):
        return {"error": "quota exceeded"}
    return f"page {url}"

"""


class Case(NamedTuple):
    """A program with a fault, the same with the fault mended, and how both end."""

    kind: str
    broken: str
    mended: str
    subject: str
    exit_code: int = 0


CASES = [
    Case(
        "failed_call",
        """
with agent_scope("lead") as lead:
    lead.set_output(fetch("slow.org"))
""",
        """
with agent_scope("lead") as lead:
    try:
        lead.set_output(fetch("slow.org"))
    except TimeoutError as exc:
        lead.set_output(f"there is no page: {exc}")
""",
        "fetch",
        1,
    ),
    Case(
        "swallowed_error",
        """
with agent_scope("lead") as lead:
    try:
        page = fetch("slow.org")
    except TimeoutError:
        page = ""
    lead.set_output("all pages are read")
""",
        """
with agent_scope("lead") as lead:
    try:
        page = fetch("slow.org")
    except TimeoutError:
        page = fetch("mirror.org")  # which was never recorded
    lead.set_output("all pages are read")
""",
        "fetch",
    ),
    Case(
        "subagent_ignored",
        """
with agent_scope("lead") as lead:
    try:
        with agent_scope("researcher"):
            fetch("slow.org")
    except TimeoutError:
        pass
    lead.set_output("all is known")
""",
        """
with agent_scope("lead") as lead:
    answer = "all is known"
    try:
        with agent_scope("researcher"):
            fetch("slow.org")
    except TimeoutError as exc:
        answer = f"the researcher failed: {exc}"
    lead.set_output(answer)
""",
        "fetch",
    ),
    Case(
        "returned_failure",
        """
with agent_scope("lead") as lead:
    fetch("limited.org")
    lead.set_output("it said yes")
""",
        """
with agent_scope("lead") as lead:
    said = fetch("limited.org")
    lead.set_output(said.get("error", "it said yes"))
""",
        "fetch",
    ),
    Case(
        "unknown_tool",
        """
TOOLS = {"fetch": fetch}
with agent_scope("lead") as lead:
    name = ask(["go"], ["delete_internet"])
    with tool_scope(name, arguments={}) as call:
        TOOLS[name]()
""",
        """
TOOLS = {"fetch": fetch}
with agent_scope("lead") as lead:
    name = ask(["go"], ["delete_internet"])
    try:
        with tool_scope(name, arguments={}) as call:
            TOOLS[name]()
    except KeyError as exc:
        lead.set_output(ask(["go", f"there is no such tool: {exc}"], ["done"]))
""",
        "delete_internet",
        1,
    ),
    Case(
        "retry_storm",
        """
with agent_scope("lead") as lead:
    for _ in range(6):
        try:
            fetch("slow.org")
        except TimeoutError:
            continue
    lead.set_output("not read")
""",
        """
with agent_scope("lead") as lead:
    for _ in range(2):
        try:
            fetch("slow.org")
        except TimeoutError as exc:
            lead.set_output(str(exc))
""",
        "fetch",
    ),
    Case(
        "loop",
        """
with agent_scope("lead") as lead:
    for _ in range(5):
        fetch("figs.org")
    lead.set_output("there are none")
""",
        """
with agent_scope("lead") as lead:
    fetch("figs.org")
    lead.set_output("there are none")
""",
        "fetch",
    ),
    Case(
        "dropped_result",
        """
with agent_scope("lead") as lead:
    with tool_scope("fetch", call_id="call_1", arguments={"url": "a.org"}):
        fetch("a.org")
    drop_result("call_1", "the context is full")
    lead.set_output(ask(["what is there?"], ["nothing"]))
""",
        """
with agent_scope("lead") as lead:
    with tool_scope("fetch", call_id="call_1", arguments={"url": "a.org"}):
        page = fetch("a.org")
    told = {"role": "tool", "tool_call_id": "call_1", "content": page}
    lead.set_output(ask([{"role": "user", "content": "what is there?"}, told], ["a page"]))
""",
        "fetch",
    ),
    Case(
        "empty_answer",
        """
with agent_scope("lead") as lead:
    with agent_scope("researcher") as researcher:
        fetch("a.org")
        researcher.set_output("Error: could not reach the index")
    lead.set_output("all is known")
""",
        """
with agent_scope("lead") as lead:
    with agent_scope("researcher") as researcher:
        researcher.set_output(fetch("a.org"))
    lead.set_output("all is known")
""",
        "researcher",
    ),
    Case(
        "truncated",
        """
with agent_scope("lead") as lead:
    lead.set_output(ask(["go"], ["The answer is"], finish_reason="max_tokens"))
""",
        """
with agent_scope("lead") as lead:
    answer = ask(["go"], ["The answer is"], finish_reason="max_tokens")
    lead.set_output(answer + ask(["go on", "from", answer], [" 42"]))
""",
        "lead",
    ),
    Case(
        "model_switched",
        """
with agent_scope("lead") as lead:
    for model in ("large-model", "small-model"):
        ask(["go"], ["done"], model=model)
    lead.set_output("done")
""",
        """
with agent_scope("lead") as lead:
    for model in ("large-model", "small-model"):
        lead.set_model(model, reason="the large one is for the plan")
        ask(["go"], ["done"], model=model)
    lead.set_output("done")
""",
        "lead",
    ),
]

_GUARD = """
import socket

import pytest


def refuse(*_args, **_named):
    raise AssertionError("a socket was opened")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
"""


class Project:
    """A folder with a program, its database, and its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "traces.db"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AGENTTRACE")},
            "PYTHONPATH": str(ROOT),
            "AGENTTRACE_DB": str(self.database),
            "COLUMNS": "80",
        }

    def python(self, *args: str, cwd: Path | None = None, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, *args],
            cwd=cwd or self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def write(self, body: str, name: str = "program.py") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_HEAD + body, encoding="utf-8")

    def make(self, *args: str) -> Any:
        done = self.python("-m", "agenttrace", "make-test", "last", *args)
        assert done.returncode == 0, done.stderr
        return done

    def test(self, *args: str, cwd: Path | None = None) -> tuple[dict[str, int], str]:
        """Run the tests in a fresh process; how many ended how, and all that was printed."""
        plugin = ["-p", "agenttrace.pytest_plugin"] if not _is_installed() else []
        done = self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *args, cwd=cwd)
        text = done.stdout + done.stderr
        counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", text)}
        return counts, text

    def ran(self) -> list[str]:
        path = self.folder / "ran.txt"
        return path.read_text().split() if path.exists() else []


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(point.name == "agenttrace" for point in entry_points(group="pytest11"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
class TestMadeTests:
    @pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])
    def test_fail_before_and_pass_after(self, project: Project, case: Case) -> None:
        """In fresh processes, with sockets banned, and no tool and no model running."""
        project.write(case.broken)
        done = project.python("program.py", AGENTTRACE="1")
        assert done.returncode == case.exit_code, done.stderr
        assert project.ran()
        project.make("--output", "tests/test_it.py")
        made = (project.folder / "tests" / "test_it.py").read_text()
        assert f"def test_{slug(case.subject)}_{case.kind}(" in made
        (project.folder / "tests" / "conftest.py").write_text(_GUARD)
        (project.folder / "ran.txt").unlink()

        counts, text = project.test("tests")
        assert counts == {"failed": 1}, text
        assert "left the recording" not in text and "socket" not in text, text
        project.write(case.mended)
        counts, text = project.test("tests")
        assert counts == {"passed": 1}, text
        assert project.ran() == []

    def test_the_cases_are_all_kinds_that_a_program_can_cure(self) -> None:
        """No kind goes untried."""
        assert sorted(case.kind for case in CASES) == sorted(CURABLE)

    def test_a_program_that_fails_elsewhere_before_does_not_pass(self, project: Project) -> None:
        """A run that never comes to the fault says nothing of it."""
        project.write(CASES[1].broken)
        project.python("program.py", AGENTTRACE="1")
        project.make("--output", "test_it.py")
        project.write("with agent_scope('lead'):\n    ask(['go'], ['x'])\n" + CASES[1].mended)
        counts, text = project.test()
        assert counts == {"failed": 1}
        assert "left the recording before it asked for fetch" in text

    def test_on_stdout_belongs_into_the_folder_it_is_made_in(self, project: Project) -> None:
        """As the command is written: ``agenttrace make-test last > test_it.py``."""
        project.write(CASES[0].broken)
        project.python("program.py", AGENTTRACE="1")
        done = project.make()
        (project.folder / "test_it.py").write_text(done.stdout)
        assert (
            "the cassette is cassettes/test_fetch_failed_call.json; keep the test in this folder"
            in done.stderr
        )
        assert (project.folder / "cassettes" / "test_fetch_failed_call.json").exists()
        counts, text = project.test()
        assert counts == {"failed": 1} and "no answer from slow.org" in text

    def test_knows_the_file_that_stdout_goes_to(self, project: Project) -> None:
        """``> tests/test_it.py`` is as good as ``--output``, and may be said again."""
        if not os.path.exists("/proc/self/fd"):
            pytest.skip("the system does not tell where stdout goes")
        project.write(CASES[0].broken)
        project.python("program.py", AGENTTRACE="1")
        path = project.folder / "tests" / "test_it.py"
        path.parent.mkdir()
        for _ in range(2):
            with path.open("w") as file:
                done = subprocess.run(
                    [sys.executable, "-m", "agenttrace", "make-test", "last"],
                    cwd=project.folder,
                    env=project.environment,
                    stdout=file,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=60,
                )
            assert done.returncode == 0, done.stderr
            assert "the cassette is tests/cassettes/test_it.json; keep the test in tests" in done.stderr
        assert "--force > test_it.py" in path.read_text()
        counts, text = project.test()
        assert counts == {"failed": 1} and "no answer from slow.org" in text

    def test_through_a_pipe_writes_over_no_other_cassette(self, project: Project) -> None:
        """Each has a name of its own."""
        project.write(CASES[0].broken)
        project.python("program.py", AGENTTRACE="1")
        assert "test_fetch_failed_call.json" in project.make().stdout
        assert "test_fetch_failed_call_2.json" in project.make().stdout

    def test_moves_to_another_machine(
        self, project: Project, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Neither file names a folder of this one."""
        project.write(CASES[2].broken)
        project.python("program.py", "--depth", "3", AGENTTRACE="1")
        project.make("--output", "tests/deep/test_it.py", "--cassette", "tests/data/kept.json")
        for name in ("tests/deep/test_it.py", "tests/data/kept.json"):
            text = (project.folder / name).read_text()
            assert str(project.folder) not in text and str(ROOT) not in text
        assert '"--depth", "3"' in (project.folder / "tests/deep/test_it.py").read_text()
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
        shutil.copytree(project.folder, elsewhere)
        shutil.rmtree(project.folder)
        counts, text = Project(elsewhere).test(cwd=elsewhere / "tests")
        assert counts == {"failed": 1}, text
        assert "subagent_ignored" in text

    def test_runs_a_module_as_one(self, project: Project) -> None:
        """``python -m app.main`` with its package, also where it imports from its own."""
        project.write(CASES[0].broken.replace("slow.org", "slow.org/app"), "app/main.py")
        (project.folder / "app" / "__init__.py").touch()
        text = (project.folder / "app" / "main.py").read_text()
        (project.folder / "app" / "words.py").write_text("WORD = 1\n")
        (project.folder / "app" / "main.py").write_text("from . import words\n" + text)
        project.python("-m", "app.main", "x", AGENTTRACE="1")
        project.make("--output", "tests/test_it.py")
        assert (
            'run_program("-m", "app.main", "x", folder=HERE / "..")'
            in (project.folder / "tests" / "test_it.py").read_text()
        )
        counts, text = project.test()
        assert counts == {"failed": 1} and "slow.org/app" in text

    def test_calls_a_function_that_is_named(self, project: Project) -> None:
        """With the input of the root agent; for programs that are no script."""
        body = """
async def plan(url, depth=1):
    with agent_scope("lead", input={"url": url, "depth": depth}) as lead:
        lead.set_output(fetch(url))
"""
        project.write(body, "planner.py")
        command = "import asyncio, planner; asyncio.run(planner.plan('slow.org', 2))"
        project.python("-c", command, AGENTTRACE="1")
        refused = project.python("-m", "agenttrace", "make-test", "last")
        assert refused.returncode == 2
        assert "is no script; say what to call with --call MODULE:FUNCTION" in refused.stderr
        project.make("--output", "test_it.py", "--call", "planner:plan")
        assert "playing.call(plan)" in (project.folder / "test_it.py").read_text()
        counts, text = project.test()
        assert counts == {"failed": 1} and "TimeoutError: no answer from slow.org" in text
        project.write(body.replace("fetch(url))", "url)"), "planner.py")
        counts, text = project.test()
        assert counts == {"passed": 1}, text

    def test_lets_a_tool_run_that_is_itself_at_fault(self, project: Project) -> None:
        """What is given back in its place could never be mended."""
        body = """
@traced_tool
def parse(page):
    return page["title"]

with agent_scope("lead") as lead:
    lead.set_output(parse(fetch("a.org")))
"""
        project.write(body)
        project.python("program.py", AGENTTRACE="1")
        project.make("--output", "test_it.py", "--run", "parse")
        counts, text = project.test()
        assert counts == {"failed": 1} and "string indices must be integers" in text
        project.write(body.replace('page["title"]', "page"))
        counts, text = project.test()
        assert counts == {"passed": 1}, text
        assert project.ran().count("fetch") == 1, "the recording's own"

    def test_lets_tools_run_that_the_fault_is_inside_of(self, project: Project) -> None:
        """A subagent behind a tool is played, not given back with the tool."""
        body = """
@traced_tool
def delegate(url):
    with agent_scope("helper") as helper:
        try:
            fetch(url)
        except TimeoutError as exc:
            helper.set_output(SAID)

with agent_scope("lead") as lead:
    delegate("slow.org")
    lead.set_output("done")
"""
        project.write(body.replace("SAID", '"done"'))
        project.python("program.py", AGENTTRACE="1")
        project.make("--output", "test_it.py")
        assert 'run=["delegate"]' in (project.folder / "test_it.py").read_text()
        counts, text = project.test()
        assert counts == {"failed": 1} and "swallowed_error" in text
        project.write(body.replace("SAID", "str(exc)"))
        counts, text = project.test()
        assert counts == {"passed": 1}, text

    @pytest.mark.parametrize("how", ["fork", "spawn"])
    def test_of_a_program_that_starts_others(self, project: Project, how: str) -> None:
        """They are given what was recorded of them."""
        project.write(
            """
def work(number):
    with agent_scope("sub"):
        return fetch(f"{number}.org")
""",
            "work.py",
        )
        body = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import work

if __name__ == "__main__":
    with agent_scope("lead") as lead:
        with ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1])) as pool:
            print(sorted(pool.map(work.work, [1, 2])))
        try:
            fetch("slow.org")
        except TimeoutError as exc:
            lead.set_output(SAID)
"""
        project.write(body.replace("SAID", '"all is read"'))
        project.python("program.py", how, AGENTTRACE="1")
        project.make("--output", "test_it.py")
        count = len(project.ran())
        counts, text = project.test()
        assert counts == {"failed": 1} and "swallowed_error" in text, text
        assert "['page 1.org', 'page 2.org']" in text
        project.write(body.replace("SAID", "str(exc)"))
        counts, text = project.test()
        assert counts == {"passed": 1}, text
        assert len(project.ran()) == count == 3

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="seen on Python 3.12 and later")
    def test_of_what_was_caught_inside_a_tool_lets_the_tool_run(self, project: Project) -> None:
        """And says from which Python on the fault can be seen."""
        body = """
@traced_tool
def read(path):
    try:
        return open(path).read()
    except OSError:
        return HERE

with agent_scope("lead") as lead:
    read("/none")
    lead.set_output("it is empty")
"""
        project.write(body.replace("HERE", '""'))
        project.python("program.py", AGENTTRACE="1")
        project.make("--output", "test_it.py")
        text = (project.folder / "test_it.py").read_text()
        assert 'run=["read"]' in text and "sys.version_info < (3, 12)" in text
        counts, text = project.test()
        assert counts == {"failed": 1} and "swallowed_error" in text

    def test_holds_no_secret(self, project: Project) -> None:
        """Neither the test nor its cassette."""
        secret = "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
        project.write(f"""
with agent_scope("lead", input={{"api_key": "{secret}"}}) as lead:
    fetch("slow.org?token={secret}")
""")
        project.python("program.py", "--token", secret, AGENTTRACE="1")
        done = project.make("--output", "test_it.py")
        for text in (
            done.stderr,
            (project.folder / "test_it.py").read_text(),
            (project.folder / "cassettes" / "test_it.json").read_text(),
        ):
            assert secret not in text
        counts, text = project.test()
        assert counts == {"failed": 1} and "TimeoutError" in text

    def test_writes_over_nothing(self, project: Project) -> None:
        """Unless told to."""
        project.write(CASES[0].broken)
        project.python("program.py", AGENTTRACE="1")
        project.make("--output", "test_it.py")
        (project.folder / "test_it.py").write_text("# mine\n")
        done = project.python("-m", "agenttrace", "make-test", "last", "--output", "test_it.py")
        assert done.returncode == 2 and "is there already; --force writes over it" in done.stderr
        assert (project.folder / "test_it.py").read_text() == "# mine\n"
        project.make("--output", "test_it.py", "--force")

    def test_is_as_the_formatter_would_leave_it(self, project: Project) -> None:
        """For all cases: nothing to format, nothing to complain of."""
        if shutil.which("ruff") is None:
            pytest.skip("ruff is not installed")
        for number, case in enumerate(CASES[:4]):
            project.write(case.broken)
            project.python("program.py", AGENTTRACE="1")
            project.make("--output", f"tests/test_{number}.py")
        for command in (
            ["format", "--check", "--diff"],
            ["check", "--select", "E,F,I,UP,B,SIM", "--ignore", "E501"],
        ):
            done = subprocess.run(
                ["ruff", *command, "--isolated", "tests"],
                cwd=project.folder,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stdout + done.stderr


class TestRefusals:
    def test_a_run_in_which_nothing_went_wrong(self, database: Path, shell: Shell) -> None:
        """There is nothing to test for; and what no replay can show is said to be so."""
        from agenttrace.query.diagnose import Diagnosis
        from agenttrace.query.findings import Finding

        empty = Diagnosis("run-1", None, "completed", "", (), ())
        with pytest.raises(CannotMake, match="nothing wrong was found in run-1"):
            choose_finding(empty)
        slow = Finding("stalled", 0.9, "x took long", "lead", "1", None, (1,), None, None, None, 1, True)
        with pytest.raises(CannotMake, match=r"stalled .x took long. cannot be shown by a replay"):
            choose_finding(replace(empty, findings=(slow,)))
        told = replace(slow, kind="failed_call", fate="reported")
        with pytest.raises(CannotMake, match="a model was told of it"):
            choose_finding(replace(empty, findings=(told,)))
        curable = replace(slow, kind="loop")
        assert choose_finding(replace(empty, findings=(slow, curable)))[0] is curable

    @pytest.mark.parametrize("call", ["os", "os:", ":system", "os:system('x')", "a b:c", "os;x:y"])
    def test_what_is_no_function(self, database: Path, invoke: Any, call: str) -> None:
        """Only names get into the text."""
        result = invoke("make-test", "last", "--call", call)
        assert result.exit_code == 2
        assert "is no MODULE:FUNCTION" in result.output


_EVIL = [
    '"""\nimport os; os._exit(7)\n"""',
    "'''\nraise SystemExit(7)",
    '\\""" + __import__("os")._exit(7) + """',
    "\\",
    '"',
    "{__import__('os')._exit(7)}",
    "a\x00b\x1b[2J\u202e\ud800",
    "\r\nimport os",
    "…" * 500,
    "",
]


class TestText:
    """``render_test`` of words that nobody chose well."""

    @pytest.mark.parametrize("evil", _EVIL, ids=range(len(_EVIL)))
    @pytest.mark.parametrize("kind", ["failed_call", "loop", "truncated"])
    def test_recorded_words_are_words(self, evil: str, kind: str) -> None:
        """Whatever they are, the module is a docstring, imports, one path and one function."""
        made = MadeTest(
            sentence=evil,
            kind=kind,
            subject=evil,
            tool=evil,
            agent=evil,
            step=evil,
            run=(evil, evil),
            command=(evil,),
            program=(evil, evil),
            folder=evil,
            call=None,
            cassette=evil,
            recorded="2026-11-21",
            conversation_id=evil,
            again=evil,
            answer=evil,
            root=evil,
            needs_python=(3, 12),
        )
        text = render_test(made)
        tree = ast.parse(text)
        kinds = [type(each).__name__ for each in tree.body]
        assert kinds == ["Expr", *["Import", "ImportFrom", "Import", "ImportFrom"], "Assign", "FunctionDef"]
        called = {ast.unparse(each.func) for each in ast.walk(tree) if isinstance(each, ast.Call)}
        assert called <= {
            "Path",
            "pytest.mark.skipif",
            "trajectory.replay",
            "run_program",
            "trajectory.assert_no_findings",
            "trajectory.agent",
        }
        assert "\x1b" not in text and "\x00" not in text and "\u202e" not in text and "\r" not in text
        text.encode("utf-8")

    @pytest.mark.parametrize("text", [*_EVIL, "it's", 'say "x"', 'it\'s "x"', "plain", "C:\\new\\table"])
    def test_literals_mean_what_was_recorded(self, text: str) -> None:
        """And stand on one line."""
        literal = render_literal(text)
        assert ast.literal_eval(literal) == text
        assert "\n" not in literal

    def test_a_name_is_a_piece_of_a_name(self) -> None:
        """Of any text."""
        assert [slug(name) for name in ("Web Search!", "a" * 99, "é", "__x__")] == [
            "web_search",
            "a" * 40,
            "run",
            "x",
        ]


class TestCassette:
    def test_is_data(self, project: Project) -> None:
        """Of the form that a replay reads, indented for people."""
        project.write(CASES[0].broken)
        project.python("program.py", AGENTTRACE="1")
        project.make("--output", "test_it.py")
        path = project.folder / "cassettes" / "test_it.json"
        data = json.loads(path.read_text())
        assert data["version"] == 1
        assert path.read_text().startswith('{\n  "version": 1,\n')
        [frame] = data["runs"][0]["calls"][0]["error"]["frames"]
        assert frame["file"] == "program.py"
        assert Cassette.load(path).missing() == []
