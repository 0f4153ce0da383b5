"""``TraceStore``: recording by hand, reading back, forgetting."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace import clock
from agenttrace.errors import ConfigError, StoreError
from agenttrace.store import event_store
from agenttrace.store.aliases import ALIASES
from agenttrace.store.batch import EventSink
from agenttrace.store.event_store import TraceStore
from agenttrace.store.rollups import verify_rollups
from tests.store.scenes import START_NS, Scene

DAY_MS = 86_400_000

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.text("abcxyz-_ üß", min_size=1, max_size=8)
events = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(
            [
                "tool_call",
                "tool_result",
                "error",
                "note",
                "agent_start",
                "agent_end",
                "model_turn",
                "own.kind",
            ]
        ),
        "conversation_id": st.sampled_from(["c1", "c2"]),
        "agent_id": st.sampled_from(["a1", "a2"]),
        "payload": st.dictionaries(names, json_values, max_size=3),
        "ts_ns": st.integers(0, 2**62),
    },
    optional={
        "span_id": st.sampled_from(["s1", "s2", "s3"]),
        "status": st.sampled_from(["ok", "error", "cancelled"]),
        "tool_name": names,
        "retry_of": st.sampled_from(["s1", "s2"]),
        "input_tokens": st.integers(0, 10**6),
        "output_tokens": st.integers(0, 10**6),
        "cost_usd": st.floats(0, 100),
        "duration_ms": st.floats(0, 1e9),
        "turn": st.integers(1, 9),
        "error_id": st.sampled_from(["e1", "e2"]),
        "model": names,
    },
)


class TestRecord:
    """``TraceStore.record`` and ``record_many``."""

    def test_gives_the_row_back(self, store: TraceStore) -> None:
        """As it is stored, with what was not given filled in."""
        before_ms = clock.now_ms()
        event = store.record("note", {"text": "ü"}, conversation_id="c1", agent_id="a1", turn=2, model="m")
        assert (event.id, event.seq, event.kind, event.payload) == (1, 0, "note", {"text": "ü"})
        assert (event.turn, event.model, event.status) == (2, "m", None)
        assert before_ms <= event.ts_ms <= clock.now_ms()
        assert event.ts_ns is not None and event.ts_ns // 1_000_000 == event.ts_ms
        assert event.event_id
        assert store.event(event.id) == event
        assert store.event(99) is None

    def test_takes_no_unknown_column(self, store: TraceStore) -> None:
        """A misspelt column is an error that lists the columns."""
        with pytest.raises(StoreError, match=r"no column 'tool'; columns are conversation_id, agent_id"):
            store.record("note", conversation_id="c1", agent_id="a1", tool="x")

    def test_names_what_it_cannot_store(self, store: TraceStore) -> None:
        """What SQLite refuses is an error here: it was asked for."""
        with pytest.raises(StoreError, match="1 events were not stored"):
            store.record("note", conversation_id="c1", agent_id="a1", input_tokens=2**70)

    def test_prepares_payloads_with_the_hook(
        self, store: TraceStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``prepare_payload`` stands between what is handed in and the row: the redaction goes there."""
        monkeypatch.setattr(event_store, "prepare_payload", lambda payload: b'{"prepared":true}')
        assert store.record("note", {"key": "secret"}, conversation_id="c1", agent_id="a1").payload == {
            "prepared": True
        }

    def test_of_many_takes_rows_of_another_store(self, store: TraceStore) -> None:
        """Events copied from store to store keep all but their row id and seq."""
        other = TraceStore(":memory:")
        scene = Scene()
        root = scene.agent()
        scene.fail(root)
        scene.model(root, input_tokens=3, cost_usd=0.5)
        scene.store(store._sink)
        assert other.record_many(store.events("c1")) == 6
        copied = {event.event_id: event for event in other.events("c1")}
        for event in store.events("c1"):
            mine = copied[event.event_id]
            assert (mine.kind, mine.payload_json, mine.ts_ns, mine.span_id) == (
                event.kind,
                event.payload_json,
                event.ts_ns,
                event.span_id,
            )
        assert [event.ts_ns for event in other.events("c1")] == [event.ts_ns for event in store.events("c1")]

    def test_of_many_goes_through_batches(self, store: TraceStore) -> None:
        """More than one batch, from an iterator."""
        count = 2_500
        stored = store.record_many(
            {"kind": "note", "payload": {"n": n}, "conversation_id": "c1", "agent_id": "a1"}
            for n in range(count)
        )
        assert stored == count
        assert [event.payload["n"] for event in store.events("c1", "a1")] == list(range(count))

    @pytest.mark.slow
    @given(st.permutations(range(12)))
    @settings(max_examples=30, deadline=None)
    def test_out_of_order_is_read_in_order(self, order: list[int]) -> None:
        """Events inserted with their seq in any order come back by seq (S0.28)."""
        store = TraceStore(":memory:")
        for seq in order:
            store.record(
                "note", {"n": seq}, conversation_id="c1", agent_id="a1", seq=seq, ts_ns=START_NS + seq
            )
        assert [event.seq for event in store.list("c1", "a1")] == list(range(12))
        assert [event.payload["n"] for event in store.list_for_conversation("c1")] == list(range(12))
        assert store.next_seq_for("c1", "a1") == 12
        store.close()

    @pytest.mark.slow
    @given(st.lists(events, max_size=25))
    @settings(max_examples=60, deadline=None)
    def test_is_read_as_it_was_written(self, written: list[dict[str, Any]]) -> None:
        """read(write(events)) == events, per agent in order; and the rollups agree with the rows."""
        store = TraceStore(":memory:")
        store.record_many(written)
        for conversation, agent in itertools.product(("c1", "c2"), ("a1", "a2")):
            mine = [
                one for one in written if (one["conversation_id"], one["agent_id"]) == (conversation, agent)
            ]
            found = store.events(conversation, agent)
            assert [event.seq for event in found] == list(range(len(mine)))
            runs = 0
            for event, one in zip(found, mine, strict=True):
                payload = event.payload
                if event.kind == "agent_start":
                    if runs:
                        assert payload.pop("resumed") is True
                    runs += 1
                assert (
                    payload == {key: value for key, value in one["payload"].items() if key != "resumed"}
                    or one["payload"].get("resumed") is not None
                )
                for name in (
                    "kind",
                    "ts_ns",
                    "span_id",
                    "status",
                    "tool_name",
                    "input_tokens",
                    "cost_usd",
                    "turn",
                    "model",
                ):
                    assert getattr(event, name) == one.get(name), name
        assert store.verify() == []
        store.close()


