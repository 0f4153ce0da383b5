"""
Write docs/schema.md from a migrated database and the words below; with --check only compare it.

A column without a word here, or a word without a column, is an error. A test
runs this, so that the page cannot fall behind.
"""

# ruff: noqa: E501  (the words of a column stand in one line, as on the page)

from __future__ import annotations

import re
import sys
from pathlib import Path

from agenttrace.store import migrate
from agenttrace.store.connection import SCHEMA_VERSION, StoreDatabase
from agenttrace.store.database import open_database

PAGE = Path(__file__).parent.parent / "docs" / "schema.md"

_HEAD = f"""\
# Schema

This page is made from a migrated database by `scripts/generate_schema_docs.py`. It describes schema {SCHEMA_VERSION};
`PRAGMA user_version` says which one a database has, and `PRAGMA application_id` (`0x61677472`, `agtr`) that it is ours.

Numbers carry their unit in the name. `ts_ms` is milliseconds since 1970 (UTC), `ts_ns` nanoseconds; the views show the
same times as text, `YYYY-MM-DD HH:MM:SS.fff` UTC, which compares with SQLite's `datetime()`. For speed, put conditions
on `ts_ms`: `WHERE ts_ms > (strftime('%s', 'now') - 3600) * 1000` is the last hour, and has an index.

Read the views; the tables are what they are made of. A row of `trajectory_events`, once written, never changes.
"""

_VIEWS_HEAD = """\
## Views

Each is a plain SELECT with look-ups, so that conditions on `conversation_id`, `ts_ms`, `agent_name` or `tool_name`
reach an index. A fate is worked out when it is asked for: filter by time or conversation first, then by fate.
"""

_TABLES_HEAD = """\
## Tables
"""

_PAYLOADS = """\
## Payloads

`payload` is a JSON object with what the columns do not hold. Any other kind holds what was recorded with it.

| kind | payload |
|---|---|
| `agent_start` | `input`, `metadata`; `resumed` when the agent was there before |
| `agent_end` | `output`, `is_error`; `late`; `notes`: `more_count` (records logged beyond 50) |
| `tool_call` | `arguments`; `rebuilt` when nobody traced the call: it stands in a model's answer and the next input |
| `tool_result` | `output`, `is_error`; `arguments` when the call had none; `rebuilt` |
| `error` | `error`: `type`, `module`, `message`, `frames` (innermost last), `cause`, `leaves` (of a group); `handled`, `handled_at`: `file`, `line`, `function`; `returned`; `rebuilt` when it was found in what a model was handed |
| `retry` | `wait_ms`, `limit_count`, `by` |
| `handled` | `handled_at` |
| `model_call` | `input`, `params` |
| `model_turn` | `output`, `finish_reason`, `response_id`, `first_chunk_ms`, `usage`, `service_tier`; `priced_by`: the table that `cost_usd` was computed from (`genai-prices 0.2.3`), absent where the program gave it |
| `model_delta` | `index`, `text` |
| `model_selected` | `reason`; the first model that an agent asks, unless its `agent_start` names it |
| `model_switched` | `from_model`, `to_model`, `reason`; by the models that were asked |
| `result_dropped` | `reason` |
| `message` | `role`, `content` |
| `snapshot` | `state` |
| `note` | `level`, `text`; `logger` where the program logged it |
| `budget_warning`, `budget_exceeded`, `iteration_limit` | `spent_usd`, `turns`; `budget_usd`, `max_turns` |

The end of an operation may hold `caught`: `more_count` (exceptions caught inside beyond 50 rows), `lookup_count`
(expected look-ups) and `elsewhere_count` (caught in other people's files, having left no operation).

`{"$agenttrace": "cut", …}` (or `redacted`, `unencodable`, `cycle`, `ref`) stands for what was not stored as it was. A
`cut` carries `bytes` or `items`, the `head` of a text, and `sha256` when the whole is in `payload_blobs`.

A `ref` names what an earlier turn of the same conversation holds, so that a chat that is sent again and again is stored
once. First in a list of messages, `{"$agenttrace": "ref", "span_id": …, "pointer": "/input", "items": 12}` is the first 12
messages of the `model_call` of that span, whose own list may begin with a `ref`. Elsewhere `{"$agenttrace": "ref",
"span_id": …, "kind": "model_turn", "pointer": "/output/0/text"}` is the value at that place (RFC 6901) in the payload of that
event; without `kind` in its `model_call`. What was new in a request stands behind: `json_extract(payload, '$.input[#-1]')` is
its last message. `agenttrace show --event ID --full` and `TraceStore.payload_reader` put all together.

The model that was asked stands in `model_call`, the one that answered in `model_turn`:

```sql
SELECT asked.model AS asked, answered.model AS answered, count(*) AS turns, sum(answered.cost_usd) AS cost_usd
FROM trajectory_events answered
JOIN trajectory_events asked ON asked.span_id = answered.span_id AND asked.kind = 'model_call'
WHERE answered.kind = 'model_turn'
GROUP BY 1, 2;
```
"""

