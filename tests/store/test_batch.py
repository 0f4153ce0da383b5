"""A batch is one transaction: events, rollups, open operations and the ring's position."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from agenttrace import errors
from agenttrace.errors import RingTaken, SchemaTooNew, StoreBusy
from agenttrace.events import CONTROL_CONVERSATION
from agenttrace.store.batch import EventSink, Finish, ProcessCounters, RingPosition
from agenttrace.store.connection import SCHEMA_VERSION
from agenttrace.store.event_store import TraceStore
from agenttrace.store.plan import build_plan
from agenttrace.store.rollups import verify_rollups
from tests.store.scenes import PROCESS_ID, START_NS, Scene, build_record, process_info


def note(number: int, conversation_id: str = "c1", agent_id: str = "a1", **columns: object) -> object:
    """Give one event that is nothing special."""
    return build_record(
        "note",
        START_NS + number * 1_000_000,
        {"text": str(number)},
        f"{PROCESS_ID}-{number:x}",
        conversation_id=conversation_id,
        agent_id=agent_id,
        **columns,
    )


class TestSeq:
    """``seq`` (S0.14, S0.15)."""

    def test_counts_up_from_0_without_a_gap(self, sink: EventSink, store: TraceStore) -> None:
        """Per conversation and agent, over batches, whatever stands between."""
        for start in range(0, 30, 10):
            sink.write([note(n, f"c{n % 2}", f"a{n % 3}") for n in range(start, start + 10)])
        for conversation in ("c0", "c1"):
            for agent in ("a0", "a1", "a2"):
                assert [event.seq for event in store.list(conversation, agent)] == [0, 1, 2, 3, 4]
        assert store.next_seq_for("c0", "a0") == 5
        assert store.next_seq_for("c0", "nobody") == 0

    def test_is_never_given_twice(self, sink: EventSink, store: TraceStore) -> None:
        """Not even when the events that had it were deleted."""
        sink.write([note(n) for n in range(3)])
        sink.database.execute("DELETE FROM trajectory_events")
        sink.write([note(3)])
        assert [event.seq for event in store.events("c1")] == [3]

    def test_may_be_given(self, sink: EventSink, store: TraceStore) -> None:
        """Events that bring their own seq keep it, in any order, and the next one follows (S0.28)."""
        sink.write([note(n, seq=seq) for n, seq in enumerate((3, 1, 0, 2))])
        sink.write([note(9)])
        assert [(event.seq, event.payload["text"]) for event in store.list("c1", "a1")] == [
            (0, "2"),
            (1, "1"),
            (2, "3"),
            (3, "0"),
            (4, "9"),
        ]
        assert verify_rollups(sink.database) == []


class TestColumns:
    """Which columns a statement names follows from what the batch holds."""

    _SOMETIMES: tuple[tuple[str, object], ...] = (
        ("parent_agent_id", "above"),
        ("call_id", "call 1"),
        ("error_id", "e" * 16),
        ("error_type", "ValueError"),
        ("cause_error_id", "c" * 16),
        ("turn", 3),
        ("attempt", 2),
        ("retry_of", "a" * 16),
        ("model", "m"),
        ("provider", "p"),
        ("input_tokens", 0),
        ("output_tokens", 2),
        ("cache_read_tokens", 3),
        ("cache_write_tokens", 4),
        ("reasoning_tokens", 5),
        ("cost_usd", 0.5),
    )

    @pytest.mark.parametrize(("name", "value"), _SOMETIMES)
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_are_all_that_any_row_uses(
        self, name: str, value: object, place: int, sink: EventSink, store: TraceStore
    ) -> None:
        """A value that one row of a batch alone has is stored, and the others of that column stay empty."""
        sink.write([note(n, **({name: value} if n == place else {})) for n in range(3)])
        sink.write([note(n) for n in range(3, 6)])
        found = [getattr(event, name) for event in store.list("c1", "a1")]
        assert found == [value if n == place else None for n in range(6)]

    def test_are_the_fewest_for_plain_calls(self) -> None:
        """Rows without anything special need fourteen; one with an id of a call a few more, usage all."""
        breadths = [
            build_plan([note(0), note(1, **columns)], {}).breadth  # type: ignore[list-item]
            for columns in ({}, {"call_id": "x"}, {"turn": 1})
        ]
        assert breadths == [0, 1, 2]


class TestTurn:
    """``turn`` of a continued agent."""

    def test_goes_on_from_the_run_before(self, sink: EventSink, store: TraceStore) -> None:
        """Turns count from 1 in each run at capture, and count on in the store."""
        scene = Scene()
        for _ in range(2):
            agent = scene.agent()
            for turn in (1, 2):
                scene.model(agent, turn_in_run=turn)
            scene.end(agent)
        scene.store(sink)
        turns = [event.turn for event in store.events("c1") if event.kind == "model_turn"]
        assert turns == [1, 2, 3, 4]

    def test_goes_on_in_a_later_batch(self, sink: EventSink, store: TraceStore) -> None:
        """The same, when each event comes in a batch of its own."""
        scene = Scene()
        for _ in range(2):
            agent = scene.agent()
            scene.model(agent, turn_in_run=1)
            scene.end(agent)
        for record in scene.records:
            sink.write([record])
        assert [event.turn for event in store.events("c1") if event.kind == "model_turn"] == [1, 2]

    def test_marks_the_second_start_as_resumed(self, sink: EventSink, store: TraceStore) -> None:
        """The second ``agent_start`` of an id says ``resumed``, the first does not."""
        scene = Scene()
        scene.end(scene.agent())
        scene.agent()
        scene.store(sink)
        starts = [event.payload for event in store.events("c1") if event.kind == "agent_start"]
        assert starts == [{"input": None}, {"resumed": True, "input": None}]

    def test_leaves_a_payload_that_is_no_object_alone(self, sink: EventSink, store: TraceStore) -> None:
        """There is no place in it for the mark."""
        start = {"conversation_id": "c1", "agent_id": "a1"}
        sink.write([build_record("agent_start", START_NS + n, b"[1]", f"p-{n}", **start) for n in range(2)])
        assert [event.payload for event in store.events("c1")] == [[1], [1]]

    def test_marks_an_empty_payload_too(self, sink: EventSink, store: TraceStore) -> None:
        """``{}`` becomes an object with that one key, and one that has it stays as it is."""
        start = {"conversation_id": "c1", "agent_id": "a1"}
        sink.write([build_record("agent_start", START_NS + n, b"{}", f"p-{n}", **start) for n in range(2)])
        sink.write([build_record("agent_start", START_NS + 2, b'{"resumed":true}', "p-2", **start)])
        assert [event.payload for event in store.events("c1")] == [{}, {"resumed": True}, {"resumed": True}]


class TestConversation:
    """What a batch knows of conversations."""

    def test_is_made_with_its_first_event(self, sink: EventSink, store: TraceStore) -> None:
        """Its time is that of the event, its process the event's."""
        sink.write([note(5)])
        row = store.conversation("c1")
        assert row is not None
        assert (row.ts_ms, row.process_id, row.task) == (START_NS // 1_000_000 + 5, PROCESS_ID, None)

    def test_is_described_by_a_control_record(self, sink: EventSink, store: TraceStore) -> None:
        """It is no event; a later one adds, and says nothing of what it leaves out."""
        described = {"conversation_id": "c1"}
        one = build_record(
            CONTROL_CONVERSATION, START_NS, {"task": "audit", "metadata": {"a": 1}}, "p-1", **described
        )
        two = build_record(
            CONTROL_CONVERSATION, START_NS, {"task": None, "metadata": {"b": "ü"}}, "p-2", **described
        )
        assert sink.write([one]).events == 0
        sink.write([two, note(1)])
        row = store.conversation("c1")
        assert row is not None
        assert (row.task, row.metadata, row.total_events) == ("audit", {"b": "ü"}, 1)

    def test_shows_the_head_of_a_task_that_was_cut(self, sink: EventSink, store: TraceStore) -> None:
        """``task`` is always text."""
        cut = {"task": {"$agenttrace": "cut", "bytes": 9000, "head": "audit all"}}
        sink.write([build_record(CONTROL_CONVERSATION, START_NS, cut, "p-1", conversation_id="c1")])
        row = store.conversation("c1")
        assert row is not None and row.task == "audit all"


class TestRing:
    """The ring's position (exactly once)."""

    def test_moves_with_the_batch(self, sink: EventSink) -> None:
        """Unknown at first; then where the last batch put it."""
        assert sink.position("r1") is None
        sink.write([note(1)], RingPosition("r1", PROCESS_ID, 0, 100))
        sink.write([note(2)], RingPosition("r1", PROCESS_ID, 100, 250))
        assert sink.position("r1") == 250

    def test_refuses_a_second_drainer(self, sink: EventSink, store: TraceStore) -> None:
        """Whoever comes with an older position writes nothing at all."""
        sink.write([note(1)], RingPosition("r1", PROCESS_ID, 0, 100))
        with pytest.raises(RingTaken):
            sink.write([note(1), note(2)], RingPosition("r1", PROCESS_ID, 0, 200))
        assert len(store.events("c1")) == 1
        assert sink.position("r1") == 100

    def test_begins_where_the_header_says(self, sink: EventSink) -> None:
        """A ring that this database has never seen may begin at any position."""
        sink.write([note(1)], RingPosition("r1", PROCESS_ID, 4096, 8192))
        assert sink.position("r1") == 8192


class TestBadRecord:
    """A record that cannot be stored."""

    BAD = {
        "an int beyond 64 bits": note(50, input_tokens=2**70),
        "a lone surrogate in a name": note(50, agent_name="\ud800"),
        "a lone surrogate in the conversation": note(50, "\ud800"),
        "a payload that is no UTF-8": build_record(
            "note", START_NS, b"\xff{}", "p-1", conversation_id="c1", agent_id="a1"
        ),
        "an error that is no JSON": build_record(
            "error", START_NS, b'{"error":', "p-1", conversation_id="c1", agent_id="a1"
        ),
        "no agent": build_record("note", START_NS, {}, "p-1", conversation_id="c1"),
        "an empty agent": note(50, agent_id=""),
        "a dict in a column": note(50, model={"a": 1}),
        "no time": build_record("note", None, {}, "p-1", conversation_id="c1", agent_id="a1"),  # type: ignore[arg-type]
        "a time beyond 64 bits": build_record("note", 2**80, {}, "p-1", conversation_id="c1", agent_id="a1"),
        "a seq that is taken": note(50, seq=0),
        "no kind": build_record(None, START_NS, {}, "p-1", conversation_id="c1", agent_id="a1"),  # type: ignore[arg-type]
        "a short header": note(50)._replace(header=["note", START_NS]),  # type: ignore[attr-defined]
        "no header": note(50)._replace(header=None),  # type: ignore[attr-defined]
        "a description that is no JSON": build_record(
            CONTROL_CONVERSATION, START_NS, b"{", "p-1", conversation_id="c1"
        ),
    }

    @pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
    @pytest.mark.parametrize("place", [0, 7, 19], ids=["first", "inside", "last"])
    def test_costs_only_itself(self, bad: object, place: int, sink: EventSink, store: TraceStore) -> None:
        """The others are stored in order and without a gap; it is counted under its kind."""
        sink.write([note(100)])
        records = [note(number) for number in range(19)]
        records.insert(place, bad)
        written = sink.write(records)
        assert written.events == 19
        assert sum(written.failed.values()) == 1
        assert [event.seq for event in store.list("c1", "a1")] == list(range(20))
        assert [event.payload["text"] for event in store.list("c1", "a1")][1:] == [str(n) for n in range(19)]
        assert verify_rollups(sink.database) == []

    def test_among_many_bad_ones_is_found(self, sink: EventSink, store: TraceStore) -> None:
        """Every second record is bad; the good half is stored."""
        records = [note(n, input_tokens=2**70 if n % 2 else None) for n in range(300)]
        written = sink.write(records)
        assert (written.events, written.failed) == (150, {"note: OverflowError": 150})
        assert len(store.events("c1")) == 150

    def test_is_named_with_the_process(self, sink: EventSink, store: TraceStore) -> None:
        """``processes.failed`` counts it beside what the process counted itself."""
        counters = ProcessCounters(dropped={"ring full": 2}, failed={"encode": 1})
        sink.write([note(1, input_tokens=2**70)], process=process_info(), counters=counters)
        (process,) = store.processes()
        assert process.dropped == {"ring full": 2}
        assert process.failed == {"encode": 1, "note: OverflowError": 1}

    def test_keeps_its_blob_out(self, sink: EventSink) -> None:
        """The blob of a refused record is not stored."""
        sink.write([note(1, input_tokens=2**70, blob=("a" * 64, b"{}"))])
        assert sink.database.execute("SELECT count(*) FROM payload_blobs").fetchone() == (0,)


class TestBlob:
    """Whole payloads beside cut ones."""

    def test_is_stored_once(self, sink: EventSink, store: TraceStore) -> None:
        """By its hash, however many rows refer to it."""
        sink.write([note(1, blob=("a" * 64, b'{"x":1}')), note(2, blob=("a" * 64, b'{"x":1}'))])
        sink.write([note(3, blob=("a" * 64, b'{"x":1}'))])
        assert store.blob("a" * 64) == b'{"x":1}'
        assert store.blob("b" * 64) is None
        assert sink.database.execute("SELECT count(*), sum(bytes) FROM payload_blobs").fetchone() == (1, 7)


class TestProcess:
    """``processes``."""

    def test_is_known_from_its_first_batch(self, sink: EventSink, store: TraceStore) -> None:
        """With what is known of it, and when it was last seen."""
        sink.write([note(1)], process=process_info(host="box"))
        (process,) = store.processes()
        assert (process.process_id, process.host, process.ended_ms) == (PROCESS_ID, "box", None)
        sink.touch(process_info(), ProcessCounters({"full": 3}, {}))
        (later,) = store.processes()
        assert later.last_seen_ms >= process.last_seen_ms
        assert (later.dropped, later.failed) == ({"full": 3}, {})

    def test_ends_once(self, sink: EventSink, store: TraceStore) -> None:
        """The first word about its end stands."""
        sink.write([], process=process_info(), finish=Finish(PROCESS_ID, START_NS, exit="ok"))
        sink.write([], process=process_info(), finish=Finish(PROCESS_ID, START_NS * 2, exit="died"))
        (process,) = store.processes()
        assert (process.exit, process.ended_ms) == ("ok", START_NS // 1_000_000)


class TestFinish:
    """Closing what a process left open."""

    def build(self) -> Scene:
        """Give a root agent with an open call, in it an open agent with an open model call."""
        scene = Scene()
        root = scene.agent()
        scene.end(scene.call(root, "done"))
        outer = scene.call(root, "outer", call_id="call-1", attempt=2, retry_of="0" * 16)
        child = scene.agent("child", outer)
        scene.add(
            "model_call",
            scene.call(child, "inner"),
            {"input": "?"},
            span_id="feedc0de00000001",
            turn=4,
            model="m1",
        )
        return scene

    def test_is_innermost_first(self, sink: EventSink, store: TraceStore) -> None:
        """Every open start gets an end with the start's columns and ``status=interrupted``."""
        scene = self.build()
        scene.store(sink)
        at_ns = scene.now_ns + 5_000_000
        written = sink.write([], finish=Finish(PROCESS_ID, at_ns, exit="died"))
        assert (written.events, written.closed) == (0, 5)
        ends = [event for event in store.events("c1") if event.status == "interrupted"]
        assert [
            (end.kind, end.agent_name, end.tool_name) for end in sorted(ends, key=lambda end: end.id)
        ] == [
            ("model_turn", "child", "inner"),
            ("tool_result", "child", "inner"),
            ("agent_end", "child", None),
            ("tool_result", "lead", "outer"),
            ("agent_end", "lead", None),
        ]
        outer = next(end for end in ends if end.tool_name == "outer")
        assert (outer.call_id, outer.attempt, outer.retry_of) == ("call-1", 2, "0" * 16)
        assert (outer.ts_ns, outer.duration_ms) == (at_ns, 8.0)
        turn = next(end for end in ends if end.kind == "model_turn")
        assert (turn.turn, turn.model, turn.payload) == (4, "m1", {"output": None})
        assert store.open_operations() == []
        assert verify_rollups(sink.database) == []

    def test_writes_the_same_ids_whoever_does_it(self, sink: EventSink, store: TraceStore) -> None:
        """The id of a closing row is the process, ``-i`` and the start's frame."""
        self.build().store(sink)
        sink.write([], finish=Finish(PROCESS_ID))
        assert {event.event_id for event in store.events("c1") if event.status == "interrupted"} == {
            f"{PROCESS_ID}-i{frame}" for frame in ("1", "4", "5", "6", "7")
        }

    def test_takes_the_last_known_time(self, sink: EventSink, store: TraceStore) -> None:
        """Without a time, that of the process's last event; no end is before its start."""
        scene = self.build()
        scene.store(sink)
        sink.database.execute("DELETE FROM processes")
        sink.write([], finish=Finish(PROCESS_ID))
        times = {event.ts_ns for event in store.events("c1") if event.status == "interrupted"}
        assert times == {scene.now_ns}

    def test_twice_closes_nothing_more(self, sink: EventSink) -> None:
        """Whoever comes second finds nothing open."""
        self.build().store(sink)
        assert sink.write([], finish=Finish(PROCESS_ID)).closed == 5
        assert sink.write([], finish=Finish(PROCESS_ID)).closed == 0

    def test_leaves_other_processes_alone(self, sink: EventSink, store: TraceStore) -> None:
        """Only what the process itself has started is closed."""
        other = Scene("c2", "f" * 16)
        other.agent()
        other.store(sink)
        self.build().store(sink)
        sink.write([], finish=Finish(PROCESS_ID))
        assert [row.process_id for row in store.open_operations()] == ["f" * 16]

    def test_comes_after_the_last_batch(self, sink: EventSink, store: TraceStore) -> None:
        """What the last batch itself closes is not closed again; the ring closes with it."""
        scene = Scene()
        root = scene.agent()
        scene.store(sink)
        scene.end(root)
        ring = RingPosition("r1", PROCESS_ID, 0, 10)
        written = sink.write(scene.records, ring, finish=Finish(PROCESS_ID, exit="ok"))
        assert (written.events, written.closed) == (1, 0)
        assert sink.database.execute("SELECT closed_ms IS NOT NULL FROM rings").fetchone() == (1,)

    def test_may_leave_operations_open(self, sink: EventSink, store: TraceStore) -> None:
        """``close_open=False`` ends the process only."""
        self.build().store(sink)
        assert sink.write([], finish=Finish(PROCESS_ID, close_open=False)).closed == 0
        assert len(store.open_operations()) == 5


class TestOpenOperation:
    """``open_operations``."""

    def test_is_what_has_no_end(self, sink: EventSink, store: TraceStore) -> None:
        """Within a batch or over batches; a start that comes after its end opens nothing."""
        scene = Scene()
        root = scene.agent()
        call = scene.call(root, "slow", call_id="x")
        scene.end(scene.call(root, "quick"))
        scene.store(sink)
        assert [(row.kind, row.name) for row in store.open_operations()] == [
            ("agent_start", "lead"),
            ("tool_call", "slow"),
        ]
        scene.end(call)
        scene.store(sink)
        assert [row.name for row in store.open_operations(conversation_id="c1")] == ["lead"]
        late = scene.call(root, "swapped")
        scene.end(late)
        start, end = scene.records
        sink.write([end])
        sink.write([start])
        assert [row.name for row in store.open_operations()] == ["lead"]

    def test_knows_its_process(self, sink: EventSink, store: TraceStore) -> None:
        """Host, pid and when it was last seen, so that one can see whether it lives."""
        scene = Scene()
        scene.agent()
        scene.store(sink)
        (row,) = store.open_operations(process_id=PROCESS_ID)
        assert (row.process_id, row.host, row.pid, row.process_ended_ms) == (PROCESS_ID, "here", 42, None)
        assert row.started_at == "2023-11-14 22:13:20.001"


class TestSink:
    """The file under a sink."""

    def test_goes_on_in_a_new_file_when_its_own_was_deleted(self, path: str) -> None:
        """What was stored is told as lost with the file; the ring goes on from where it was."""
        sink = EventSink(path)
        sink.write([note(1), note(2)], RingPosition("r1", PROCESS_ID, 0, 100))
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        written = sink.write([note(3)], RingPosition("r1", PROCESS_ID, 100, 150))
        assert (written.events, written.lost_with_file) == (1, 2)
        assert sink.position("r1") == 150
        assert [event.payload["text"] for event in TraceStore(path).events("c1")] == ["3"]
        assert sink.write([note(4)]).lost_with_file == 0
        sink.close()

    def test_goes_on_when_only_the_main_file_was_deleted(self, path: str) -> None:
        """The journal left beside it is not played into the new file."""
        sink = EventSink(path)
        sink.write([note(1)])
        os.unlink(path)
        assert sink.write([note(2)]).lost_with_file == 1
        sink.close()
        with TraceStore(path) as store:
            assert [event.payload["text"] for event in store.events("c1")] == ["2"]
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_goes_on_in_a_copy_that_was_put_back(self, path: str) -> None:
        """A restored older copy has an older ring position, and takes the next batch all the same."""
        with EventSink(path) as sink:
            sink.write([note(1)], RingPosition("r1", PROCESS_ID, 0, 100))
        copy = Path(path + ".copy")
        copy.write_bytes(Path(path).read_bytes())
        sink.write([note(2)], RingPosition("r1", PROCESS_ID, 100, 200))
        for suffix in ("-wal", "-shm"):
            Path(path + suffix).unlink()
        os.replace(copy, path)
        written = sink.write([note(3)], RingPosition("r1", PROCESS_ID, 200, 300))
        assert written.lost_with_file == 1
        assert sink.position("r1") == 300
        with pytest.raises(RingTaken):
            sink.write([note(4)], RingPosition("r1", PROCESS_ID, 200, 300))
        sink.close()
        with TraceStore(path) as store:
            assert [event.payload["text"] for event in store.events("c1")] == ["1", "3"]

    def test_spares_what_was_put_in_the_place_of_its_file(self, path: str) -> None:
        """The log of the old database is not played over the new one: that stays as it was put there."""
        other = Path(path).with_name("other.db")
        with EventSink(other) as made:
            made.write([note(7)])
            made.database.execute("CREATE TABLE theirs (x)")
            made.database.execute("INSERT INTO theirs VALUES ('kept')")
        sink = EventSink(path)
        sink.write([note(number) for number in range(300)], RingPosition("r1", PROCESS_ID, 0, 100))
        assert Path(path + "-wal").stat().st_size > 0
        os.replace(other, path)
        written = sink.write([note(8)], RingPosition("r1", PROCESS_ID, 100, 200))
        assert (written.events, written.lost_with_file) == (1, 300)
        sink.close()
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT x FROM theirs").fetchall() == [("kept",)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        with TraceStore(path) as store:
            assert [event.payload["text"] for event in store.events("c1")] == ["7", "8"]

    def test_leaves_a_log_that_came_with_the_new_file(self, path: str) -> None:
        """A database that somebody else has opened in its place keeps the log that it has by then."""
        sink, other = EventSink(path), EventSink(path)
        sink.write([note(1)])
        for suffix in ("", "-wal", "-shm"):
            os.unlink(path + suffix)
        other.write([note(2)])
        assert sink.write([note(3)]).lost_with_file == 1
        other.write([note(4)])
        sink.close()
        other.close()
        with TraceStore(path) as store:
            assert [event.payload["text"] for event in store.events("c1")] == ["2", "3", "4"]
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_counts_as_lost_only_what_the_new_file_lacks(self, path: str) -> None:
        """In a copy that was put back, what the copy holds is not lost; nor is what came of other rings."""
        with EventSink(path) as sink:
            sink.write([note(1), note(2)], RingPosition("r1", PROCESS_ID, 0, 100))
            copy = Path(path + ".copy")
            source, target = sqlite3.connect(path), sqlite3.connect(copy)
            source.backup(target)
            source.close()
            target.close()
            sink.write([note(3), note(4), note(5)], RingPosition("r1", PROCESS_ID, 100, 200))
            sink.write([note(6)], RingPosition("r2", "f" * 16, 0, 100))
            os.replace(copy, path)
            written = sink.write([note(7)], RingPosition("r1", PROCESS_ID, 200, 300))
            assert written.lost_with_file == 3
            written = sink.write([note(8)], RingPosition("r2", "f" * 16, 100, 200))
            assert written.lost_with_file == 1
        with TraceStore(path) as store:
            assert [event.payload["text"] for event in store.events("c1")] == ["1", "2", "7", "8"]

    def test_counts_what_a_second_copy_lacks(self, path: str) -> None:
        """What a copy held when it was put back goes with it when that is replaced, too."""
        copies = [Path(f"{path}.{number}") for number in range(2)]
        with EventSink(path) as sink:
            sink.write([note(1), note(2)], RingPosition("r1", PROCESS_ID, 0, 100))
            for copy in copies:
                source, target = sqlite3.connect(path), sqlite3.connect(copy)
                source.backup(target)
                source.close()
                target.close()
            os.replace(copies[0], path)
            sink.write([note(3)], RingPosition("r1", PROCESS_ID, 100, 200))
            os.replace(copies[1], path)
            assert sink.write([note(4)], RingPosition("r1", PROCESS_ID, 200, 300)).lost_with_file == 1
            os.unlink(path)
            assert sink.write([note(5)], RingPosition("r1", PROCESS_ID, 300, 400)).lost_with_file == 3

    def test_notices_a_deletion_while_it_was_closed(self, path: str) -> None:
        """A sink is closed around each fork: what was stored before is told as lost all the same."""
        sink = EventSink(path)
        sink.write([note(1)], RingPosition("r1", PROCESS_ID, 0, 100))
        sink.close()
        os.unlink(path)
        written = sink.write([note(2)], RingPosition("r1", PROCESS_ID, 100, 200))
        assert (written.events, written.lost_with_file) == (1, 1)
        sink.close()

    def test_tells_of_lost_events_whose_ring_is_done(self, path: str) -> None:
        """Events of a dead process that it had recovered, and that nobody goes on with, are counted."""
        sink = EventSink(path)
        sink.write([note(1)], RingPosition("r2", "f" * 16, 0, 100), finish=Finish("f" * 16, exit="died"))
        os.unlink(path)
        sink.write([note(2)], RingPosition("r1", PROCESS_ID, 0, 100))
        assert errors.LOSSES == {"store.gone_with_database": 1}
        sink.close()

    def test_says_that_another_writes(self, path: str) -> None:
        """StoreBusy within the time-out; nothing is written, and the next try succeeds."""
        sink = EventSink(path, busy_timeout_ms=10)
        sink.open()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="try again"):
            sink.write([note(1)], RingPosition("r1", PROCESS_ID, 0, 100))
        other.execute("ROLLBACK")
        other.close()
        assert sink.write([note(1)], RingPosition("r1", PROCESS_ID, 0, 100)).events == 1
        sink.close()

    def test_stops_at_a_newer_schema(self, path: str) -> None:
        """A database that was migrated further under an open sink is not written to."""
        sink = EventSink(path)
        sink.write([note(1)])
        other = sqlite3.connect(path)
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        other.close()
        with pytest.raises(SchemaTooNew, match="upgrade agenttrace"):
            sink.write([note(2)])
        sink.close()

    def test_migrates_up_again_what_was_migrated_down(self, path: str) -> None:
        """``agenttrace migrate down`` beside a writer costs no event."""
        from agenttrace.store import migrate, open_database

        sink = EventSink(path)
        sink.write([note(1)])
        other = open_database(path)
        migrate.down(other)
        other.close()
        assert sink.write([note(2)]).events == 1
        sink.close()
        with TraceStore(path) as store:
            assert len(store.events("c1")) == 2

    def test_is_private(self, path: str) -> None:
        """Nobody else can read the database, its journal or its lock."""
        with EventSink(path) as sink:
            sink.write([note(1)])
            for name in os.listdir(os.path.dirname(path)):
                assert os.stat(os.path.join(os.path.dirname(path), name)).st_mode & 0o777 == 0o600, name

    def test_shares_memory_with_a_store(self) -> None:
        """A store on a sink in memory reads what the sink writes, and another sink's memory is another."""
        sink, other = EventSink(":memory:"), EventSink(":memory:")
        sink.write([note(1)])
        assert len(TraceStore(sink).events("c1")) == 1
        assert TraceStore(other).events("c1") == []

    def test_writes_an_empty_batch(self, sink: EventSink) -> None:
        """No records, no rows, no error."""
        assert sink.write([]) == (0, {}, 0, 0)

    def test_keeps_payloads_as_they_are(self, sink: EventSink, store: TraceStore) -> None:
        """The text of a payload is stored byte for byte, NUL and astral characters included."""
        body = json.dumps({"text": "a\x00b 😀 \u2028"}, ensure_ascii=False).encode()
        sink.write([build_record("note", START_NS, body, "p-1", conversation_id="c1", agent_id="a1")])
        (event,) = store.events("c1")
        assert event.payload_json.encode() == body
        assert event.payload == {"text": "a\x00b 😀 \u2028"}


class TestOutOfOrder:
    """A child process may store its events before the ones of the code that started it."""

    def test_agent_is_not_resumed(self, store: TraceStore) -> None:
        """An agent whose start comes after a call of its own has one run, which began with the start."""
        common = {"conversation_id": "c", "agent_id": "lead"}
        store.record("tool_call", span_id="s", ts_ms=2_000, event_id="b-1", **common)
        store.record("agent_start", span_id="r", ts_ms=1_000, event_id="a-1", **common)
        start = store.events("c", kinds=["agent_start"])[0]
        assert "resumed" not in start.payload
        found = store.conversation("c")
        assert found is not None and (found.ts_ms, found.process_id) == (1_000, "a")
        store.record("agent_start", span_id="r2", ts_ms=3_000, event_id="a-2", **common)
        assert store.events("c", kinds=["agent_start"])[1].payload["resumed"] is True
        assert store.verify() == []

    @pytest.mark.parametrize("is_described", [False, True])
    def test_conversation_begins_with_its_earliest(self, is_described: bool, store: TraceStore) -> None:
        """Also where the child has agents of its own only, and where it was described."""
        store.record("agent_start", conversation_id="c", agent_id="child", ts_ms=2_000, event_id="b-1")
        store.record("agent_start", conversation_id="c", agent_id="lead", ts_ms=1_000, event_id="a-1")
        if is_described:
            store.describe("c", task="audit")
        found = store.conversation("c")
        assert found is not None and (found.ts_ms, found.process_id) == (1_000, "a")