class TestEvents:
    """Reading events."""

    def test_of_a_conversation_go_by_time_then_process_and_frame(self, store: TraceStore) -> None:
        """Whatever the order in which two processes' batches arrived."""
        one, two = Scene("c1", "1" * 16), Scene("c1", "2" * 16)
        for scene in (two, one):
            for number in range(20):
                scene.add("note", None, {"n": number}, ts_ns=START_NS + number // 2)
            scene.store(store._sink)
        found = [
            (event.ts_ns, (event.event_id or "")[:1], event.payload["n"]) for event in store.events("c1")
        ]
        assert found == sorted(found)
        assert len(found) == 40

    @pytest.mark.parametrize("limit", [1, 3, 7, 40, 100])
    @pytest.mark.parametrize("agent_id", [None, "main"])
    def test_come_in_pages(self, limit: int, agent_id: str | None, store: TraceStore) -> None:
        """The pages joined are the whole, whatever their size, with equal times on both sides of a cut."""
        one, two = Scene("c1", "1" * 16), Scene("c1", "2" * 16)
        for scene in (two, one):
            for number in range(20):
                scene.add("note", None, {"n": number}, ts_ns=START_NS + number // 4)
            scene.store(store._sink)
        pages, cursor = [], None
        while True:
            page = store.events_page("c1", agent_id, limit=limit, cursor=cursor)
            pages.append(page.items)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert list(itertools.chain(*pages)) == store.events("c1", agent_id)
        assert all(len(page) == limit for page in pages[:-1])

    def test_may_be_chosen_by_kind(self, store: TraceStore) -> None:
        """Only the kinds asked for, in the same order."""
        scene = Scene()
        scene.fail(scene.agent())
        scene.store(store._sink)
        assert [event.kind for event in store.events("c1", kinds=["error", "tool_call"])] == [
            "tool_call",
            "error",
        ]
        assert len(store.events("c1", limit=1)) == 1

    def test_of_nobody_are_none(self, store: TraceStore) -> None:
        """An unknown conversation or agent has no events (S0.16)."""
        assert store.events("nobody") == []
        assert store.events("nobody", "a1") == []
        assert store.events_page("nobody") == ((), None)

    def test_page_refuses_a_foreign_cursor(self, store: TraceStore) -> None:
        """A cursor that is none says so."""
        with pytest.raises(ConfigError, match="cursor='x'"):
            store.events_page("c1", cursor="x")


class TestConversations:
    """Lists of conversations."""

    def fill(self, store: TraceStore, count: int = 25) -> None:
        """Make conversations, two at each time."""
        for number in range(count):
            store.record(
                "note",
                conversation_id=f"c{number:02d}",
                agent_id="a",
                ts_ns=START_NS + number // 2 * 1_000_000,
            )

    @pytest.mark.parametrize("limit", [1, 4, 25, 50])
    def test_come_newest_first_in_pages(self, limit: int, store: TraceStore) -> None:
        """Every one once, over all pages; and the aliases count off the same ones (S1.10)."""
        self.fill(store)
        ids, cursor = [], None
        while True:
            page = store.conversations(limit, cursor)
            ids += [row.id for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert ids == [f"c{number:02d}" for number in reversed(range(25))]
        assert [row.id for row in store.get_sessions(limit=5, offset=3)] == ids[3:8]

    def test_may_be_chosen(self, store: TraceStore) -> None:
        """By the beginning of the id, the time, and how they stand."""
        self.fill(store)
        assert [row.id for row in store.conversations(id_prefix="c1", limit=3).items] == ["c19", "c18", "c17"]
        since = store.conversations(since_ms=START_NS // 1_000_000 + 11)
        assert [row.id for row in since.items] == ["c24", "c23", "c22"]
        assert store.conversations(status="failed").items == ()

    def test_are_none_at_first(self, store: TraceStore) -> None:
        """An empty store has an empty page."""
        assert store.conversations() == ((), None)
        assert store.conversation("c1") is None


class TestDelete:
    """Forgetting one conversation."""

    def test_takes_everything_of_it(self, store: TraceStore) -> None:
        """Events, rollups and open operations go; others stay."""
        for name in ("c1", "c2"):
            scene = Scene(name)
            scene.fail(scene.agent())
            scene.store(store._sink)
        assert store.delete("c1") is True
        assert store.delete("c1") is False
        assert store.events("c1") == [] and store.agents("c1") == []
        assert [row.conversation_id for row in store.open_operations()] == ["c2"]
        assert len(store.events("c2")) == 4
        assert store.verify() == []


class TestCleanup:
    """Forgetting what is old (S1.12)."""

    def fill(self, store: TraceStore, now_ms: int) -> list[tuple[str, int]]:
        """Store notes of many ages in finished conversations; gives them."""
        made = []
        for number, ages in enumerate(
            [(40, 35), (40, 10), (29, 1), (31,), (30.0001, 29.9999), (100, 99, 98, 0)]
        ):
            for age in ages:
                ts_ms = now_ms - int(age * DAY_MS)
                store.record("note", conversation_id=f"c{number}", agent_id="a", ts_ms=ts_ms)
                made.append((f"c{number}", ts_ms))
        return made

    @pytest.mark.parametrize("days", [0, 1, 9.5, 30, 36, 1000])
    def test_keeps_exactly_what_is_young_enough(
        self, days: float, store: TraceStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What stays is what a list comprehension keeps, and the number is that of the others."""
        now_ms = START_NS // 1_000_000
        monkeypatch.setattr(clock, "now_ns", lambda: START_NS)
        made = self.fill(store, now_ms)
        kept = [one for one in made if one[1] >= now_ms - days * DAY_MS]
        assert store.cleanup(days) == len(made) - len(kept)
        _, rows = store.query("SELECT conversation_id, ts_ms FROM trajectory_events ORDER BY id")
        assert rows == kept
        assert {row.id for row in store.conversations().items} == {name for name, _ in kept}
        assert store.verify() == []
        assert store.cleanup(days) == 0

    def test_follows_the_setting(self, store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """30 days at first (S1.8), and what was set later."""
        monkeypatch.setattr(clock, "now_ns", lambda: START_NS)
        self.fill(store, START_NS // 1_000_000)
        assert store.get_retention_days() == 30
        assert store.cleanup() == 8
        store.set_retention_days(5)
        assert store.settings["retention_days"] == "5"
        assert store.cleanup_old_traces() == 3

    def test_leaves_running_conversations_alone(
        self, store: TraceStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Old events of an agent at work stay; once it has ended they go."""
        scene = Scene()
        root = scene.agent()
        scene.store(store._sink)
        assert store.cleanup(0) == 0
        scene.end(root)
        scene.store(store._sink)
        assert store.cleanup(0) == 2
        assert store.conversation("c1") is None

    def test_keeps_young_conversations_without_events(self, store: TraceStore) -> None:
        """A conversation that never had an event stays until it is old itself."""
        store.describe("c1", task="later")
        assert store.cleanup(1) == 0
        assert store.conversation("c1") is not None
        assert store.cleanup(0) == 0

    def test_never_gives_a_number_twice(self, store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a part of an agent's events went, it counts on."""
        now_ms = clock.now_ms()
        for age in (40, 39, 1):
            store.record("note", conversation_id="c1", agent_id="a", ts_ms=now_ms - age * DAY_MS)
        assert store.cleanup(30) == 2
        assert store.record("note", conversation_id="c1", agent_id="a").seq == 3
        assert store.verify() == []

    @pytest.mark.parametrize("days", [-1, "soon", float("nan")])
    def test_refuses_what_is_no_number_of_days(self, days: Any, store: TraceStore) -> None:
        """The message names the setting, the value and what is allowed."""
        with pytest.raises(ConfigError, match=r"retention_days=.*: give a number of days, 0 or more"):
            store.cleanup(days)
        with pytest.raises(ConfigError):
            store.set_retention_days(days)


class TestSettings:
    """Settings of a database."""

    def test_are_a_mapping(self, store: TraceStore) -> None:
        """Text to text, kept in the database."""
        assert dict(store.settings) == {"retention_days": "30"}
        store.settings["colour"] = 7
        assert store.settings["colour"] == "7"
        assert list(store.settings) == ["colour", "retention_days"]
        del store.settings["colour"]
        assert len(store.settings) == 1
        for access in (lambda: store.settings["colour"], lambda: store.settings.__delitem__("colour")):
            with pytest.raises(KeyError):
                access()

    def test_outlive_the_store(self, path: str) -> None:
        """They are read by the next one."""
        with TraceStore(path) as store:
            store.settings["a"] = "b"
        with TraceStore(path) as store:
            assert store.settings.get("a") == "b"


class TestAliases:
    """The names that neighbouring tools use (S0.16, S1.10, S1.11)."""

    def test_are_all_there(self) -> None:
        """Every alias of the table is a method, and every method of the mixin stands in the table."""
        own = {name for name in vars(event_store.StoreAliases) if not name.startswith("_")}
        assert own == set(ALIASES)

    def test_keep_a_session(self, store: TraceStore) -> None:
        """Start, look, end: one conversation with a root agent."""
        session = store.start_session("sort the mail", metadata={"by": "me"})
        row = store.get_session(session)
        assert row is not None and (row.task, row.status, row.completed_at) == (
            "sort the mail",
            "running",
            None,
        )
        store.save_trace("note", {"text": "hi"}, session_id=session)
        store.end_session(session, "failed")
        row = store.get_session(session)
        assert row is not None and (row.status, row.total_events) == ("failed", 3)
        assert row.completed_at is not None

    @pytest.mark.parametrize(
        ("word", "status"),
        [
            ("completed", "completed"),
            ("failed", "failed"),
            ("cancelled", "cancelled"),
            ("whatever", "completed"),
        ],
    )
    def test_end_a_session_with_a_word(self, word: str, status: str, store: TraceStore) -> None:
        """The words of S1.2; any other counts as completed."""
        session = store.start_session("x")
        store.end_session(session, word)
        store.end_session(session, "failed")  # it has ended: nothing happens
        row = store.get_session(session)
        assert row is not None and row.status == status

    def test_say_nothing_of_unknown_sessions(self, store: TraceStore) -> None:
        """None, and no error."""
        assert store.get_session("nobody") is None
        store.end_session("nobody")
        assert store.get_sessions() == []

    def test_find_text_that_was_stored_escaped(self, store: TraceStore) -> None:
        """S1.11: non-ASCII is found as it is, and as the JSON of somebody else has it."""
        for payload in ('{"text":"caf\\u00e9"}', '{"text":"café"}', '{"text":"cafe"}'):
            store.record_many(
                [{"kind": "note", "conversation_id": "c", "agent_id": "a", "payload_json": payload}]
            )
        assert len(store.get_traces(search_text="café")) == 2

    def test_find_traces(self, store: TraceStore) -> None:
        """By session, type, time with both ends, and text as it is written, signs included."""
        texts = ["100% sure", "100 x sure", 'say "hi"', "größe", "a_b", "axb", "back\\slash"]
        for number, text in enumerate(texts):
            store.record(
                "note" if number % 2 else "message",
                {"text": text},
                conversation_id=f"c{number % 2}",
                agent_id="a",
                ts_ms=1000 + number,
            )

        def found(**filters: Any) -> list[str]:
            return [event.payload["text"] for event in store.get_traces(**filters)]

        assert found() == texts
        assert found(session_id="c1") == texts[1::2]
        assert found(event_type="message") == texts[::2]
        assert found(start_time_ms=1002, end_time_ms=1004) == texts[2:5]
        assert found(search_text="100%") == ["100% sure"]
        assert found(search_text='"hi"') == ['say "hi"']
        assert found(search_text="GRÖSSE") == [] and found(search_text="größe") == ["größe"]
        assert found(search_text="a_b") == ["a_b"]
        assert found(search_text="back\\sl") == ["back\\slash"]
        assert found(limit=2) == texts[:2]


class TestQuery:
    """SQL by hand."""

    def test_gives_names_and_rows(self, store: TraceStore) -> None:
        """The columns' names, then the rows; a mistake is an error in our words."""
        store.record("note", {"a": 1}, conversation_id="c1", agent_id="a")
        assert store.query("SELECT kind, seq FROM trajectory_events WHERE seq = ?", (0,)) == (
            ["kind", "seq"],
            [("note", 0)],
        )
        assert store.query("SELECT json_extract(payload, '$.a') AS a FROM trajectory_events") == (
            ["a"],
            [(1,)],
        )
        with pytest.raises(StoreError, match="no such table: nowhere"):
            store.query("SELECT * FROM nowhere")

    def test_writes_nothing(self, path: str) -> None:
        """A statement that writes is refused."""
        with TraceStore(path) as store:
            store.record("note", conversation_id="c1", agent_id="a")
            with pytest.raises(StoreError):
                store.query("DELETE FROM trajectory_events")
            assert len(store.events("c1")) == 1


class TestVerify:
    """Counting anew."""

    def test_finds_what_was_tampered_with(self, sink: EventSink, store: TraceStore) -> None:
        """Every stored number that the events do not bear out is named, with both values."""
        scene = Scene()
        root = scene.agent()
        scene.fail(root)
        scene.store(sink)
        database = sink.database
        assert verify_rollups(database) == []
        database.execute("UPDATE agent_rollups SET tool_calls = 7, next_seq = 2")
        database.execute("DELETE FROM open_spans")
        database.execute(
            "INSERT INTO agent_rollups (conversation_id, agent_id, next_seq, events, first_ts_ms, last_ts_ms)"
            " VALUES ('c1', 'ghost', 1, 1, 0, 0)"
        )
        found = [tuple(one) for one in verify_rollups(database)]
        assert found == [
            ("c1", "lead-1", "tool_calls", 7, 1),
            ("c1", "lead-1", "next_seq", 2, 4),
            ("c1", "ghost", "events", 1, 0),
            ("c1", "lead-1", "open_spans", None, root.span_id),
        ]
        assert verify_rollups(database, "c1") != [] and verify_rollups(database, "c2") == []


class TestDefault:
    """``TraceStore()``."""

    def test_takes_the_database_of_this_process(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The one that ``config.default_database`` names."""
        monkeypatch.setenv("AGENTTRACE_DB", str(tmp_path / "mine.db"))
        with TraceStore() as store:
            store.record("note", conversation_id="c1", agent_id="a")
        assert (tmp_path / "mine.db").exists()
        assert json.dumps(str(store.target.path)) == json.dumps(str(tmp_path / "mine.db"))
