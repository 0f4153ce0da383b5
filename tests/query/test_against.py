"""Where a run left the last good one: which one that is, and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttrace.errors import NotFound
from agenttrace.query.lines import ASCII, UNICODE, render_plain
from agenttrace.query.loaded_run import load_run
from agenttrace.query.render_why import LINES_LIMIT_COUNT, render_why
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import EventSink
from tests.query.factory import START_MS, Story

PLACE = {"file": "/app/a.py", "line": 3, "function": "run"}
ERROR = ("TimeoutError", "the index did not answer within 5 s, and nobody knows why it did not answer at all")


def tell(
    sink: EventSink, name: str, day: int, *, bad: str = "", root: str = "lead", word: str = "figs"
) -> None:
    """Record a run that looks a word up; ``failed`` lets that end it, ``swallowed`` does not."""
    story = Story(name, start_ms=START_MS + day * 86_400_000, process_id=f"{day + 1:08x}00000001")
    story.conversation("compare fruit, and say which of them is the better one")
    lead = story.start(root, given="compare")
    helper = story.start("helper", lead, given=word)
    _, error_id = story.call(
        helper,
        "look",
        {"word": word},
        output={"hits": 3},
        error=ERROR if bad else None,
        handled_at=PLACE if bad == "swallowed" else None,
    )
    is_failed = bad == "failed"
    error = (error_id or "", ERROR[0]) if is_failed else None
    story.end(helper, "error" if is_failed else "ok", error=error)
    story.end(lead, "error" if is_failed else "ok", error=error)
    story.write(sink)


@pytest.fixture
def weekly(sink: EventSink, viewer: TraceViewer) -> Iterator[TraceViewer]:
    """Give a viewer on a week of runs."""
    tell(sink, "mon", 0)
    tell(sink, "tue", 1)
    tell(sink, "wed", 2, bad="swallowed")
    tell(sink, "thu", 3, root="boss")
    tell(sink, "fri", 4, bad="failed")
    tell(sink, "sat", 5)
    yield viewer


class TestChoice:
    """``TraceViewer.last_ok``: the good run that a run is compared with."""

    @pytest.mark.parametrize(
        ("run", "good", "how"),
        [
            ("fri", "tue", "the last ok run of lead before it"),
            ("wed", "tue", "the last ok run of lead before it"),
            ("sat", "tue", "the last ok run of lead before it"),
            ("mon", "tue", "the first ok run of lead after it, as none is before"),
        ],
    )
    def test_of_the_same_root_agent(self, weekly: TraceViewer, run: str, good: str, how: str) -> None:
        """The newest before it that completed and swallowed nothing; else one after it; how is said."""
        assert weekly.last_ok(run) == (good, how)

    def test_takes_one_that_swallowed_where_there_is_no_better(
        self, sink: EventSink, viewer: TraceViewer
    ) -> None:
        """A run that completed is better than none, and what was swallowed in it is said."""
        tell(sink, "one", 0, bad="swallowed")
        tell(sink, "two", 1, bad="failed")
        assert viewer.last_ok("two") == (
            "one",
            "an ok run of lead before it; it swallowed errors too",
        )

    def test_of_an_agent_that_never_was_ok(self, weekly: TraceViewer) -> None:
        """Where there is none it is said, and is an error only where one was asked for."""
        with pytest.raises(NotFound, match="no other run"):
            weekly.last_ok("thu")
        divergence = weekly.diagnose("thu", against="last-ok").divergence
        assert divergence is not None and divergence.good is None
        assert divergence.how == "there is no other run of boss that completed"


class TestDiagnosis:
    """``diagnose(…, against=…)``."""

    def test_names_where_it_left(self, weekly: TraceViewer) -> None:
        """The first thing that is not the same, and the row that shows it."""
        divergence = weekly.diagnose("fri", against="last-ok").divergence
        assert divergence is not None and divergence.first is not None and divergence.first.b is not None
        assert (divergence.good, divergence.first.kind, divergence.first.agent) == (
            "tue",
            "outcome",
            "lead/helper",
        )
        assert divergence.first.b.error.startswith("TimeoutError")
        assert weekly.event(divergence.row_id or 0).tool_name == "look"

    def test_against_a_named_run(self, weekly: TraceViewer) -> None:
        """Any run can be named; one that is not there is refused; without it nothing is compared."""
        divergence = weekly.diagnose("fri", against="mo").divergence
        assert divergence is not None and (divergence.good, divergence.how) == (
            "mon",
            "the run that was named",
        )
        with pytest.raises(NotFound):
            weekly.diagnose("fri", against="nothing-like-it")
        assert weekly.diagnose("fri").divergence is None

    def test_of_a_run_like_the_good_one(self, weekly: TraceViewer) -> None:
        """Where nothing differs, that is said."""
        divergence = weekly.diagnose("sat", against="last-ok").divergence
        assert divergence is not None and divergence.first is None and divergence.same_count == 3
        assert "nowhere: 3 steps and no difference" in render_plain(
            render_why(weekly.diagnose("sat", against="last-ok"), 80)
        )


class TestRendering:
    """The verdict with where it left the good one."""

    @pytest.mark.parametrize("run", ["wed", "thu", "fri", "sat", "mon"])
    @pytest.mark.parametrize("database", ["", " --db " + "/a/very/long/path" * 4])
    def test_fits_in_twelve_lines(self, weekly: TraceViewer, run: str, database: str) -> None:
        """However much there is to say, it is twelve lines of 80 columns, commands whole."""
        diagnosis = weekly.diagnose(run, against="last-ok")
        text = render_plain(render_why(diagnosis, 80, UNICODE, database=database))
        heights = [-(-len(line) // 80) for line in text.splitlines()]
        assert sum(heights) <= LINES_LIMIT_COUNT
        assert all(len(line) <= 80 or "agenttrace " in line for line in text.splitlines())
        if run in ("wed", "fri"):
            assert "against tue, the last ok run of lead before it\n" in text
            assert f"agenttrace diff tue {run}{database}\n" in text
            assert "helper » look · outcome: ✔" in text and "✘ TimeoutError: the" in text

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_hostile_text(self, sink: EventSink, viewer: TraceViewer, width: int) -> None:
        """What was recorded is shown and not obeyed, in ASCII too."""
        tell(sink, "one", 0, root="le\x1b[2Jad/x", word="a" * 300 + "\x1b[31m1")
        tell(sink, "two", 1, root="le\x1b[2Jad/x", word="a" * 300 + "\x1b[31m2")
        text = render_plain(render_why(viewer.diagnose("two", against="last-ok"), width, ASCII))
        assert "\x1b" not in text
        assert all(len(line) <= width or "agenttrace " in line for line in text.splitlines())

    def test_commands_show_what_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every command that is printed runs, and shows the row, or the two runs, that is claimed."""
        from click.testing import CliRunner

        from agenttrace.cli.main import cli

        monkeypatch.setenv("COLUMNS", "80")
        database = str(tmp_path / "t.db")
        sink = EventSink(database)
        tell(sink, "mon", 0)
        tell(sink, "tue", 1, bad="failed")
        sink.close()
        said = CliRunner().invoke(cli, ["why", "--against", "last-ok", "--db", database]).stdout
        commands = [
            line.split()[line.split().index("agenttrace") + 1 :]
            for line in said.splitlines()
            if "agenttrace " in line
        ]
        assert [each[0] for each in commands] == ["show", "diff", "show"]
        shown = [CliRunner().invoke(cli, each) for each in commands]
        assert [each.exit_code for each in shown] == [0, 1, 0]
        assert "they part here: lead » helper · outcome" in shown[1].stdout
        assert "look" in shown[2].stdout and "tool_call" in shown[2].stdout
        other = CliRunner().invoke(cli, ["diff", "last-ok", "--db", database])
        assert other.exit_code == 1 and "took mon, the last ok run of lead before it" in other.stderr


class TestAttemptsByHand:
    """Calls that a program made again by itself."""

    def test_give_what_their_last_attempt_gave(self, sink: EventSink, viewer: TraceViewer) -> None:
        """What is looked at, and shown as proof, is the row that ended the last attempt."""
        story = Story("run")
        lead = story.start("lead")
        first, _ = story.call(lead, "fetch", error=("TimeoutError", "slow"))
        story.call(lead, "fetch", output="here", retry_of=first, attempt=2)
        story.end(lead)
        story.write(sink)
        with viewer.reader.snapshot():
            conversation = viewer.conversation("run")
            run = load_run(viewer.reader, conversation, "completed", lambda process_id: "running")
        (node,) = [node for node in run.nodes if node.family == "call"]
        assert (node.attempts, run.output(node)) == (2, "here")
        assert viewer.event(run.end_row(node)).status == "ok"
