"""Cassettes in tests: recorded when asked, given back otherwise, readable, without secrets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agenttrace import agent_scope, model_turn, traced_tool
from agenttrace.cassette import Cassette
from agenttrace.errors import ReplayError
from agenttrace.testing import Trajectory, memory_recorder, stable
from agenttrace.testing.cassette_names import name_cassette
from agenttrace.testing.playing import CassetteMissing
from agenttrace.testing.stable import build_stable, write_stable
from tests.testing.test_pytest_plugin import project, run

__all__ = ["project"]

pytest_plugins = ["pytester"]

_SECRET = "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
ran: list[str] = []


@traced_tool
def fetch(url: str, api_key: str = "") -> dict[str, str]:
    ran.append(url)
    if url.endswith("/gone"):
        raise LookupError("404")
    return {"text": f"page {url}", "token": _SECRET, "said": f"Authorization: Bearer {_SECRET}"}


def work(*urls: str) -> list[str]:
    texts = []
    with agent_scope("lead", input=list(urls)) as lead:
        with model_turn("gpt-4o", provider="openai", input=[{"role": "user", "content": "go"}]) as turn:
            turn.set_output("go on", response_id=f"resp_{os.urandom(12).hex()}")
        for url in urls:
            try:
                texts.append(fetch(url, api_key=_SECRET)["text"])
            except LookupError:
                texts.append("gone")
        lead.set_output(texts)
    return texts


def play(folder: Path, mode: str, body: Callable[[Trajectory], None], *, is_saved: bool = True) -> Trajectory:
    """Run *body* as a test with the cassette ``c.json``, and save it as the plugin does."""
    ran.clear()
    with memory_recorder() as recorder:
        trajectory = Trajectory(recorder)
        trajectory.folder = folder
        with trajectory.replay("c.json", mode=mode):
            body(trajectory)
        if is_saved:
            for playing in trajectory.playings:
                playing.save(folder)
    return trajectory


class TestModes:
    def test_none_refuses_a_cassette_that_is_not_there(self, tmp_path: Path) -> None:
        """It names the file and the command that makes it, and nothing runs."""
        with pytest.raises(CassetteMissing, match=r"no cassette .*c\.json; .*--trajectory-record=once"):
            play(tmp_path, "none", lambda _: work("a"))
        assert ran == []

    def test_once_records_and_then_gives_back(self, tmp_path: Path) -> None:
        """The second run gives the same, and no tool runs."""
        given: list[list[str]] = []
        play(tmp_path, "once", lambda _: given.append(work("a", "b/gone")))
        assert ran == ["a", "b/gone"]
        for mode in ("once", "none"):
            play(tmp_path, mode, lambda _: given.append(work("a", "b/gone")))
            assert ran == []
        assert given == [["page a", "gone"]] * 3

    def test_once_runs_and_adds_what_is_missing(self, tmp_path: Path) -> None:
        """What is there stays as it is; what is new is written."""
        play(tmp_path, "once", lambda _: work("a"))
        [before] = json.loads((tmp_path / "c.json").read_text())["runs"]
        play(tmp_path, "once", lambda _: work("a", "b"))
        assert ran == ["b"]
        [after] = json.loads((tmp_path / "c.json").read_text())["runs"]
        assert after["calls"][:1] == before["calls"] and after["turns"] == before["turns"]
        assert len(after["calls"]) == 2
        play(tmp_path, "none", lambda _: work("a", "b"))
        assert ran == []

    def test_once_leaves_a_file_alone_when_nothing_is_new(self, tmp_path: Path) -> None:
        """Not even its time changes."""
        play(tmp_path, "once", lambda _: work("a"))
        os.utime(tmp_path / "c.json", (1, 1))
        play(tmp_path, "once", lambda _: work("a"))
        assert (tmp_path / "c.json").stat().st_mtime == 1

    def test_none_refuses_what_is_not_recorded(self, tmp_path: Path) -> None:
        """Also where the program caught the refusal."""
        play(tmp_path, "once", lambda _: work("a"))
        with pytest.raises(ReplayError, match="fetch"):
            play(tmp_path, "none", lambda _: work("b"))

        def careless(_: Trajectory) -> None:
            try:
                work("b")
            except Exception:
                pass

        with pytest.raises(ReplayError, match="fetch"):
            play(tmp_path, "none", careless)
        assert ran == []

    def test_all_records_everything_anew(self, tmp_path: Path) -> None:
        """What is no longer asked for goes."""
        play(tmp_path, "once", lambda _: work("a", "b"))
        play(tmp_path, "all", lambda _: work("c"))
        assert ran == ["c"]
        [run_of_lead] = Cassette.load(tmp_path / "c.json").runs
        assert [call.arguments["url"] for call in run_of_lead.calls] == ["c"]

    def test_a_mode_that_does_not_exist_is_refused(self, tmp_path: Path) -> None:
        """A typing error must not pass as one."""
        with pytest.raises(ValueError, match="mode='often': it is none, once, all"):
            play(tmp_path, "often", lambda _: work("a"))

    def test_named_tools_run_themselves(self, tmp_path: Path) -> None:
        """The rest is given back."""
        play(tmp_path, "once", lambda _: work("a"))
        ran.clear()
        with memory_recorder() as recorder:
            trajectory = Trajectory(recorder)
            with trajectory.replay(tmp_path / "c.json", run=["fetch"]):
                work("a")
        assert ran == ["a"]


class TestLeaving:
    def test_may_go_another_way_after_what_is_named(self, tmp_path: Path) -> None:
        """The block ends quietly, and what is not recorded does not run."""
        play(tmp_path, "once", lambda _: work("a"))
        ran.clear()
        with memory_recorder() as recorder:
            trajectory = Trajectory(recorder)
            with trajectory.replay(tmp_path / "c.json", may_leave="fetch") as playing:
                work("a", "b")
        assert ran == []
        assert playing.left_ns is not None
        assert [call.status for call in trajectory.calls("fetch")] == ["ok", "error"]

    def test_but_not_before(self, tmp_path: Path) -> None:
        """A test that never came to what it is about says so."""
        play(tmp_path, "once", lambda _: work("a"))
        with memory_recorder() as recorder:
            with pytest.raises(AssertionError, match="left the recording before it asked for search"):
                with Trajectory(recorder).replay(tmp_path / "c.json", may_leave="search"):
                    work("b")

    def test_what_is_no_exception_still_leaves(self, tmp_path: Path) -> None:
        """Ctrl-C ends the tests."""
        play(tmp_path, "once", lambda _: work("a"))
        with memory_recorder() as recorder, pytest.raises(KeyboardInterrupt):
            with Trajectory(recorder).replay(tmp_path / "c.json", may_leave=True):
                try:
                    work("b")
                finally:
                    raise KeyboardInterrupt


class TestFile:
    def test_holds_no_secret_and_the_secret_still_matches(self, tmp_path: Path) -> None:
        """The fixture compares what really came and went; the file has it redacted."""
        trajectory = play(tmp_path, "once", lambda _: work("a"))
        assert trajectory.calls("fetch")[0].arguments["api_key"] == _SECRET
        text = (tmp_path / "c.json").read_text()
        assert _SECRET not in text and "hunter2" not in text
        replayed = play(tmp_path, "none", lambda _: work("a"))
        assert replayed.calls("fetch")[0].result["token"] == "REDACTED"

    def test_is_the_same_each_time(self, tmp_path: Path) -> None:
        """No time, no random id: a change in review is a change in what happened."""
        texts = []
        for _ in range(2):
            play(tmp_path, "all", lambda _: work("a", "b/gone"))
            texts.append((tmp_path / "c.json").read_text())
        assert texts[0] == texts[1]
        assert "resp_0001" in texts[0]
        assert not re.search(r'"(\w*_ms|ts_ns|span_id|conversation_id)"', texts[0])

    def test_names_no_folder_of_this_machine(self, tmp_path: Path) -> None:
        """Lines of code are named from the project's folder; others' are left out."""
        with memory_recorder() as recorder:
            work("a/gone")
        cassette = Cassette.of(recorder.store, recorder.conversation_ids()[0])
        here = Path(__file__).parents[2]
        [frame] = build_stable(cassette, here)["runs"][0]["calls"][0]["error"]["frames"]
        assert frame["file"] == "tests/testing/test_cassettes.py"
        elsewhere = json.dumps(build_stable(cassette, tmp_path))
        assert str(here) not in elsewhere and str(tmp_path) not in elsewhere

    def test_provider_ids_stay_the_same_among_each_other(self, tmp_path: Path) -> None:
        """What an answer asked for and what was handed back for it are still one."""
        identity = f"call_{os.urandom(12).hex()}"
        with memory_recorder() as recorder, agent_scope("lead"):
            with model_turn("gpt-4o", input=[]) as turn:
                turn.set_output([{"id": identity, "name": "fetch"}])
            with model_turn("gpt-4o", input=[{"tool_call_id": identity}]) as turn:
                turn.set_output("done")
        cassette = Cassette.of(recorder.store, recorder.conversation_ids()[0])
        first, second = build_stable(cassette, tmp_path)["runs"][0]["turns"]
        assert first["payload"]["output"][0]["id"] == second["input"][0]["tool_call_id"] == "call_0001"

    def test_a_failed_write_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whole or not at all, and nothing left lying about."""
        path = tmp_path / "new" / "c.json"
        write_stable(path, {"version": 1, "runs": []})
        before = path.read_text()

        def refuse(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="disk full"):
            write_stable(path, {"version": 1, "runs": [1]})
        assert [each.name for each in path.parent.iterdir()] == ["c.json"]
        assert path.read_text() == before


