"""
A database of many conversations as agents leave them: what the queries are asked of.

Invariant: the same numbers give the same rows. Each conversation has a root agent and four subagents,
one model turn to ten calls, one failed call in fifty, and 500 bytes of result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.workloads import ARGUMENTS, build_result

__all__ = ["FIRST_TS_MS", "fill"]

FIRST_TS_MS = 1_760_000_000_000
_BATCH = 4000
_STEP_NS = 2_000_000
_AGENTS = ("lead", "search", "read", "write", "check")
_CALL = json.dumps({"arguments": ARGUMENTS}, separators=(",", ":")).encode()
_RESULT = json.dumps({"is_error": False, "output": build_result(450)}, separators=(",", ":")).encode()
_ERROR = json.dumps(
    {
        "error": {
            "type": "TimeoutError",
            "module": "builtins",
            "message": "the index did not answer within 5 s",
            "frames": [{"file": "agent.py", "line": 12, "function": "look_up"}],
        }
    }
).encode()
_TURN = b'{"output":"I will look it up.","finish_reason":"tool_use"}'


def fill(database: str, conversations: int, events: int) -> int:
    """
    Write *conversations* of about *events* rows each.

    Returns:
        The time of the last event, in ms.
    """
    from agenttrace.store.batch import EventSink, Record  # late: as a program that only reads would not

    sink = EventSink(database)
    now_ns = FIRST_TS_MS * 1_000_000
    batch: list[Any] = []
    number = 0
    for conversation in range(conversations):
        for header, payload in _iter_events(f"{conversation:016x}", events):
            now_ns += _STEP_NS
            number += 1
            header[1] = now_ns
            batch.append(Record(header, payload, f"aaaaaaaabbbbbbbb-{number:x}"))
            if len(batch) == _BATCH:
                sink.write(batch)
                batch.clear()
    sink.write(batch)
    sink.close()
    return now_ns // 1_000_000


def _iter_events(conversation: str, count: int) -> Iterator[tuple[list[Any], bytes]]:
    spans = (f"{conversation[8:]}{number:08x}" for number in range(1, 1 << 31))
    agents = [(f"{name}-{conversation[-6:]}", name, next(spans)) for name in _AGENTS]
    root = agents[0]
    made = 0
    for agent_id, name, span in agents:
        parent = None if agent_id == root[0] else root[0]
        who = [conversation, agent_id, name, parent]
        yield ["agent_start", 0, *who, span, parent and root[2], *[None] * 7], b'{"input":"look it up"}'
        share = (count - 2 * len(agents)) // len(agents)
        while share > 0:
            kind = made % 11
            made += 1
            inner = next(spans)
            if kind == 10:
                extra = {
                    "model": "some-model",
                    "turn": made // 11 + 1,
                    "input_tokens": 900,
                    "output_tokens": 90,
                }
                rest = [None, "ok", 12.5, None, None, None, extra]
                start = [*[None] * 6, {"model": "some-model"}]
                yield ["model_call", 0, *who, inner, span, None, *start], b'{"input":[]}'
                yield ["model_turn", 0, *who, inner, span, *rest], _TURN
                share -= 2
                continue
            tool = f"tool_{kind}"
            is_failed = made % 50 == 0
            yield ["tool_call", 0, *who, inner, span, tool, *[None] * 6], _CALL
            error_id = inner if is_failed else None
            if is_failed:
                yield (
                    ["error", 0, *who, inner, span, tool, None, None, None, error_id, "TimeoutError", None],
                    _ERROR,
                )
            status, error_type = ("error", "TimeoutError") if is_failed else ("ok", None)
            rest = [tool, status, (1.5 + made % 7) / 5, None, error_id, error_type, None]
            yield ["tool_result", 0, *who, inner, span, *rest], _RESULT
            share -= 3 if is_failed else 2
    for agent_id, name, span in reversed(agents):
        parent = None if agent_id == root[0] else root[0]
        who = [conversation, agent_id, name, parent]
        end = [None, "ok", 900.0, *[None] * 4]
        yield ["agent_end", 0, *who, span, parent and root[2], *end], b'{"output":"done","is_error":false}'