_OPERATION = {
    "conversation_id": "the chat or run of the whole agent tree",
    "agent_id": "the agent; the same id in one conversation is one agent, continued",
    "agent_name": "its name",
    "parent_agent_id": "the agent that it works for; NULL for a root",
    "span_id": "pairs a start with its end, its errors and retries; its first 8 characters begin the process's id",
    "parent_span_id": "the operation around it",
    "call_id": "the id that the model or SDK gave to the call",
    "tool_name": "name of the tool",
    "ts_ms": "when",
    "turn": "the agent's model turn it belongs to, from 1",
    "attempt": "which attempt at a call, from 1; NULL where nobody counts",
    "error_id": "which failure; the same id wherever that failure shows",
    "error_type": "class of the exception, or what found the failure",
    "cause_error_id": "the failure that this one was raised from",
    "model": "model asked",
    "provider": "who runs it",
    "input_tokens": "all input, cache reads and writes included",
    "output_tokens": "all output, reasoning included",
    "cache_read_tokens": "input read from a cache",
    "cache_write_tokens": "input written to a cache",
    "reasoning_tokens": "output spent on reasoning",
    "cost_usd": "cost; NULL when no price is known",
    "process_id": "the process, in `processes`",
}

_COUNTS = {
    "events": "rows",
    "runs": "how often it was started",
    "tool_calls": "calls; attempts at one call by hand count once",
    "failed_calls": "calls whose last attempt failed",
    "errors": "`error` rows",
    "retries": "attempts after the first",
    "model_turns": "model turns",
}