class TestNames:
    def test_are_readable(self) -> None:
        """Module, test, parameters; what a test says wins."""
        file = Path("/t/test_plan.py")
        assert name_cassette(file, "test_a") == Path("/t/cassettes/test_plan/test_a.json")
        assert name_cassette(file, "TestX.test_a[1-two]").name == "TestX.test_a-1-two.json"
        assert name_cassette(file, "test_a", "shared") == Path("/t/cassettes/test_plan/shared.json")
        assert name_cassette(file, "test_a", "data/x.json") == Path("/t/data/x.json")

    def test_are_safe_and_two_for_two_tests(self) -> None:
        """Whatever stands in a parameter, in every file system."""
        parameters = [
            "x",
            "X",
            "a/b",
            "a\\b",
            "../..",
            "é",
            "é ",
            "\x00",
            "a" * 300,
            "a" * 301,
            "",
            "con",
            "*",
        ]
        names = [f"test_a[{each}]" for each in parameters] + [
            "test_a",
            "test_a_x",
            "test_ax",
            "con",
        ]
        paths = [name_cassette(Path("/t/test_p.py"), name) for name in names]
        assert all(path.parent == Path("/t/cassettes/test_p") for path in paths)
        stems = [path.stem.lower() for path in paths]
        assert len(set(stems)) == len(stems), sorted(stems)
        assert all(re.fullmatch(r"[\w.=,+-]{1,125}", stem, re.ASCII) for stem in stems)
        assert "con" not in stems


