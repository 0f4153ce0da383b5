"""``TraceViewer.diagnose`` of runs that are out of the ordinary."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import pytest

import agenttrace
from agenttrace import (
    TraceStore,
    TraceViewer,
    agent_scope,
    clock,
    conversation_scope,
    model_turn,
    traced_tool,
)
from agenttrace.errors import ConfigError
from agenttrace.query.diagnose import build_diagnosis
from agenttrace.query.loaded_run import LoadedRun, load_run
from agenttrace.query.thresholds import DEFAULTS, Thresholds, change_thresholds
from agenttrace.query.tree import build_tree
from tests.cli.conftest import Invoke, Shell, invoke, shell
from tests.reading import run_python

__all__ = ["invoke", "shell"]


@traced_tool
def divide(a: int, b: int) -> float:
    return a / b


def spoil(name: str) -> None:
    """Record a run in which one error is swallowed, and others are told, in three agents."""
    with conversation_scope(name), agent_scope("lead") as lead:
        for each in ("one", "two"):
            with agent_scope(each) as agent:
                told = ""
                for number in range(3):
                    with model_turn("acme", input=[{"role": "user", "content": f"go on {told}"}]) as turn:
                        turn.set_output("I divide")
                    try:
                        divide(number, 1 if number else 0)
                    except ZeroDivisionError as exc:
                        told = "" if each == "two" else str(exc)
                agent.set_output("divided")
        lead.set_output("all is divided")


@pytest.fixture
def viewer(clean_environment: Path) -> Iterator[TraceViewer]:
    """Read the default database, in which ``spoiled`` is."""
    path = clean_environment / "traces.db"
    agenttrace.configure(path, install=())
    spoil("spoiled")
    agenttrace.flush()
    with TraceStore(path) as store:
        yield TraceViewer(store)
    agenttrace.shutdown()


class TestDeterminism:
    """The same rows give the same words."""

    def test_any_order_of_rows(self, viewer: TraceViewer) -> None:
        """Events and failures come as they like."""
        conversation = viewer.conversation("spoiled")
        run = load_run(viewer.reader, conversation, "completed", lambda process: "running")
        said = build_diagnosis(run)
        assert said.first is not None and said.first.kind == "swallowed_error"
        for seed in range(20):
            draw = random.Random(seed)
            events, failures = list(run.events), list(run.failures)
            draw.shuffle(events)
            draw.shuffle(failures)
            tree = build_tree(
                events,
                conversation_id="spoiled",
                fates={each.error_id: each.fate for each in failures if each.error_id},
                liveness=lambda process: "running",
                now_ns=clock.now_ns(),
            )
            again = LoadedRun(viewer.reader, conversation, "completed", tree, events, failures)
            assert build_diagnosis(again) == said, f"seed {seed}"

    @pytest.mark.slow
    def test_any_process(self, viewer: TraceViewer, shell: Shell, clean_environment: Path) -> None:
        """Processes that hash otherwise print the same."""
        database = str(clean_environment / "traces.db")
        said = {
            shell("why", "spoiled", "--db", database, env={"PYTHONHASHSEED": seed}).stdout
            for seed in ("0", "1", "77")
        }
        assert len(said) == 1 and "swallowed_error" in said.pop()


class TestOddRuns:
    """Of all that a database may hold, something true is said."""

    def test_still_open(self, viewer: TraceViewer) -> None:
        """What runs is no fault; what has failed in it so far is."""
        with conversation_scope("open"), agent_scope("lead"):
            with pytest.raises(ZeroDivisionError):
                divide(1, 0)
            agenttrace.flush()
            diagnosis = viewer.diagnose("open")
        assert diagnosis.status == "running" and diagnosis.verdict.startswith("running")
        assert [each.kind for each in diagnosis.findings] == ["failed_call"]
        assert all(each.kind != "interrupted" for each in diagnosis.findings)

    def test_only_turns(self, viewer: TraceViewer) -> None:
        """A talk without a tool has nothing wrong."""
        with conversation_scope("talk"), agent_scope("lead") as lead:
            for _ in range(5):
                with model_turn("acme", input="hello") as turn:
                    turn.set_output("hello")
            lead.set_output("hello")
        agenttrace.flush()
        diagnosis = viewer.diagnose("talk")
        assert diagnosis.findings == () and diagnosis.verdict == "completed; nothing wrong was found"

    def test_empty(self, viewer: TraceViewer, invoke: Invoke) -> None:
        """A conversation without an event is said to have nothing wrong, and can be shown."""
        with conversation_scope("empty"), agent_scope("lead"):
            pass
        agenttrace.flush()
        assert viewer.diagnose("empty").findings == ()
        assert "nothing wrong was found" in invoke("why", "empty").stdout
        assert invoke("check", "empty").exit_code == 0

    def test_lost_events(self, viewer: TraceViewer, invoke: Invoke, clean_environment: Path) -> None:
        """What its processes dropped is said, because what is missing may be the cause."""
        agenttrace.shutdown()
        with closing(sqlite3.connect(clean_environment / "traces.db")) as connection:
            connection.execute("""UPDATE processes SET dropped = '{"full": 1200, "late": 4}'""")
            connection.commit()
        diagnosis = viewer.diagnose("spoiled")
        assert diagnosis.lost_events == 1204
        said = invoke("why", "spoiled").stdout
        assert "lost    1,204 events of its processes; agenttrace doctor says why\n" in said
        assert len(said.splitlines()) <= 12
        assert json.loads(invoke("why", "spoiled", "--json").stdout)["lost_events"] == 1204

    def test_lost_events_of_a_good_run(self, viewer: TraceViewer, clean_environment: Path) -> None:
        """Nothing wrong was found is not the same as nothing was wrong."""
        with conversation_scope("good"), agent_scope("lead"):
            pass
        agenttrace.shutdown()
        with closing(sqlite3.connect(clean_environment / "traces.db")) as connection:
            connection.execute("""UPDATE processes SET dropped = '{"full": 1}'""")
            connection.commit()
        verdict = viewer.diagnose("good").verdict
        assert verdict == "completed; nothing wrong was found, but 1 event of its processes was lost"

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_forked_child(self, clean_environment: Path, invoke: Invoke) -> None:
        """What fails in a child that was forked inside an agent is found in the parent's run."""
        done = run_python(
            dedent("""
            import os, sys
            from agenttrace import agent_scope, conversation_scope, traced_tool
            @traced_tool
            def crunch(x):
                raise ValueError("odd number")
            with conversation_scope("forked"), agent_scope("lead") as lead:
                child = os.fork()
                if child == 0:
                    try:
                        crunch(3)
                    except ValueError:
                        pass
                    import agenttrace
                    agenttrace.shutdown()
                    os._exit(0)
                os.waitpid(child, 0)
                lead.set_output("crunched")
            """),
            clean_environment / "traces.db",
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(invoke("why", "forked", "--json").stdout)
        assert any("ValueError: odd number" in each["sentence"] for each in said["findings"]), said

    @pytest.mark.slow
    def test_killed_between_calls(self, clean_environment: Path, invoke: Invoke) -> None:
        """A process that dies in no call at all has interrupted its agent."""
        done = run_python(
            dedent("""
            import os
            from agenttrace import agent_scope, conversation_scope, flush
            with conversation_scope("killed"), agent_scope("lead"):
                flush()
                os.kill(os.getpid(), 9)
            """),
            clean_environment / "traces.db",
        )
        assert done.returncode == -9
        said = json.loads(invoke("why", "killed", "--json").stdout)
        assert [each["kind"] for each in said["findings"]] == ["interrupted"]
        assert said["findings"][0]["sentence"] == "lead was still open when its process died"


class TestThresholds:
    """Numbers by name."""

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"retry_attempt": 3}, "no threshold 'retry_attempt'"),
            ({"retry_attempts": "three"}, "a whole number"),
            ({"retry_attempts": 2.5}, "a whole number"),
            ({"stall_factor": -1}, "0 or more"),
            ({"stall_factor": "nan"}, "0 or more"),
            ({"stall_factor": True}, "a number"),
            ({"stall_factor": None}, "a number"),
        ],
    )
    def test_mistake(self, values: dict[str, object], words: str) -> None:
        """What is not allowed is named, with what is."""
        with pytest.raises(ConfigError, match=words):
            change_thresholds(DEFAULTS, values, "here")

    def test_change(self) -> None:
        """Text and numbers are taken; the others stay."""
        changed = change_thresholds(DEFAULTS, {"retry_attempts": "3", "stall_factor": 10}, "here")
        assert changed == Thresholds(retry_attempts=3, stall_factor=10.0)
        assert isinstance(changed.stall_factor, float)

    def test_of_the_project(
        self, viewer: TraceViewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``[tool.agenttrace.diagnosis]`` counts where none are given; those that are given win."""
        (tmp_path / "pyproject.toml").write_text("[tool.agenttrace.diagnosis]\nmin_confidence = 0.99\n")
        assert viewer.diagnose("spoiled").findings
        monkeypatch.chdir(tmp_path)
        assert viewer.diagnose("spoiled").findings == ()
        assert viewer.diagnose("spoiled", Thresholds()).findings
        (tmp_path / "pyproject.toml").write_text("[tool.agenttrace.diagnosis]\nmin_confidense = 0.99\n")
        with pytest.raises(ConfigError, match="no threshold 'min_confidense'"):
            viewer.diagnose("spoiled")