WORDS: dict[str, tuple[str, dict[str, str]]] = {
    "tool_traces": (
        "One row per tool call, with all its attempts, whether a retry library made them or a loop by hand.",
        {
            "id": "row id of the first attempt's `tool_call`",
            "session_id": "the conversation",
            "chat_id": "the conversation",
            "message_id": "always NULL",
            "turn_number": "the agent's model turn it belongs to",
            "tool_input": "arguments, JSON",
            "tool_output": "what came back: text as it is, everything else as JSON",
            "started_at": "start of the first attempt",
            "finished_at": "end of the last attempt; NULL while it runs",
            "latency_ms": "from the one to the other",
            "tokens_used": "tokens, when the tool reports them",
            "cache_tokens": "of these, read from a cache",
            "error": "`Type: message` of the failure that the last attempt ended with",
            "outcome": "`status`, but NULL while it runs",
            "created_at": "as `started_at`",
            "span_id": "span of the first attempt",
            "attempts": "how many attempts",
            "failed_attempts": "how many of them failed",
            "status": "`ok error cancelled stopped_early interrupted` of the last attempt; `running` while open",
            "ts_ms": "start of the first attempt",
            "result_id": "row id of the last attempt's `tool_result`",
        },
    ),
    "agents": (
        "One row per agent and conversation.",
        {
            "status": "of the run that ended last; `running` while one is open",
            "model": "the model it used last",
            "provider": "who runs that",
            "started_at": "its first event",
            "ended_at": "its last end",
            "ts_ms": "its first event",
            "ended_ms": "its last end",
            "last_ts_ms": "its last event",
            "input_preview": "the first 200 characters of its first input",
            "output_preview": "the first 200 characters of its last output",
            "error_id": "the failure that its last run ended with",
            **_COUNTS,
        },
    ),
    "agent_sessions": (
        "One row per conversation, newest last; counts and sums are those of all its agents.",
        {
            "id": "the conversation",
            "conversation_id": "the conversation",
            "task": "what it was opened for",
            "started_at": "its beginning",
            "completed_at": "its last agent's end; NULL while one runs",
            "status": "`running completed failed cancelled interrupted`: how its last root agent stands",
            "total_events": "rows",
            "total_tokens": "input and output",
            "total_cost_usd": "cost; NULL when no price is known",
            "agents": "how many agents",
            "duration_ms": "beginning to last event",
            "ts_ms": "its beginning",
            "last_ts_ms": "its last event",
            "metadata": "JSON that it was opened with",
            "process_id": "the process that opened it",
            **_COUNTS,
        },
    ),
    "failures": (
        "One row per failure, however many operations it left.",
        {
            "id": "row id of its first `error` row",
            "message": "its text",
            "raised_at": "`file:line function` of the innermost frame",
            "handled_at": "`file:line function` of the handler, where it is known",
            "at": "when",
            "returned": "what found the failure in returned data; NULL for an exception",
            "handled": "1 when a handler is known to have caught it",
            "fate": "`retried` (tried again), `reported` (a later model input or an agent's answer holds its text), "
            "`swallowed` (something around it ended well and nobody was told), `escaped` (it left the root), "
            "`open` (not over yet)",
            "span_id": "the innermost operation that it left, or in which it was caught",
            "parent_span_id": "the operation around that",
            "seq": "seq of its first `error` row",
            "claimed_by": "the agent in whose operation it stopped, when that agent's run ended ok afterwards",
        },
    ),
    "failure_facts": (
        "What each rule of fate says of a failure by itself; `failures` follows the chain to those raised from it.",
        {
            "id": "row id of its first `error` row",
            "told": "`retried`, `reported` or NULL",
            "way": "`escaped`, `swallowed` or `open`",
        },
    ),
    "open_operations": (
        "What has started and not ended, with its process.",
        {
            "id": "row id of its start",
            "kind": "`agent_start`, `tool_call` or `model_call`",
            "name": "of the tool, the model or the agent",
            "started_at": "when it started",
            "ts_ns": "the same, in nanoseconds",
            "host": "where its process runs",
            "boot_id": "which boot of that machine",
            "pid": "its process, there",
            "last_seen_ms": "when its process was last heard of",
            "process_ended_ms": "when its process ended, if it has",
        },
    ),
    "conversations": (
        "One row per conversation.",
        {
            "id": "the conversation",
            "task": "what it was opened for",
            "metadata": "JSON that it was opened with",
            "created_ms": "its beginning",
            "process_id": "the process that opened it",
        },
    ),
    "trajectory_events": (
        "One row per recorded fact.",
        {
            "id": "in the order of storage",
            "seq": "counts up per conversation and agent, from 0 without a gap; storage order",
            "kind": "what sort of fact: `agent_start agent_end tool_call tool_result error retry handled model_call "
            "model_turn model_delta model_selected model_switched result_dropped message snapshot note`, or a word "
            "of your own",
            "payload": "JSON: what the columns do not hold",
            "ts_ns": "when, exactly; `ts_ms` is it in milliseconds",
            "event_id": "process and frame number; with the conversation, the same wherever the event is copied",
            "status": "how an operation ended: `ok error cancelled stopped_early interrupted`",
            "duration_ms": "of an end: since its start",
            "retry_of": "of a further attempt by hand: span of the first one",
        },
    ),
    "agent_rollups": (
        "Counts and sums per agent, written with every batch; `agents` shows them.",
        {
            "next_seq": "the seq that its next event gets; never goes back",
            "turn_base": "turns of the runs before the present one",
            "max_turn": "the last turn so far",
            "first_ts_ms": "its first event",
            "last_ts_ms": "its last event",
            "last_status": "how the run ended that ended last",
            "model": "the model it used last",
            "provider": "who runs that",
            "first_start_seq": "seq of its first `agent_start`",
            "last_start_seq": "seq of its last `agent_start`",
            "last_start_ts_ms": "time of that",
            "last_end_seq": "seq of its last `agent_end`",
            "last_end_ts_ms": "time of that",
            **_COUNTS,
        },
    ),
    "open_spans": (
        "One row per operation that has started and not ended; `open_operations` shows them.",
        {
            "seq": "seq of its start",
            "kind": "`agent_start`, `tool_call` or `model_call`",
            "ts_ns": "when it started",
        },
    ),
    "processes": (
        "One row per process that recorded here.",
        {
            "process_id": "16 hex; the first 8 begin its span ids",
            "parent_process_id": "the process that forked it",
            "host": "name of the machine",
            "boot_id": "which boot of it",
            "pid": "its number there",
            "python_version": "which Python",
            "agenttrace_version": "which agenttrace",
            "argv": "JSON list, redacted",
            "cwd": "its folder",
            "git_commit": "commit of that folder",
            "started_ms": "when it began",
            "last_seen_ms": "when it was last heard of",
            "ended_ms": "when it ended; NULL while it runs, or when nobody saw it end",
            "exit": "how it ended: `ok`, `died`, `exception: …`",
            "dropped": "JSON: events dropped, by reason",
            "failed": "JSON: events that could not be stored, by what was wrong with them",
        },
    ),
    "rings": (
        "How far each process's ring has been drained.",
        {
            "ring_id": "128 random bits",
            "process_id": "whose it is",
            "position": "everything before it is in the database",
            "created_ms": "its first batch",
            "closed_ms": "when the last batch came",
        },
    ),
    "failure_reports": (
        "The failures that a model was told of, or that stand in an agent's answer; made from the events.",
        {
            "error_id": "the failure",
            "agent_id": "whose model or answer it was: the agent's that failed, or one above",
            "kind": "`model_call` or `agent_end`",
            "event_id": "the event that tells of it",
            "ts_ms": "when",
        },
    ),
    "payload_blobs": (
        "Whole payloads whose rows hold a cut, redacted.",
        {
            "sha256": "hash of the JSON; the mark in the row carries it",
            "bytes": "length of the JSON",
            "body": "JSON; for turns of models compressed, a zlib stream, which begins with the byte 0x78",
            "created_ms": "when it was stored",
        },
    ),
    "trace_settings": (
        "Settings of this database.",
        {"key": "such as `retention_days`", "value": "text"},
    ),
}

