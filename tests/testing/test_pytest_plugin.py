"""The fixture ``trajectory``, in test runs of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs" / "testing-your-agent.md"

_AGENT = """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from agenttrace import agent_scope, traced_tool

    @traced_tool
    def add(a, b):
        return a + b
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for another pytest, with the plugin as an installation has it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    if not [point for point in entry_points(group="pytest11") if point.name == "agenttrace"]:
        pytester.plugins.append("agenttrace.pytest_plugin")  # this checkout was installed before it had one
    return pytester


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run the tests of *project* in a process of their own."""
    plugins = [word for name in project.plugins for word in ("-p", str(name))]
    named, project.plugins = project.plugins, []
    try:
        return project.runpytest_subprocess("-q", "-p", "no:cacheprovider", *plugins, *args)
    finally:
        project.plugins = named


@pytest.mark.slow
class TestFixture:
    def test_records_what_the_test_does(self, project: pytest.Pytester) -> None:
        """Nothing is set up, and each test has a trajectory of its own."""
        project.makepyfile(
            _AGENT
            + """
    def test_one(trajectory):
        with agent_scope("lead"):
            add(1, b=2)
        assert trajectory.tools() == ["add"]
        assert trajectory.calls("add")[0].arguments == {"a": 1, "b": 2}
        assert trajectory.calls("add")[0].result == 3

    def test_two(trajectory):
        add(3, 4)
        assert [call.result for call in trajectory.calls("add")] == [7]
        assert trajectory.agents == ["main"]
"""
        )
        run(project).assert_outcomes(passed=2)

    @pytest.mark.parametrize("word", ["0", "1", "off"])
    def test_records_whatever_the_environment_says(
        self, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, word: str
    ) -> None:
        """Off through ``AGENTTRACE=0``, or on into a database: the fixture records into memory."""
        monkeypatch.setenv("AGENTTRACE", word)
        project.makepyfile(
            _AGENT
            + """
    def test_one(trajectory):
        add(1, 2)
        assert trajectory.tools() == ["add"]
"""
        )
        run(project).assert_outcomes(passed=1)
        assert not list(project.path.rglob("*.db"))

    @pytest.mark.parametrize("word", ["0", "1"])
    def test_fails_an_assertion_about_a_run_without_events(
        self, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, word: str
    ) -> None:
        """An assertion that nothing went wrong does not pass because nothing was traced."""
        monkeypatch.setenv("AGENTTRACE", word)
        project.makepyfile("""
            def test_nothing_failed(trajectory):
                (lambda: None)()
                assert trajectory.failures() == []

            def test_allowed(trajectory):
                trajectory.allow_empty()
                assert trajectory.failures() == []
        """)
        result = run(project)
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*AssertionError: nothing was recorded*traced_tool*"])

    def test_does_not_record_for_other_tests(self, project: pytest.Pytester) -> None:
        """A test without the fixture runs its tools untraced."""
        project.makepyfile(
            _AGENT
            + """
    import agenttrace

    def test_with(trajectory):
        assert agenttrace.is_enabled()
        add(1, 2)
        assert trajectory.tools()

    def test_without():
        assert not agenttrace.is_enabled()
"""
        )
        run(project).assert_outcomes(passed=2)

    def test_works_with_threads_and_async_code(self, project: pytest.Pytester) -> None:
        """Agents in pools and tasks keep their names and parents."""
        project.makepyfile(
            _AGENT
            + """
    def work(name):
        with agent_scope(name):
            return add(name, "!")

    async def work_async(name):
        async with agent_scope(name):
            await asyncio.sleep(0)
            return add(name, "?")

    def test_threads(trajectory):
        with agent_scope("lead"), ThreadPoolExecutor(2) as pool:
            assert list(pool.map(work, "ab")) == ["a!", "b!"]
        assert trajectory.agent("a").parent == "lead"
        assert trajectory.agent("b").calls("add")[0].result == "b!"

    def test_tasks(trajectory):
        async def main():
            async with agent_scope("lead"):
                await asyncio.gather(work_async("a"), work_async("b"))
        asyncio.run(main())
        assert trajectory.agent("a").parent == "lead"
        assert trajectory.agent("b").calls("add")[0].result == "b?"