_TEST = """
    import pytest
    from agenttrace import agent_scope, traced_tool

    ran = []

    @traced_tool
    def add(a, b):
        ran.append(a)
        return a + b

    @pytest.mark.trajectory(cassette=True)
    @pytest.mark.parametrize("number", range(6))
    def test_each(number):
        with agent_scope("lead"):
            assert add(number, 1) == number + 1
        print("ran", ran)

    def test_replay(trajectory):
        with trajectory.replay("cassettes/own.json"), agent_scope("lead"):
            assert add(1, 1) == 2
"""


@pytest.mark.slow
class TestOptions:
    def test_once_then_none(self, project: pytest.Pytester) -> None:
        """Recorded by one run of three processes, given back by the next, file by file."""
        project.makepyfile(test_it=_TEST)
        result = run(project)
        result.assert_outcomes(failed=7)
        result.stdout.fnmatch_lines(
            ["there is no cassette cassettes/test_it/test_each-0.json; *once 'test_it.py::test_each[[]0]'*"]
        )
        assert not (project.path / "cassettes").exists()
        workers = ("-n", "3") if pytest.importorskip("xdist") else ()
        run(project, *workers, "--trajectory-record=once").assert_outcomes(passed=7)
        files = sorted(path.name for path in (project.path / "cassettes").rglob("*.json"))
        assert files == ["own.json", *(f"test_each-{number}.json" for number in range(6))]
        result = run(project, "-rP")
        result.assert_outcomes(passed=7)
        assert result.stdout.str().count("ran []") == 6

    def test_the_ini_file_says_it_too(self, project: pytest.Pytester) -> None:
        """And the command line wins."""
        project.makepyfile(test_it=_TEST)
        project.makeini("[pytest]\ntrajectory_record = once\n")
        run(project, "--trajectory-record=none").assert_outcomes(failed=7)
        run(project).assert_outcomes(passed=7)

    def test_a_failed_test_writes_nothing_unless_asked(self, project: pytest.Pytester) -> None:
        """What a broken run did is not what the next one should be given."""
        project.makepyfile(
            test_it=_TEST.replace("== number + 1", "== 0").replace("cassettes/own.json", "own.json")
        )
        run(project, "--trajectory-record=once", "-k", "each").assert_outcomes(failed=6, deselected=1)
        assert not (project.path / "cassettes").exists()
        run(project, "--trajectory-record=all", "--trajectory-keep-failed", "-k", "each")
        assert len(list((project.path / "cassettes").rglob("*.json"))) == 6

    def test_other_processes_run_nothing_and_record_nothing(
        self, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What they ask for was not recorded here, so it is refused there; no database comes to be."""
        monkeypatch.setenv("AGENTTRACE_DB", str(project.path / "own.db"))
        project.makepyfile(
            work="""
            from agenttrace import agent_scope, traced_tool

            @traced_tool
            def tool(number):
                with open("ran.txt", "a") as file:
                    file.write("x")
                return number

            def child(number):
                with agent_scope("sub"):
                    return tool(number)
        """,
            test_it="""
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            import pytest
            import work
            from agenttrace import agent_scope
            from agenttrace.errors import ReplayError

            @pytest.mark.parametrize("how", ["fork", "spawn"])
            @pytest.mark.trajectory(cassette=True)
            def test_pool(how):
                with agent_scope("lead"), ProcessPoolExecutor(1, multiprocessing.get_context(how)) as pool:
                    work.tool(1)
                    error = pool.submit(work.child, 2).exception()
                print("error", type(error).__name__)
        """,
        )
        for mode, error, count in (("once", "NoneType", 4), ("none", "ReplayError", 4)):
            result = run(project, "-rP", f"--trajectory-record={mode}")
            result.assert_outcomes(passed=2)
            assert result.stdout.str().count(f"error {error}") == 2
            assert len((project.path / "ran.txt").read_text()) == count
        assert not (project.path / "own.db").exists()

    def test_a_failed_test_tells_what_was_not_as_recorded(self, project: pytest.Pytester) -> None:
        """Such as an object that nothing says how to make again."""
        project.makepyfile(
            test_it="""
            import pytest
            from agenttrace import agent_scope, traced_tool

            class Page:
                def __init__(self, text):
                    self.text = text

            @traced_tool
            def fetch() -> Page:
                return Page("figs")

            @pytest.mark.trajectory(cassette=True)
            def test_one():
                with agent_scope("lead"):
                    assert fetch().text == "figs"
        """
        )
        run(project, "--trajectory-record=once").assert_outcomes(passed=1)
        result = run(project)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*- trajectory: not given back just as recorded -*", "fetch: *Page*"])


class TestAFile:
    def test_leaves_out_only_what_the_clock_says(self) -> None:
        """A tool's own answer is given back whole, whatever its members are called."""
        recorded = {
            "output": {"created": 1, "caught": ["fish"], "duration_ms": 2},
            "members": {"caught": {"elsewhere_count": 12}, "first_chunk_ms": 3.5, "service_tier": "flex"},
            "duration_ms": 0.4,
        }
        assert stable._fields(recorded, lambda name, value: value, "/project/") == {
            "output": {"created": 1, "caught": ["fish"], "duration_ms": 2},
            "members": {"service_tier": "flex"},
        }
