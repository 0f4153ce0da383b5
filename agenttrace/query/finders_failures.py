"""
Findings from failures: failed, swallowed, returned, ignored, retried too often, of an unknown tool.

Invariants: a failure gives one finding at most, of the most special kind that fits; one that was
retried well, or told to a model that then made the same tool work, gives none. Cost: one pass over
the failures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agenttrace.query.findings import Finding
from agenttrace.query.loaded_run import LoadedRun
from agenttrace.query.text import pluralize
from agenttrace.query.thresholds import Thresholds
from agenttrace.query.tree import TreeNode, parse_payload
from agenttrace.store.rows import Event, Failure

__all__ = ["find_failures"]

_LOOKUPS = frozenset(
    "KeyError IndexError ValueError AttributeError LookupError ImportError ModuleNotFoundError TypeError "
    "UnicodeDecodeError UnicodeEncodeError JSONDecodeError StopIteration FileNotFoundError FileExistsError "
    "NotImplementedError ZeroDivisionError".split()
)
"""What code raises and catches on its ordinary way, to try one thing before another."""
_NO_TOOL = re.compile(
    r"(unknown|no such|nonexistent|undefined|unregistered|invalid|not a valid) (tool|function)\b"
    r"|\b(tool|function) .{0,80}(not found|does not exist|doesn't exist|not available|is not defined"
    r"|not a valid tool|is unknown|not registered)",
    re.IGNORECASE | re.DOTALL,
)
_OTHERS_CODE = re.compile(r"[\\/](lib[\\/]python3\.\d+|site-packages|dist-packages)[\\/]|[\\/]Lib[\\/]|^<")
_TEXT_LIMIT = 200
_NOTHING: tuple[Any, ...] = (None, "", [], {}, 0)


def find_failures(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    """Find what went wrong by itself: everything that left an ``error`` row."""
    errors = {
        event.error_id: event
        for event in sorted(run.events, key=lambda each: each.id, reverse=True)
        if event.kind == "error" and event.error_id is not None
    }
    known = {failure.error_id for failure in run.failures}
    stormy: set[int] = set()
    for failure in run.failures:
        at = run.of_error.get(failure.error_id or "", run.by_span.get(failure.span_id or ""))
        row = errors.get(failure.error_id or "")
        if at is not None and run.nodes[at].family == "call":
            node = run.nodes[at]
            if node.attempts >= limits.retry_attempts and node.failed_attempts >= limits.retry_attempts - 1:
                if at not in stormy:
                    stormy.add(at)
                    yield _storm(run, at, failure, row)
                continue
        if failure.fate == "retried" or (failure.cause_error_id in known and not failure.returned):
            continue  # what was raised from another failure is told with that one
        found = _judge(run, at, failure, row)
        if found is not None:
            yield found


def _judge(run: LoadedRun, at: int | None, failure: Failure, row: Event | None) -> Finding | None:
    node = None if at is None else run.nodes[at]
    name = failure.tool_name or (node.name if node is not None and node.family != "event" else "the program")
    said = _say(failure)
    if _is_unknown_tool(failure):
        sentence = f"{name} was asked for, and there is no such tool: {said}"
        return _finding(run, "unknown_tool", 0.95, sentence, at, failure, row)
    if at is not None and _is_recovered(run, at, failure):
        return None
    if failure.fate == "reported" and _is_inside(row):
        return None  # caught where it was raised, and told
    ignored = _ignored_subagent(run, failure)
    if ignored is not None:
        subagent, above = ignored
        sentence = f"{subagent.name} failed with {said}; {above.name} ended ok and told nobody"
        return _finding(
            run, "subagent_ignored", 0.9, sentence, run.by_span.get(subagent.span_id or ""), failure, row
        )
    if failure.returned and node is not None and node.family == "call":
        sentence = f"{name} gave back a failure as its result: {said}"
        sure = 0.9 if failure.fate in ("swallowed", "escaped") else 0.6
        return _finding(run, "returned_failure", sure, sentence, at, failure, row)
    if failure.fate == "swallowed":
        owner = failure.claimed_by
        tail = f"; {owner} ended ok, and nobody was told" if owner else "; nobody was told"
        sure = _swallowed_confidence(run, node, failure, row)
        return _finding(run, "swallowed_error", sure, f"{name} failed with {said}{tail}", at, failure, row)
    sure = {"escaped": 0.95, "reported": 0.5}.get(failure.fate, 0.6)
    return _finding(run, "failed_call", sure, f"{name} failed with {said}", at, failure, row)


def _say(failure: Failure) -> str:
    message = " ".join(failure.message.split())[:_TEXT_LIMIT]
    kind = failure.error_type or "an error"
    if kind == "ReturnedFailure":
        return message or "a failure"
    return f"{kind}: {message}" if message else kind


def _is_unknown_tool(failure: Failure) -> bool:
    name = failure.tool_name
    if failure.error_type in ("UnknownTool", "ToolNotFound", "ToolNotFoundError", "UnknownToolError"):
        return True
    if failure.returned == "unknown_tool":
        return True
    if name is None:
        return False
    if failure.error_type in ("KeyError", "AttributeError") and failure.message.strip("'\"") == name:
        return True
    return name in failure.message and _NO_TOOL.search(failure.message) is not None


def _is_recovered(run: LoadedRun, at: int, failure: Failure) -> bool:
    """Tell whether the same was done well later: the tool, after a model was told, or the subagent anew."""
    if failure.fate == "escaped":
        return False
    node = run.nodes[at]
    closed = [run.nodes[one] for one in run.closed_with.get(failure.error_id or "", ())]
    outermost = closed[0] if closed and closed[0].family == "agent" else None
    if outermost is not None:
        above = [run.nodes[outermost.parent]] if outermost.parent is not None else []
        beside = [run.nodes[each] for one in above for each in one.children]
        return any(
            each.family == "agent"
            and each.name == outermost.name
            and each.status == "ok"
            and each.start_ns > (outermost.end_ns or outermost.start_ns)
            and each.payload_json == outermost.payload_json
            for each in beside
        )
    if failure.fate != "reported" or node.family != "call":
        return False
    return any(
        each.family == "call"
        and each.name == node.name
        and each.agent_id == node.agent_id
        and each.status == "ok"
        and each.start_ns > node.start_ns
        for each in run.nodes
    )


def _ignored_subagent(run: LoadedRun, failure: Failure) -> tuple[TreeNode, TreeNode] | None:
    """Give the outermost agent that the failure ended, and the one above it that ended ok."""
    if failure.fate not in ("swallowed", "open"):
        return None
    for at in run.closed_with.get(failure.error_id or "", ()):
        node = run.nodes[at]
        owner = run.owner(at) if node.family == "agent" else None
        if owner is not None and run.nodes[owner].status == "ok":
            return node, run.nodes[owner]
    return None


def _is_inside(row: Event | None) -> bool:
    """Tell whether it was caught before it left any operation."""
    return row is not None and parse_payload(row.payload_json).get("handled") is True


def _swallowed_confidence(
    run: LoadedRun, node: TreeNode | None, failure: Failure, row: Event | None
) -> float:
    """Judge one that was caught inside the very operation that then ended ok by what that gave back."""
    if node is None or node.family == "agent" or not _is_inside(row):
        return 0.9
    ordinary = 0.3 if failure.error_type in _LOOKUPS else 0.6
    if node.family != "call" or node.status != "ok" or run.output(node) not in _NOTHING:
        return ordinary
    gave_more = any(
        each.family == "call"
        and each.name == node.name
        and each.status == "ok"
        and run.output(each) not in _NOTHING
        for each in run.nodes
    )
    if gave_more or run.output(node) is not None:
        return 0.8
    return ordinary  # it may be a tool that never gives anything


def _storm(run: LoadedRun, at: int, failure: Failure, row: Event | None) -> Finding:
    node = run.nodes[at]
    how = "and never worked"
    if node.status == "ok":
        how = f"failed {pluralize(node.failed_attempts, 'time')} and then worked"
    sentence = f"{node.name} was tried {pluralize(node.attempts, 'time')}, {how}: {_say(failure)}"
    found = _finding(run, "retry_storm", 0.85, sentence, at, failure, row)
    assert found is not None
    return found


def _finding(
    run: LoadedRun,
    kind: str,
    confidence: float,
    sentence: str,
    at: int | None,
    failure: Failure,
    row: Event | None,
) -> Finding:
    node = None if at is None else run.nodes[at]
    is_elsewhere = kind in ("subagent_ignored", "retry_storm")
    return Finding(
        kind=kind,
        confidence=confidence,
        sentence=sentence,
        agent=(failure.agent_name or failure.agent_id) if at is None else run.path(at),
        span_id=node.span_id if node is not None and is_elsewhere else failure.span_id,
        error_id=failure.error_id,
        rows=(failure.id,) if node is None else (failure.id, run.end_row(node)),
        raised_at=_raised_at(row) or _place(failure.raised_at),
        handled_at=_place(failure.handled_at),
        fate=failure.fate,
        ts_ns=_time(row, failure),
        # Of an open one nobody can say yet: a model may still be told, or would have been.
        is_told=failure.fate in ("reported", "retried", "open"),
    )


def _time(row: Event | None, failure: Failure) -> int:
    return row.ts_ns if row is not None and row.ts_ns is not None else failure.ts_ms * 1_000_000


def _place(place: str | None) -> str | None:
    """Give ``file:line`` of ``file:line function``."""
    if place is None:
        return None
    file, colon, rest = place.rpartition(":")
    return f"{file}{colon}{rest.partition(' ')[0]}"


def _raised_at(row: Event | None) -> str | None:
    """Give the innermost line that is no library's; where all are, the innermost."""
    error: Any = None if row is None else parse_payload(row.payload_json).get("error")
    frames = error.get("frames") if isinstance(error, dict) else None
    if not isinstance(frames, list):
        return None
    places = [
        (each["file"], each["line"])
        for each in frames
        if isinstance(each, dict) and isinstance(each.get("file"), str) and isinstance(each.get("line"), int)
    ]
    own = [place for place in places if not _OTHERS_CODE.search(place[0])]
    file, line = (own or places or [(None, None)])[-1]
    return None if file is None else f"{file}:{line}"
