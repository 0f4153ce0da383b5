"""Making a database smaller: what goes, what stays, and that nobody is disturbed."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import threading
from pathlib import Path

import pytest

from agenttrace import TraceStore
from agenttrace.errors import ConfigError
from agenttrace.store import EventSink
from agenttrace.store.collect import collect_blobs, used_bytes
from agenttrace.store.plan import Record
from agenttrace.store.prune import prune
from tests.store.scenes import Scene

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000


def fill(store: TraceStore, name: str, age_days: float, events: int = 3, status: str = "ok") -> None:
    """Store a finished conversation whose events are *age_days* old."""
    ts_ns = int((NOW_MS - age_days * DAY_MS) * 1_000_000)
    rows = [{"kind": "agent_start", "span_id": f"{name}-root"}]
    rows += [
        {"kind": "note", "payload": {"text": f"{name} {number} " + "x" * 400}} for number in range(events - 2)
    ]
    rows.append({"kind": "agent_end", "span_id": f"{name}-root", "status": status})
    store.record_many(
        {"conversation_id": name, "agent_id": "lead", "ts_ns": ts_ns + at, **row}
        for at, row in enumerate(rows)
    )


def names(store: TraceStore) -> set[str]:
    return {row.id for row in store.conversations(limit=1000).items}


class TestPrune:
    """S1.12: whole conversations, the oldest first."""

    def run(self, store: TraceStore, **options: object) -> object:
        return prune(store._sink.database, NOW_MS, **options)  # type: ignore[arg-type]

    def test_age(self, path: str) -> None:
        """What is older goes whole, what is not stays whole; counts agree with the events."""
        with TraceStore(path) as store:
            for age in (40, 31, 29, 1):
                fill(store, f"c{age}", age)
            pruned = self.run(store, older_than_ms=30 * DAY_MS)
            assert (pruned.conversations, pruned.events) == (2, 6)  # type: ignore[attr-defined]
            assert names(store) == {"c29", "c1"}
            assert store.verify() == []

    def test_size(self, path: str) -> None:
        """The oldest go until the database fits, and the file itself becomes smaller."""
        with TraceStore(path) as store:
            for age in range(20, 0, -1):
                fill(store, f"c{age:02}", age, events=400)
            store._sink.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it into the file itself
            before = Path(path).stat().st_size
            pruned = self.run(store, max_size_bytes=before // 2)
            assert pruned.size_bytes <= before // 2  # type: ignore[attr-defined]
            left = names(store)
            assert left == {f"c{age:02}" for age in range(1, len(left) + 1)} and left
            assert Path(path).stat().st_size <= before // 2 + 65_536
            assert pruned.freed_bytes > before // 3  # type: ignore[attr-defined]

    def test_running(self, path: str) -> None:
        """A running conversation stays, however old it is."""
        with TraceStore(path) as store:
            scene = Scene()
            scene.agent()
            scene.store(store._sink)
            assert self.run(store, older_than_ms=0, max_size_bytes=0).conversations == 0  # type: ignore[attr-defined]
            assert len(names(store)) == 1

    def test_keep_failed(self, path: str) -> None:
        """A failed conversation and one with a swallowed failure stay; others of their age go."""
        with TraceStore(path) as store:
            fill(store, "fine", 40)
            fill(store, "failed", 40, status="error")
            fill(store, "hides", 40)
            store.record(
                "error",
                {"error": {"type": "ValueError", "message": "lost"}, "handled": True},
                conversation_id="hides",
                agent_id="lead",
                span_id="hides-root",
                error_id="e1",
                error_type="ValueError",
                ts_ms=NOW_MS - 40 * DAY_MS,
            )
            self.run(store, older_than_ms=DAY_MS, keep_failed=True)
            assert names(store) == {"failed", "hides"}
            self.run(store, older_than_ms=DAY_MS)
            assert names(store) == set()

    def test_dry_run(self, path: str) -> None:
        """Nothing changes, and by age exactly what it says would go goes."""
        with TraceStore(path) as store:
            for age in (50, 40, 20):
                fill(store, f"c{age}", age, events=50)
            said = self.run(store, older_than_ms=30 * DAY_MS, dry_run=True)
            assert names(store) == {"c50", "c40", "c20"}
            done = self.run(store, older_than_ms=30 * DAY_MS)
            assert said[:2] == done[:2] == (2, 100)  # type: ignore[index]
            assert said.freed_bytes > 0  # type: ignore[attr-defined]

    def test_interrupted(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A prune that died half-way is finished by the next; the other conversations are untouched."""
        with TraceStore(path) as store:
            fill(store, "old", 40, events=5_000)
            fill(store, "new", 1, events=10)
            steps = [0]

            def die(*_: object) -> int:
                steps[0] += 1
                if steps[0] == 2:
                    raise KeyboardInterrupt
                return real(*_)  # type: ignore[arg-type]

            from agenttrace.store import prune as module

            real = module._delete_some
            monkeypatch.setattr(module, "_delete_some", die)
            with pytest.raises(KeyboardInterrupt):
                self.run(store, older_than_ms=30 * DAY_MS)
            monkeypatch.undo()
            assert names(store) == {"old", "new"}
            assert self.run(store, older_than_ms=30 * DAY_MS).conversations == 1  # type: ignore[attr-defined]
            assert names(store) == {"new"} and store.verify() == []

    def test_beside_a_writer(self, path: str) -> None:
        """A writer beside it loses nothing, and its conversation stays."""
        with TraceStore(path) as store, TraceStore(path) as other:
            for age in range(30, 0, -1):
                fill(store, f"old{age}", age, events=300)
            scene = Scene()
            scene.agent()
            scene.store(other._sink)
            running = next(iter(names(other) - {f"old{age}" for age in range(31)}))
            written: list[int] = []

            def write() -> None:
                for _ in range(200):
                    written.append(
                        other.record_many([{"kind": "note", "conversation_id": running, "agent_id": "more"}])
                    )

            thread = threading.Thread(target=write)
            thread.start()
            self.run(store, older_than_ms=0)
            thread.join()
            assert sum(written) == 200
            assert names(store) == {running}
            assert len(store.events(running, "more")) == 200

    @pytest.mark.parametrize(
        "options", [{}, {"older_than_days": -1}, {"max_size_bytes": -1}, {"max_size_bytes": True}]
    )
    def test_refuses(self, options: dict[str, object], path: str) -> None:
        """A limit that is none is named."""
        with TraceStore(path) as store:
            fill(store, "c", 1)
            with pytest.raises(ConfigError):
                store.prune(**options)  # type: ignore[arg-type]


