"""Who was told of which failure: what the batches write down, in any order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agenttrace.encode.truncate import cut_payload
from agenttrace.store import migrate
from agenttrace.store.batch import EventSink
from agenttrace.store.event_store import TraceStore
from agenttrace.store.reports import rebuild_reports
from agenttrace.write.pipeline import hash_blob
from tests.store.scenes import Scene
from tests.store.test_fates import CASES

TEXT = "no such file: a.txt"


def reports_of(sink: EventSink) -> list[tuple[Any, ...]]:
    """Read every report."""
    return sink.database.execute("SELECT * FROM failure_reports ORDER BY 1, 2").fetchall()


def told_ids(sink: EventSink) -> set[str]:
    """Give the failures that somebody was told of."""
    return {row[1] for row in reports_of(sink)}


class TestReport:
    """``failure_reports``."""

    def test_names_who_was_told_and_by_which_event(self, sink: EventSink) -> None:
        """A report has the agent, the kind and the id of the first event that tells."""
        scene = Scene()
        root = scene.agent()
        error = scene.fail(root)
        scene.model(root, TEXT)
        scene.model(root, [TEXT, "again"])
        scene.end(root)
        call = next(record for record in scene.records if record.header[0] == "model_call")
        scene.store(sink)
        assert reports_of(sink) == [
            ("c1", error, "lead-1", "model_call", call.event_id, call.header[1] // 1_000_000)
        ]

    @pytest.mark.parametrize("seed", range(8))
    def test_is_found_however_the_events_come(self, seed: int, sink: EventSink) -> None:
        """Split into batches and shuffled, as when several processes write, the same reports are found."""
        print(f"seed {seed}")
        rng = random.Random(seed)
        scene = Scene()
        root = scene.agent()
        told = scene.fail(root)
        child = scene.agent("child", root)
        up = scene.fail(child, message="the disk /dev/sdb is full")
        scene.end(child, output="I stopped")
        scene.model(root, [{"role": "tool", "content": f"OSError: {TEXT}"}])
        answered = scene.fail(root, message="the mail server did not answer")
        scene.model(
            root,
            [{"role": "tool", "content": f"OSError: {TEXT}"}, {"role": "user", "content": "sdb is full"}],
        )
        scene.model(root, ["OSError: the disk /dev/sdb is full"])
        silent = scene.fail(root, message="nobody hears of this failure")
        scene.end(root, output="The mail server did not answer.")
        records = scene.records
        rng.shuffle(records)
        while records:
            size = rng.randint(1, 6)
            scene.records, records = records[:size], records[size:]
            scene.store(sink)
        assert told_ids(sink) == {told, up, answered}
        assert silent not in told_ids(sink)

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_is_found_again_from_the_events(self, case: Any, sink: EventSink) -> None:
        """Worked out anew from what is stored, the reports are the same."""
        scene = Scene()
        case(scene)
        scene.store(sink)
        before = told_ids(sink)
        with sink.database.writing() as database:
            rebuild_reports(database.connection)
        assert told_ids(sink) == before

    def test_is_made_for_a_database_of_an_older_schema(self, path: str) -> None:
        """The migration looks at what is stored already."""
        with EventSink(path) as sink:
            scene = Scene()
            root = scene.agent()
            error = scene.fail(root)
            scene.model(root, TEXT)
            scene.end(root)
            scene.store(sink)
            migrate.down(sink.database)
            assert sink.database.execute("SELECT fate FROM failures").fetchall() == [("reported",)]
            migrate.up(sink.database)
            assert told_ids(sink) == {error}
            assert sink.database.execute("SELECT fate FROM failures").fetchall() == [("reported",)]

    def test_goes_with_its_conversation(self, sink: EventSink, store: TraceStore) -> None:
        """Deleting a conversation deletes what was told in it."""
        scene = Scene()
        root = scene.agent()
        scene.fail(root)
        scene.model(root, TEXT)
        scene.store(sink)
        assert len(reports_of(sink)) == 1
        store.delete("c1")
        assert reports_of(sink) == []


class TestHistory:
    """A model's input that repeats what was said before."""

    def test_does_not_tell_of_what_failed_later(self, sink: EventSink) -> None:
        """Only messages that are new since the failure tell of it."""
        history = [{"role": "user", "content": f"what does '{TEXT}' mean?"}]
        scene = Scene()
        root = scene.agent()
        scene.model(root, history)
        scene.fail(root)
        scene.model(root, [*history, {"role": "user", "content": "go on"}])
        scene.model(
            root, [*history, {"role": "user", "content": "go on"}, {"role": "user", "content": "and on"}]
        )
        scene.end(root)
        scene.store(sink)
        assert told_ids(sink) == set()

    def test_tells_of_the_second_failure_with_the_same_text(self, sink: EventSink) -> None:
        """Two failures alike, each told in its turn, are both reported."""
        tool = {"role": "tool", "content": f"Error: {TEXT}"}
        scene = Scene()
        root = scene.agent()
        first = scene.fail(root)
        scene.model(root, [{"role": "user", "content": "go"}, tool])
        second = scene.fail(root)
        scene.model(root, [{"role": "user", "content": "go"}, tool, tool])
        scene.end(root)
        scene.store(sink)
        assert told_ids(sink) == {first, second}

    def test_that_was_trimmed_tells_as_well(self, sink: EventSink) -> None:
        """An agent that drops old messages still tells by the new ones."""
        tool = {"role": "tool", "content": f"Error: {TEXT}"}
        scene = Scene()
        root = scene.agent()
        scene.model(root, [{"role": "user", "content": "one"}, tool, {"role": "user", "content": "two"}])
        error = scene.fail(root)
        scene.model(root, [{"role": "user", "content": "a summary"}, tool])
        scene.end(root)
        scene.store(sink)
        assert told_ids(sink) == {error}

    @pytest.mark.parametrize("shape", ["messages", "input", "contents"])
    def test_may_lie_in_an_object(self, shape: str, sink: EventSink) -> None:
        """``{"system": …, "messages": […]}`` is read as its messages."""
        scene = Scene()
        root = scene.agent()
        scene.model(root, {"system": TEXT, shape: ["go"]})
        scene.fail(root)
        scene.model(root, {"system": TEXT, shape: ["go", "on"]})
        error = scene.fail(root, message="the other file is not there either")
        scene.model(root, {shape: ["go", "on", "Error: the other file is not there either"]})
        scene.end(root)
        scene.store(sink)
        assert told_ids(sink) == {error}

    def test_may_say_it_in_its_instructions(self, sink: EventSink) -> None:
        """Instructions that change tell; those that were there before, or come first, do not."""
        steady = {"role": "system", "content": f"When you see '{TEXT}', look elsewhere."}
        scene = Scene()
        root, other, third = scene.agent(), scene.agent("other"), scene.agent("third")
        silent = scene.fail(other)
        scene.model(other, [steady, {"role": "user", "content": "go"}])
        scene.model(root, [steady, {"role": "user", "content": "go"}])
        again = scene.fail(root)
        scene.model(root, [steady, {"role": "user", "content": "on"}])
        told = scene.fail(root, message="the other file is not there either")
        changed = {"role": "developer", "content": "Note: the other file is not there either."}
        scene.model(root, [changed, {"role": "user", "content": "on"}])
        scene.model(third, {"system": "be good", "messages": ["go"]})
        beside = scene.fail(third, message="no third file of that name")
        scene.model(third, {"system": "be good; no third file of that name", "messages": ["go"]})
        scene.store(sink)
        assert told_ids(sink) == {told, beside}
        assert not {silent, again} & told_ids(sink)

    def test_that_was_cut_is_read_whole(self, sink: EventSink) -> None:
        """Both the input before and the one after a failure may be too long for their rows."""
        history = [{"role": "user", "content": f"{'x' * 9000} {TEXT}"}]
        scene = Scene()
        root = scene.agent()

        def ask(messages: list[Any]) -> None:
            long = Scene()
            long.model(root, messages)
            body = long.records[0].payload
            digest = hash_blob(body)
            scene.add("model_call", root, cut_payload(body, 4096, digest), blob=(digest, body))

        ask(history)
        scene.fail(root)
        error = scene.fail(root, message="the other file is not there either")
        ask(
            [*history, {"role": "tool", "content": f"{'y' * 9000} Error: the other file is not there either"}]
        )
        scene.end(root)
        scene.store(sink)
        assert told_ids(sink) == {error}