"""
        )
        run(project).assert_outcomes(passed=2)

    def test_works_in_the_workers_of_xdist(self, project: pytest.Pytester) -> None:
        """Twenty tests over three processes see each their own run."""
        pytest.importorskip("xdist")
        project.makepyfile(
            _AGENT
            + """
    import pytest

    @pytest.mark.parametrize("number", range(20))
    def test_each(trajectory, number):
        with agent_scope("lead"):
            add(number, 1)
        assert [call.result for call in trajectory.calls("add")] == [number + 1]
"""
        )
        run(project, "-n", "3").assert_outcomes(passed=20)


@pytest.mark.slow
class TestReport:
    def test_marks_the_call_that_differs(self, project: pytest.Pytester) -> None:
        """A plain ``assert`` about tools shows the path to the first one that is not as expected."""
        project.makepyfile(
            _AGENT
            + """
    def test_one(trajectory):
        with agent_scope("lead"):
            add(1, 2)
            with agent_scope("helper"):
                add(3, 4)
        assert trajectory.tools() == ["add", "multiply"]
"""
        )
        result = run(project)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "E *At index 1 diff: *",
                "*- trajectory: where it differs -*",
                "  lead*",
                "> *add(a=3, b=4)*multiply*",
            ]
        )
        assert max(len(line) for line in result.outlines) <= 80

    def test_shows_where_one_more_was_expected(self, project: pytest.Pytester) -> None:
        """What is missing has its place, too."""
        project.makepyfile(
            _AGENT
            + """
    def test_one(trajectory):
        with agent_scope("lead"):
            add(1, 2)
        assert ["add", "multiply"] == trajectory.agent("lead").tools(), "with a message"
"""
        )
        result = run(project)
        result.stdout.fnmatch_lines(
            ["E *with a message*", "*where it differs*", '> *expected here: "multiply"']
        )

    def test_shows_the_failures_of_any_other_failed_test(self, project: pytest.Pytester) -> None:
        """A comparison that failed earlier, and did no harm, is not taken for the reason."""
        project.makepyfile(
            _AGENT
            + """
    import pytest

    @pytest.fixture
    def done(trajectory):
        with agent_scope("lead"):
            try:
                add(1, "2")
            except TypeError:
                pass
        with pytest.raises(AssertionError):
            assert trajectory.tools() == ["harmless"]

    def test_one(done):
        assert sum([1, 2]) == 4

    def test_two(done):
        raise RuntimeError("elsewhere")
"""
        )
        result = run(project)
        result.assert_outcomes(failed=2)
        text = result.stdout.str()
        assert len(re.findall(r"✘ TypeError.* · swallowed", text)) == 2
        assert (
            "where it differs" not in text
            and "harmless" not in text.partition("test_one")[2].partition("- traj")[2]
        )

    def test_says_nothing_of_a_test_that_passed_or_recorded_nothing(self, project: pytest.Pytester) -> None:
        """Nothing to show, no heading."""
        project.makepyfile(
            _AGENT
            + """
    def test_one(trajectory):
        add(1, 2)

    def test_two(trajectory):
        assert 1 == 2

    def test_three():
        assert [1] == [2]
"""
        )
        result = run(project)
        result.assert_outcomes(passed=1, failed=2)
        assert "-- trajectory" not in result.stdout.str()

    def test_shows_the_path_of_a_claim_once(self, project: pytest.Pytester) -> None:
        """It stands in the message, and not below it again."""
        project.makepyfile(
            _AGENT
            + """
    def test_one(trajectory):
        with agent_scope("lead"):
            add(1, 2)
        trajectory.assert_called("add", a=2)
"""
        )
        result = run(project)
        result.stdout.fnmatch_lines(
            ["E*AssertionError: add(a=2) was not called", "E* lead *", "E * > *a: 1 instead of 2"]
        )
        assert "-- trajectory" not in result.stdout.str()
        assert "assertions.py" not in result.stdout.str()


@pytest.mark.slow
class TestMarker:
    def test_limits_what_a_test_uses(self, project: pytest.Pytester) -> None:
        """With or without the fixture among its parameters; the nearest of several marks wins."""
        project.makepyfile(
            _AGENT
            + """
    import unittest

    import pytest

    pytestmark = pytest.mark.trajectory(max_calls=1)

    def work(count):
        with agent_scope("lead"):
            for number in range(count):
                add(number, 1)

    def test_within():
        work(1)

    def test_beyond():
        work(2)

    @pytest.mark.trajectory(max_calls=2)
    def test_more_is_allowed_here(trajectory):
        work(2)

    def test_that_failed_already_keeps_its_own_reason():
        work(2)
        raise KeyError("its own")

    class TestOld(unittest.TestCase):
        def test_beyond_too(self):
            work(3)