class TestBlobs:
    """Collected when nothing names them any more."""

    @staticmethod
    def blob(text: str) -> tuple[str, bytes]:
        body = json.dumps({"text": text}).encode()
        return hashlib.sha256(body).hexdigest(), body

    def put(
        self, sink: EventSink, conversation: str, blob: tuple[str, bytes], named: str | None = None
    ) -> None:
        payload = json.dumps({"$agenttrace": "cut", "sha256": named or blob[0]}).encode()
        header = ["note", NOW_MS * 1_000_000, conversation, "a", "a", *([None] * 10)]
        sink.write([Record(header, payload, f"{conversation}-{blob[0][:8]}", blob)])

    def kept(self, path: str) -> set[str]:
        with sqlite3.connect(path) as connection:
            return {row[0] for row in connection.execute("SELECT sha256 FROM payload_blobs")}

    def test_random_references(self, path: str) -> None:
        """Exactly the blobs stay that an event names, itself or through other blobs."""
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        draw = random.Random(seed)
        sink = EventSink(path)
        expected: set[str] = set()
        for number in range(60):
            chain = [self.blob(f"{number} leaf")]
            for depth in range(draw.randrange(4)):
                body = json.dumps(
                    {"input": [{"$agenttrace": "ref", "sha256": chain[-1][0], "items": depth}]}
                ).encode()
                chain.append((hashlib.sha256(body).hexdigest(), body))
            conversation = draw.choice(["stays", "goes"])
            for blob in chain:
                self.put(sink, conversation, blob, named=chain[-1][0])
            if conversation == "stays":
                expected |= {name for name, _ in chain}
        with TraceStore(sink) as store:
            store.delete("goes")
            deleted = collect_blobs(sink.database, now_ms=2**62)
        sink.close()
        assert deleted > 0 and self.kept(path) == expected

    def test_young(self, path: str) -> None:
        """A blob younger than a minute may belong to an event on its way: it stays."""
        sink = EventSink(path)
        self.put(sink, "c", self.blob("young"))
        TraceStore(sink).delete("c")
        created_ms = sink.database.execute("SELECT created_ms FROM payload_blobs").fetchone()[0]
        assert collect_blobs(sink.database, created_ms + 1_000) == 0
        assert collect_blobs(sink.database, created_ms + 61_000) == 1
        sink.close()

    def test_named_meanwhile(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that an event begins to name between the look and the deletion stays."""
        sink, beside = EventSink(path), EventSink(path)
        blob = self.blob("shared")
        self.put(sink, "first", blob)
        TraceStore(sink).delete("first")
        database = sink.database
        real, looked = type(database).writing, [0]

        def writing(self_: object) -> object:
            if not looked[0]:
                looked[0] = 1
                self.put(beside, "second", blob)
            return real(self_)  # type: ignore[arg-type]

        monkeypatch.setattr(type(database), "writing", writing)
        assert collect_blobs(database, now_ms=2**62) == 0
        monkeypatch.undo()
        assert looked == [1] and self.kept(path) == {blob[0]}
        sink.close()
        beside.close()


class TestSpace:
    """What takes the room."""

    def test_adds_up(self, path: str) -> None:
        """The parts are those of the whole: events by kind, by conversation and by month agree."""
        with TraceStore(path) as store:
            fill(store, "small", 40, events=10)
            fill(store, "large", 1, events=200)
            space = store.space()
            assert sum(share.row_count for share in space.kinds) == 210
            assert [share.name for share in space.conversations] == ["large", "small"]
            assert sum(share.row_count for share in space.months) == 210 and len(space.months) == 2
            assert sum(share.size_bytes for share in space.kinds) == sum(
                share.size_bytes for share in space.conversations
            )
            assert space.tables[0].name == "trajectory_events"
            assert (
                used_bytes(store._sink.database) == space.used_bytes <= space.file_bytes + space.journal_bytes
            )