class TestHostile:
    """Payloads that nobody sane would send."""

    @pytest.mark.parametrize(
        "payload",
        [
            b"[]",
            b"1",
            b'"x"',
            b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}",
            b'{"input":{"messages":7}}',
            b'[{"$agenttrace":"cut"}, "no such file: a.txt"]',
            b'"no such file: a.txt"',
            b"{no json",
        ],
    )
    def test_cost_only_what_they_tell(self, payload: bytes, sink: EventSink) -> None:
        """The batch is stored, and other inputs are still read."""
        scene = Scene()
        root = scene.agent()
        error = scene.fail(root)
        scene.add("model_call", root, payload.replace(b"{no json", b"{no such file: a.txt"))
        scene.model(root, TEXT)
        scene.end(root)
        scene.store(sink)
        assert error in told_ids(sink)

    def test_many_failures_are_looked_for_in_bounded_time(self, sink: EventSink) -> None:
        """A storm of failures that nobody is told of does not slow every batch after it."""
        scene = Scene()
        root = scene.agent()
        for number in range(2000):
            scene.fail(root, message=f"no route to host number {number} of the farm")
        scene.store(sink)
        seen: list[str] = []
        sink.database.connection.set_trace_callback(seen.append)
        scene.model(root, "go on")
        last = scene.fail(root)
        scene.model(root, f"Error: {TEXT}")
        scene.store(sink)
        sink.database.connection.set_trace_callback(None)
        assert told_ids(sink) == {last}
        assert len(seen) < 40