VIEWS = ("tool_traces", "agents", "agent_sessions", "failures", "open_operations", "failure_facts")
_NOT_OURS = ("schema_migration",)


def render_page(database: StoreDatabase) -> str:
    """Render the page; raises ValueError when words and columns do not match."""
    found = {
        row[0]: row[1]
        for row in database.execute("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')")
        if not row[0].startswith("sqlite_") and row[0] not in _NOT_OURS
    }
    if set(found) != set(WORDS) or {name for name, kind in found.items() if kind == "view"} != set(VIEWS):
        raise ValueError(f"words for {sorted(WORDS)}, but the database has {sorted(found)}")
    tables = [name for name in WORDS if name not in VIEWS]
    parts = [_HEAD, _VIEWS_HEAD, *(_render(database, name) for name in VIEWS)]
    parts += [_TABLES_HEAD, *(_render(database, name) for name in tables)]
    parts += [_PAYLOADS, _render_migrations(database)]
    return "\n".join(parts)


def _render(database: StoreDatabase, name: str) -> str:
    intro, words = WORDS[name]
    lines = [f"### {name}", "", intro, ""]
    is_table = name not in VIEWS
    lines += ["| column | type | what |", "|---|---|---|"] if is_table else ["| column | what |", "|---|---|"]
    used = set()
    for _, column, kind, is_required, _, key in database.execute(f"PRAGMA table_info({name})"):
        word = words.get(column) or _OPERATION.get(column)
        if word is None:
            raise ValueError(f"no word for {name}.{column}")
        used.add(column)
        must = " NOT NULL" if is_required else ""
        shown = f"{kind}{must}{', primary key' if key else ''}"
        lines.append(f"| `{column}` | {shown} | {word} |" if is_table else f"| `{column}` | {word} |")
    unused = words.keys() - used - _COUNTS.keys()
    if unused:
        raise ValueError(f"words for columns that {name} does not have: {sorted(unused)}")
    indexes = database.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type = 'index' AND sql IS NOT NULL ORDER BY rowid",
        (name,),
    ).fetchall()
    if indexes:
        lines += ["", "```sql", *(re.sub(r"\s+", " ", sql).strip() for (sql,) in indexes), "```"]
    return "\n".join([*lines, ""])


def _render_migrations(database: StoreDatabase) -> str:
    names = [f"| {state.version} | `{state.name}` |" for state in migrate.status(database)]
    return "\n".join(
        [
            "## Migrations",
            "",
            "`agenttrace migrate status` lists them; `up` and `down` run them, one transaction each. Within a major version",
            "they only add, so that an older agenttrace goes on writing.",
            "",
            "| schema | migration |",
            "|---|---|",
            *names,
            "",
        ]
    )


def main() -> int:
    """Write the page, or with --check compare it."""
    database = open_database(":memory:")
    page = render_page(database)
    database.close()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != page:
            print(f"{PAGE.name} is not current; run python scripts/{Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
