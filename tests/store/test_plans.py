"""Every index is there for a query, and every query that must be quick uses one."""

from __future__ import annotations

import pytest

from agenttrace.store.batch import EventSink
from agenttrace.store.event_store import TraceStore
from tests.store.scenes import Scene

QUERIES: dict[str, tuple[str, set[str]]] = {
    "one agent's events in order": (
        "SELECT * FROM trajectory_events WHERE conversation_id = 'c1' AND agent_id = 'a1' AND seq > 5"
        " ORDER BY seq",
        {"idx_trajectory_lookup"},
    ),
    "a page of a conversation's timeline": (
        "SELECT * FROM trajectory_events WHERE conversation_id = 'c1' AND ts_ns >= 5"
        " ORDER BY ts_ns, substr(event_id, 1, 16), id LIMIT 100",
        {"idx_events_time"},
    ),
    "a call with its result": (
        "SELECT * FROM trajectory_events WHERE span_id = 's1' AND kind = 'tool_result'",
        {"idx_events_span"},
    ),
    "errors of the last hour": (
        "SELECT * FROM trajectory_events WHERE kind = 'error'"
        " AND ts_ms > (strftime('%s', 'now') - 3600) * 1000",
        {"idx_events_error_time"},
    ),
    "failed calls of one agent in the last hour": (
        "SELECT tool_name, message, at FROM failures WHERE agent_name = 'lead' AND tool_name IS NOT NULL"
        " AND ts_ms > (strftime('%s', 'now') - 3600) * 1000",
        {"idx_events_error_time", "idx_events_error_id"},
    ),
    "failures of a conversation with their fates": (
        "SELECT * FROM failures WHERE conversation_id = 'c1'",
        {
            "idx_events_error",
            "idx_events_error_id",
            "idx_events_span",
            "idx_events_cause",
            "idx_events_group",
            "idx_events_retry",
            "idx_events_told",
        },
    ),
    "every swallowed error": (
        "SELECT at, agent_name, message, raised_at, handled_at, claimed_by FROM failures"
        " WHERE fate = 'swallowed'",
        {"idx_events_error_id", "idx_events_span", "idx_events_told"},
    ),
    "the last calls of one tool": (
        "SELECT * FROM tool_traces WHERE tool_name = 'read' ORDER BY ts_ms DESC LIMIT 100",
        {"idx_events_tool", "idx_events_span", "idx_events_retry"},
    ),
    "the slowest tools": (
        "SELECT tool_name, count(*), avg(duration_ms), max(duration_ms) FROM trajectory_events"
        " WHERE kind = 'tool_result' GROUP BY tool_name ORDER BY 3 DESC",
        {"idx_events_duration"},
    ),
    "tokens by model": (
        "SELECT model, sum(input_tokens), sum(output_tokens), sum(cost_usd) FROM trajectory_events"
        " WHERE kind = 'model_turn' GROUP BY model",
        {"idx_events_usage"},
    ),
    "the newest conversations": (
        "SELECT * FROM agent_sessions ORDER BY ts_ms DESC, id DESC LIMIT 50",
        {"idx_conversations_created"},
    ),
    "what is open": (
        "SELECT kind, name, agent_name, started_at FROM open_operations",
        {"idx_trajectory_lookup"},
    ),
    "the agents of a conversation": (
        "SELECT * FROM agents WHERE conversation_id = 'c1'",
        {"idx_trajectory_lookup"},
    ),
    "the calls of a conversation": (
        "SELECT * FROM tool_traces WHERE conversation_id = 'c1'",
        {"idx_events_span", "idx_events_retry"},
    ),
}

WHOLE = {"trajectory_events", "idx_trajectory_lookup", "idx_events_time", "idx_events_span"}
"""What holds a row for every event, or nearly: no query of the table may walk it from end to end."""


def plan_of(sink: EventSink, sql: str) -> list[str]:
    """Ask SQLite how it would answer *sql*."""
    return [row[3] for row in sink.database.execute(f"EXPLAIN QUERY PLAN {sql}")]


def walked_by(sink: EventSink, sql: str) -> set[str]:
    """Tell which tables and indexes the program for *sql* walks from one end: Rewind or Last on a cursor."""
    names = dict(
        sink.database.execute("SELECT rootpage, name FROM sqlite_master WHERE rootpage > 0").fetchall()
    )
    program = [row[1:4] for row in sink.database.execute(f"EXPLAIN {sql}")]
    cursors = {p1: names.get(p2, "") for opcode, p1, p2 in program if opcode in ("OpenRead", "ReopenIdx")}
    return {cursors[p1] for opcode, p1, _ in program if opcode in ("Rewind", "Last") and p1 in cursors}


class TestQueryPlan:
    """How SQLite answers the questions that must stay quick at ten million events."""

    @pytest.fixture
    def filled(self, sink: EventSink) -> EventSink:
        """A database with something in every index."""
        scene = Scene()
        root = scene.agent()
        for _ in range(20):
            scene.fail(root)
            scene.model(root)
        scene.store(sink)
        return sink

    @pytest.mark.parametrize("name", QUERIES)
    def test_uses_the_indexes_that_are_there_for_it(self, name: str, filled: EventSink) -> None:
        """Each query of the table uses the indexes beside it, and walks no table of events."""
        sql, wanted = QUERIES[name]
        plan = plan_of(filled, sql)
        used = {index for index in wanted if any(f"INDEX {index}" in line for line in plan)}
        assert used == wanted, "\n".join(plan)
        assert walked_by(filled, sql) & WHOLE == set()

    def test_that_walks_every_event_is_noticed(self, filled: EventSink) -> None:
        """The look at the program sees a walk where there is one."""
        sql = "SELECT * FROM trajectory_events WHERE call_id = 'x'"
        assert walked_by(filled, sql) == {"trajectory_events"}

    def test_is_the_same_after_analyze(self, filled: EventSink) -> None:
        """Statistics, once somebody gathers them, lead no query astray."""
        filled.database.execute("ANALYZE")
        for name in QUERIES:
            self.test_uses_the_indexes_that_are_there_for_it(name, filled)

    def test_names_every_index(self, sink: EventSink) -> None:
        """No index is there without a query of the table."""
        rows = sink.database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name LIKE 'idx_%'"
        )
        assert {row[0] for row in rows} == set().union(*(wanted for _, wanted in QUERIES.values()))

    def test_lets_conditions_reach_an_index_through_the_store(
        self, filled: EventSink, store: TraceStore
    ) -> None:
        """What ``TraceStore`` asks is answered as quickly as the same question by hand."""
        seen: list[str] = []
        filled.database.connection.set_trace_callback(seen.append)
        store.failures(agent_name="lead", since_ms=5, limit=10)
        store.tool_traces(tool_name="read", limit=10)
        store.conversations()
        store.events_page("c1", cursor="5.00112233aabbccdd.3")
        filled.database.connection.set_trace_callback(None)
        queries = [sql for sql in seen if sql.startswith("SELECT")]
        assert len(queries) == 4
        indexes = ["idx_events_error_time", "idx_events_tool", "idx_conversations_created", "idx_events_time"]
        for sql, index in zip(queries, indexes, strict=True):
            assert any(f"INDEX {index}" in line for line in plan_of(filled, sql)), plan_of(filled, sql)