"""
        )
        result = run(project, "--strict-markers")
        result.assert_outcomes(passed=2, failed=3)
        result.stdout.fnmatch_lines(
            ["2 tool calls, and max_calls is 1", "E*KeyError: 'its own'", "3 tool calls, and max_calls is 1"]
        )

    def test_refuses_what_it_does_not_know(self, project: pytest.Pytester) -> None:
        """A limit with a typing error would limit nothing."""
        project.makepyfile(
            _AGENT
            + """
    import pytest

    @pytest.mark.trajectory(max_cals=1)
    def test_one():
        add(1, 2)
"""
        )
        result = run(project)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*pytest.mark.trajectory takes max_tokens, *; not max_cals*"])

    def test_of_a_test_that_recorded_nothing_fails(self, project: pytest.Pytester) -> None:
        """Limits for agents that are not traced are no limits."""
        project.makepyfile("""
            import pytest

            @pytest.mark.trajectory(max_calls=1)
            def test_one():
                assert True
        """)
        result = run(project)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["nothing was recorded*"])


@pytest.mark.slow
class TestPlugin:
    def test_imports_no_store_until_the_fixture_is_used(self) -> None:
        """pytest loads it in every run of every project; that costs what the package itself costs."""
        script = (
            "import sys, agenttrace.pytest_plugin; "
            "print([name for name in ('peewee', 'sqlite3', 'rich', 'click', 'agenttrace.testing') "
            "if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=_ROOT, timeout=60
        )
        assert done.stdout.strip() == "[]", done.stdout + done.stderr

    def test_explains_itself_in_the_list_of_fixtures(self, project: pytest.Pytester) -> None:
        """``pytest --fixtures`` says what it is for."""
        run(project, "--fixtures").stdout.fnmatch_lines(["trajectory*", "*Record what the test's agents do*"])


@pytest.mark.slow
class TestDocs:
    def test_examples_run_as_they_stand(self, project: pytest.Pytester) -> None:
        """Every Python block of the page is a file, named in its first line, and all its tests pass."""
        blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", _DOCS.read_text(encoding="utf-8"), re.DOTALL)
        assert len(blocks) == _DOCS.read_text(encoding="utf-8").count("```python")
        for name, text in blocks:
            (project.path / name).write_text(text, encoding="utf-8")
        tests_count = sum(text.count("def test_") for _, text in blocks) + 1  # one has two parameters
        run(project, "--trajectory-record=once").assert_outcomes(passed=tests_count)
        text = (project.path / "cassettes" / "test_cassette" / "test_explains-figs.json").read_text("utf-8")
        assert "sk-abc" not in text
        for path in project.path.glob("__pycache__/*"):
            path.unlink()
        run(project).assert_outcomes(passed=tests_count)
        assert tests_count >= 14

    def test_the_made_test_is_as_it_stands(self, project: pytest.Pytester) -> None:
        """The page's commands give the page's test, and it fails."""
        page = _DOCS.read_text(encoding="utf-8")
        for name, text in re.findall(r"```python\n# ((?:agent|weekend)\.py)\n(.*?)```", page, re.DOTALL):
            (project.path / name).write_text(text, encoding="utf-8")
        environment = {**os.environ, "AGENTTRACE": "1", "AGENTTRACE_DB": str(project.path / "traces.db")}
        commands = re.findall(
            r"^(?:AGENTTRACE=1 python (weekend.+)|agenttrace (make-test .+))$", page, re.MULTILINE
        )
        assert len(commands) == 2
        for program, command in commands:
            words = program.split() if program else ["-m", "agenttrace", *command.split()]
            done = subprocess.run(
                [sys.executable, *words], env=environment, cwd=project.path, capture_output=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
        made = (project.path / "test_weekend.py").read_text(encoding="utf-8")
        [shown] = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
        changing = r"\d{4}-\d\d-\d\d|\b[0-9a-f]{16}\b"
        assert re.sub(changing, "?", made) == re.sub(changing, "?", shown)
        result = run(project, "test_weekend.py")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*AssertionError: swallowed_error: search failed with TimeoutError*"])
