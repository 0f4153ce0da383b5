"""The demo as a whole: what it leaves in the record, on any folder."""

from __future__ import annotations

import email
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import agenttrace
from agenttrace.demo import run as run_module
from agenttrace.demo import run_demo
from agenttrace.demo.planner import Message, Plan, PlannedCall, RulePlanner, ToolSpec
from agenttrace.demo.rules import RULES
from agenttrace.errors import AgentTraceError, ConfigError
from agenttrace.testing import Trajectory, memory_recorder

_BUDGET_S = 3.0
_WAITING_S = 0.4
"""For the command that is stopped after 0.3 s, and between the attempts."""


def record(folder: str | None = None, **keywords: Any) -> Trajectory:
    """Run the demo, recorded in memory."""
    with memory_recorder() as recorder:
        run_demo(folder, **keywords)
    return Trajectory(recorder)


@pytest.fixture(scope="module")
def audited() -> Trajectory:
    """The demo on its default folder, run once."""
    return record()


@pytest.mark.slow
class TestDemo:
    def test_has_a_lead_and_three_subagents(self, audited: Trajectory) -> None:
        """Each subagent is the lead's child."""
        assert sorted(audited.agents) == ["examples", "hygiene", "lead", "structure"]
        assert {audited.agent(name).parent for name in ("examples", "hygiene", "structure")} == {"lead"}

    def test_runs_its_subagents_side_by_side(self, audited: Trajectory) -> None:
        """All three have started before the first of them ends."""
        events = [event for event in audited.events if event.parent_agent_id is not None]
        starts = [event.ts_ns or 0 for event in events if event.kind == "agent_start"]
        ends = [event.ts_ns or 0 for event in events if event.kind == "agent_end"]
        assert len(starts) == len(ends) == 3
        assert max(starts) < max(ends)
        examples = next(
            event for event in events if event.agent_name == "examples" and event.kind == "agent_end"
        )
        assert max(starts) < (examples.ts_ns or 0)

    def test_meets_every_kind_of_failure(self, audited: Trajectory) -> None:
        """An unreadable file, a syntax error, a made-up tool, a time-out, a lock; each with its fate."""
        fates = sorted((row.fate, row.agent_name, row.error_type) for row in audited.failures())
        unreadable = "FileNotFoundError" if sys.platform != "win32" else "PermissionError"
        assert fates == [
            ("reported", "hygiene", unreadable),
            ("reported", "structure", "KeyError"),
            ("reported", "structure", "SyntaxError"),
            ("retried", "lead", "BlockingIOError"),
            ("retried", "lead", "BlockingIOError"),
            ("swallowed", "examples", "TimeoutError"),
        ]

    def test_retries_one_call_until_it_goes_well(self, audited: Trajectory) -> None:
        """Three attempts, of which two failed, are one call."""
        [saved] = audited.calls("save_report")
        assert (saved.attempts, saved.failed_attempts, saved.status) == (3, 2, "ok")

    def test_hides_the_swallowed_error_from_its_own_report(self, audited: Trajectory) -> None:
        """The subagent ends ok and claims that all is well: only the record knows better."""
        examples = audited.agent("examples")
        assert examples.status == "ok"
        assert examples.output == "2 examples ran; no problem found."
        assert examples.calls("run_command")[1].error_type == "TimeoutError"

    def test_counts_words_as_tokens_in_every_turn(self, audited: Trajectory) -> None:
        """Each agent thinks at least twice, and each turn has its usage."""
        turns = [event for event in audited.events if event.kind == "model_turn"]
        assert len(turns) >= 8
        assert {turn.model for turn in turns} == {"demo-planner-1"}
        assert all(turn.input_tokens and turn.output_tokens for turn in turns)

    def test_reports_what_its_tools_found(self, audited: Trajectory) -> None:
        """The lead's answer names the folder and holds each subagent's own words."""
        report = audited.agent("lead").output
        assert report.startswith("http: ")
        for name in ("structure", "hygiene", "examples"):
            assert audited.agent(name).output in report

    def test_tells_its_story_within_80_columns(self, audited: Trajectory) -> None:
        """The tree fits, and shows the four things to look for."""
        tree = audited._recorder.format_tree(80)
        assert max(map(len, tree.splitlines())) <= 80
        for text in ("swallowed", "3 attempts", "reported", "subagent"):
            assert text in tree

    def test_finds_other_things_in_other_folders(self, audited: Trajectory) -> None:
        """Two folders give two trees, that differ in more than their durations."""
        other = record(str(Path(email.__file__).parent))
        fates = [(each.agent_name, each.tool_name, each.fate, each.message) for each in other.failures()]
        endless = other.calls("run_command")[-1]
        # Where the machine ends the endless example before its time is up, there is nothing to swallow.
        expected = {"reported", "retried"} | ({"swallowed"} if endless.status == "error" else set())
        assert {fate for _, _, fate, _ in fates} == expected, (fates, endless)
        assert other.agent("lead").output.startswith("email: ")
        reads = [[call.arguments for call in one.calls("read_lines")] for one in (audited, other)]
        assert reads[0] != reads[1]

    @pytest.mark.parametrize("content", [None, "def f(:\n", "\0", "# nothing\n"])
    def test_copes_with_any_folder(self, tmp_path: Path, content: str | None) -> None:
        """Without Python, with one that does not parse, with a null byte, with nothing to say."""
        if content is not None:
            (tmp_path / "only.py").write_text(content, encoding="utf-8")
        assert {failure.fate for failure in record(str(tmp_path)).failures()} == {
            "reported",
            "retried",
            "swallowed",
        }

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_copes_with_names_and_warnings_of_any_kind(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """No UTF-8, a pipe that never ends, code that the parser warns of: nothing is printed."""
        source = b"def f():\n    return '\\d'\n"
        for name in (b"caf\xe9.py", b"warns.py"):
            (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(source)
        os.mkfifo(tmp_path / "pipe.py")
        trajectory = record(str(tmp_path))
        assert trajectory.calls("survey_functions")[0].result["functions"] == 2
        assert trajectory.calls("save_report")[0].status == "ok"
        assert capfd.readouterr() == ("", "")

    def test_is_over_within_three_seconds(self) -> None:
        """Also on a folder as large as it reads at most; CPU time and the known waiting count."""
        start_s = time.process_time()
        record(str(Path(email.__file__).parents[1]))
        assert time.process_time() - start_s < _BUDGET_S - _WAITING_S


@pytest.mark.slow
class TestManners:
    def test_prints_nothing_and_tells_on_progress(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Whoever wants to follow is told one line per step."""
        told: list[str] = []
        record(on_progress=told.append)
        assert capfd.readouterr() == ("", "")
        assert told[0] == "lead: First see what is there."
        assert any(line.startswith("examples: ") for line in told)

    def test_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The scratch folder goes, and tracing is as before."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        record()
        assert list(tmp_path.iterdir()) == []
        assert not agenttrace.is_enabled()

    def test_records_to_the_database_it_is_given(self, tmp_path: Path) -> None:
        """When it returns, all of it is there, under the id that it returns."""
        database = tmp_path / "demo.db"
        conversation_id = run_demo(database=str(database))
        store = agenttrace.TraceStore(str(database))
        row = store.conversation(conversation_id)
        assert row is not None
        assert (row.task, row.status) == ("Audit the Python code in http", "completed")
        assert {agent.agent_name for agent in store.agents(conversation_id)} == set(RULES)

    def test_records_where_agenttrace_is_set_up_to(self, clean_environment: Path) -> None:
        """Without a database of its own it switches tracing on and uses the default one."""
        conversation_id = run_demo()
        assert agenttrace.TraceStore().conversation(conversation_id) is not None

    def test_runs_untraced_where_tracing_is_forbidden(
        self, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``AGENTTRACE=0`` beats all: the id comes back, and nothing is recorded."""
        monkeypatch.setenv("AGENTTRACE", "0")
        assert run_demo()
        assert not (clean_environment / "traces.db").exists()

    def test_refuses_what_is_no_folder(self, tmp_path: Path) -> None:
        """Before anything is recorded."""
        with memory_recorder() as recorder, pytest.raises(ConfigError, match="is not a folder"):
            run_demo(str(tmp_path / "missing"))
        assert recorder.events() == []

    def test_refuses_to_plan_live_without_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what to set."""
        for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
            run_demo(live=True)


class StandIn:
    """A live model that asks for odd things, and fails when it is asked too often."""

    model, provider = "stand-in", "test"

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def plan(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Plan:
        if self.fails:
            raise ConnectionError("no route to the model")
        usage = {"input_tokens": 1, "output_tokens": 1}
        if len(messages) > 2:
            return Plan(f"{len(messages)} messages", (), usage)
        calls = [
            PlannedCall("1", "delegate", {"agent": "nobody", "task": "x"}),
            PlannedCall("2", "delegate", {"agent": "hygiene", "task": "x"}),
            PlannedCall("3", "grep", {"wrong": "argument"}),
        ]
        return Plan("", tuple(calls if any(tool.name == "delegate" for tool in tools) else calls[2:]), usage)


class TestLive:
    def test_survives_a_model_that_asks_for_odd_things(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown subagent and wrong arguments become messages, and every call gets its answer."""
        monkeypatch.setattr(run_module, "connect", StandIn)
        trajectory = record(live=True)
        assert trajectory.agent("lead").output == "6 messages"
        assert {call.error_type for call in trajectory.calls("grep")} == {"TypeError"}

    def test_says_that_the_model_failed_and_keeps_the_record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One clear line, with the SDK's own error as its cause."""
        monkeypatch.setattr(run_module, "connect", lambda: StandIn(fails=True))
        with (
            memory_recorder() as recorder,
            pytest.raises(AgentTraceError, match="no route to the model") as caught,
        ):
            run_demo(live=True)
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert [failure.fate for failure in Trajectory(recorder).failures()] == ["escaped"]

    def test_stops_a_model_that_never_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After eight turns the lead gives up, and says so as a failure."""
        endless = SimpleNamespace(model="endless", provider="test")
        first = RulePlanner(RULES["lead"])
        endless.plan = lambda messages, tools: first.plan(messages[:2], tools)
        monkeypatch.setattr(run_module, "connect", lambda: endless)
        lead = record(live=True).agent("lead")
        assert lead.status == "error"
        assert "stopped after 8 turns" in lead.output
