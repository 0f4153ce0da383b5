"""
Findings from failures: failed, swallowed, returned, ignored, retried too often, of an unknown tool.

Invariants: a failure gives one finding at most, of the most special kind that fits; one that was
retried well, or told to a model that then made the same tool work, gives none. Cost: one pass over
the failures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from agenttrace.query.findings import Finding
from agenttrace.query.loaded_run import LoadedRun, is_nothing
from agenttrace.query.mended import is_mended
from agenttrace.query.places import frames_of, function_at, line_of, raised_at
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
    r"\bno (tool|function) (named |called )?\S"
    r"|(unknown|no such|nonexistent|undefined|unregistered|invalid|not a valid) (tool|function)\b"
    r"|\b(tool|function) .{0,80}(not found|does not exist|doesn't exist|not available|is not defined"
    r"|not a valid tool|is unknown|not registered)",
    re.IGNORECASE | re.DOTALL,
)
_TEXT_LIMIT = 200
_VOID = ("", "None", "null")
"""What a model is told of a tool that gives nothing."""


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
        rebuilt = None if at is None else _find_rebuilt(run, at, failure, row)
        if rebuilt is not None:
            found = _judge(run, rebuilt, failure, row, limits)
            if found is not None:
                yield replace(found, span_id=run.nodes[rebuilt].span_id)
            continue
        if at is not None and run.nodes[at].family in ("call", "turn"):
            node = run.nodes[at]
            if node.attempts >= limits.retry_attempts and node.failed_attempts >= limits.retry_attempts - 1:
                if at not in stormy:
                    stormy.add(at)
                    yield _storm(run, at, failure, row)
                continue
        if failure.fate == "retried" or (failure.cause_error_id in known and not failure.returned):
            continue  # what was raised from another failure is told with that one
        found = _judge(run, at, failure, row, limits)
        if found is not None:
            yield found


def _find_rebuilt(run: LoadedRun, at: int, failure: Failure, row: Event | None) -> int | None:
    """
    Give the call that a failure in an agent's own code is of: rebuilt from what the model was told.

    It ran between the turn that asked for it and the next, and a function of its name is on the way
    from where the exception was caught to where it was raised.
    """
    node = run.nodes[at]
    if node.family != "agent" or not _is_inside(row) or row is None:
        return None
    names = {function for _, _, function in frames_of(row)}
    ts_ns = _time(row, failure)
    found = [
        each
        for each in run.calls_of_agent.get(node.agent_id, [])
        if run.nodes[each].name in names
        and "rebuilt" in run.nodes[each].notes
        and run.nodes[each].start_ns <= ts_ns <= (run.nodes[each].end_ns or ts_ns)
    ]
    told = [each for each in found if failure.message and failure.message in str(run.output(run.nodes[each]))]
    empty = [each for each in found if is_nothing(run.output(run.nodes[each]))]
    # The one that is unlike what the tool gives otherwise.
    seen = run.outputs_of_rebuilt
    empty.sort(key=lambda each: seen[run.nodes[each].name][str(run.output(run.nodes[each]))])
    return next(iter([*told, *empty, *found]), None)


def _judge(
    run: LoadedRun, at: int | None, failure: Failure, row: Event | None, limits: Thresholds
) -> Finding | None:
    node = None if at is None else run.nodes[at]
    name = failure.tool_name or (node.name if node is not None and node.family != "event" else "the program")
    said = _say(failure)
    if _is_unknown_tool(failure):
        sentence = f"{name} was asked for, and there is no such tool: {said}"
        return _finding(run, "unknown_tool", 0.95, sentence, at, failure, row)
    if at is not None and is_mended(run, at, failure, limits):
        return None
    if failure.fate == "reported" and _is_inside(row) and (node is None or "rebuilt" not in node.notes):
        return None  # caught where it was raised, and told
    ignored = _ignored_subagent(run, failure)
    if ignored is not None:
        subagent, above = ignored
        sentence = f"{subagent.name} failed with {said}; {above.name} ended ok and told nobody"
        return _finding(
            run, "subagent_ignored", 0.9, sentence, run.by_span.get(subagent.span_id or ""), failure, row
        )
    if failure.returned and node is not None and node.family == "call":
        if failure.returned == "error_text" and len(failure.message) > limits.error_text_chars:
            return None
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
    if node is None or not _is_inside(row):
        return 0.9
    is_lookup = failure.error_type in _LOOKUPS
    if node.family == "agent":
        # The function that raised it caught it: it tries one thing before another, as programs do.
        return (0.3 if is_lookup else 0.4) if _is_own_fallback(failure) else 0.9
    if node.family != "call" or node.status != "ok":
        return 0.3 if is_lookup else 0.6
    given = run.output(node)
    if "rebuilt" in node.notes and run.outputs_of_rebuilt[node.name][str(given)] > 1:
        return 0.3 if is_lookup else 0.4  # it gave what it gives otherwise, too
    if not is_nothing(given):
        return 0.3 if is_lookup else 0.4  # it gave something all the same
    if "rebuilt" in node.notes and str(given).strip() in _VOID:
        return 0.3 if is_lookup else 0.4  # what a tool gives that gives nothing, or gave nothing at last
    if given is not None or (node.name, "rebuilt" in node.notes) in run.giving:
        return 0.8
    return 0.3 if is_lookup else 0.6  # it may be a tool that never gives anything


def _is_own_fallback(failure: Failure) -> bool:
    """Tell whether the function that caught it is the one that raised it."""
    raised, caught = function_at(failure.raised_at), function_at(failure.handled_at)
    return raised is not None and raised == caught


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
        rows=(failure.id,) if node is None else (failure.id, run.end_row(node), *run.handled_in(failure)),
        raised_at=raised_at(row) or line_of(failure.raised_at),
        handled_at=line_of(failure.handled_at),
        fate=failure.fate,
        ts_ns=_time(row, failure),
        # Of an open one nobody can say yet: a model may still be told, or would have been.
        is_told=failure.fate in ("reported", "retried", "open"),
    )


def _time(row: Event | None, failure: Failure) -> int:
    return row.ts_ns if row is not None and row.ts_ns is not None else failure.ts_ms * 1_000_000
