"""
Findings from calls, turns and agents that need no failure: interrupted, dropped, looping, cut off, empty.

Invariant: what an attempt at one call is, is never taken for a loop. Cost: one pass over the nodes
each, and one over the calls of each agent for every length of a cycle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from agenttrace.query.findings import Finding
from agenttrace.query.loaded_run import LoadedRun
from agenttrace.query.text import preview, render_count
from agenttrace.query.thresholds import Thresholds
from agenttrace.query.tree import TreeNode, parse_payload

__all__ = ["find_calls"]

_CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "token_limit"})
_BROKEN = {"cancelled": 0.7, "stopped_early": 0.6, "error": 0.9, "interrupted": 0.9}
"""How sure it is that a stream that ended so was wanted whole."""
_GONE = ("interrupted", "out of contact")
_ERROR_TEXT = re.compile(
    r"\s*((error|exception|failure|fatal|failed)\s*[:!]|traceback \(most recent|failed to\b|unable to\b"
    r"|(i'?m|i am) (very )?sorry\b|sorry,|i (cannot|can't|could not|couldn't|am unable|was unable)\b"
    r"|[A-Z]\w*(Error|Exception|Timeout): )",
    re.IGNORECASE,
)
_NOTHING: tuple[Any, ...] = ("", [], {})


def find_calls(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    """Find what went wrong without an exception."""
    yield from _interrupted(run)
    yield from _dropped(run)
    yield from _cut_off(run)
    yield from _loops(run, limits)
    yield from _empty_answers(run, limits)
    yield from _switches(run, limits)


def _finding(
    run: LoadedRun,
    kind: str,
    confidence: float,
    sentence: str,
    at: int,
    rows: Sequence[int],
    *,
    ts_ns: int | None = None,
    is_told: bool = False,
) -> Finding:
    node = run.nodes[at]
    return Finding(
        kind=kind,
        confidence=confidence,
        sentence=sentence,
        agent=run.path(at),
        span_id=node.span_id,
        error_id=node.error_id,
        rows=tuple(dict.fromkeys(rows)),
        raised_at=None,
        handled_at=None,
        fate=None,
        ts_ns=ts_ns if ts_ns is not None else node.end_ns or node.start_ns,
        is_told=is_told,
    )


def _interrupted(run: LoadedRun) -> Iterator[Finding]:
    """Find what was open innermost: calls, or else turns, or else agents; the one opened last first."""
    gone = [
        at
        for at, node in enumerate(run.nodes)
        if node.status in _GONE and not any(run.nodes[child].status in _GONE for child in node.children)
    ]
    family = next(
        (each for each in ("call", "turn", "agent") if any(run.nodes[at].family == each for at in gone)), ""
    )
    gone = [at for at in gone if run.nodes[at].family == family]
    gone.sort(key=lambda at: (run.nodes[at].start_ns, run.nodes[at].row_id), reverse=True)
    ended_ns = max((run.nodes[at].end_ns or run.nodes[at].start_ns for at in gone), default=0)
    for place, at in enumerate(gone):
        node = run.nodes[at]
        sentence = f"{_name(node)} was still open when its process died"
        if node.status != "interrupted":
            sentence = f"{_name(node)} is open, and nobody is seen who could still run it"
        rows = (run.end_row(node), node.row_id)
        yield _finding(run, "interrupted", 0.95, sentence, at, rows, ts_ns=ended_ns + place)


def _name(node: TreeNode) -> str:
    return f"the turn of {node.name}" if node.family == "turn" else node.name


def _dropped(run: LoadedRun) -> Iterator[Finding]:
    for event in run.events:
        if event.kind != "result_dropped" or event.call_id is None:
            continue
        at = run.by_call.get((event.agent_id, event.call_id), run.by_span.get(event.parent_span_id or ""))
        if at is None:
            continue
        node = run.nodes[at]
        reason = parse_payload(event.payload_json).get("reason")
        tail = f": {reason}" if isinstance(reason, str) and reason else ""
        sentence = f"the model was never told what {node.name} gave{tail}"
        yield _finding(run, "dropped_result", 0.9, sentence, at, (event.id, run.end_row(node)))


def _cut_off(run: LoadedRun) -> Iterator[Finding]:
    for at, node in enumerate(run.nodes):
        if node.family != "turn" or node.span_id is None:
            continue
        reason = run.finish_reasons.get(node.span_id, "")
        row = run.end_row(node)
        if reason.lower().rpartition(".")[2] in _CUT_OFF:
            sentence = f"the answer of {node.name} was cut off by its limit of tokens ({reason})"
            yield _finding(run, "truncated", 0.9, sentence, at, (row,))
        elif node.status in _BROKEN and node.span_id in run.streamed:
            how = {"stopped_early": "was left", "error": "broke"}.get(node.status, f"was {node.status}")
            sentence = f"the stream of {node.name} {how} before it ended"
            yield _finding(run, "truncated", _BROKEN[node.status], sentence, at, (row,))


# Loops


def _loops(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    for of_agent in run.calls_of_agent.values():
        calls = [at for at in of_agent if run.nodes[at].attempts == 1 and run.nodes[at].status == "ok"]
        found = _longest_loop(run, calls, limits)
        if found is not None:
            yield found


def _longest_loop(run: LoadedRun, calls: list[int], limits: Thresholds) -> Finding | None:
    """Look for what is repeated with the same results, one call in a row first, then ever longer cycles."""
    marks = [(run.nodes[at].name, run.nodes[at].payload_json) for at in calls]
    for length in range(1, limits.cycle_calls + 1):
        rounds = limits.loop_calls if length == 1 else limits.cycle_rounds
        since = 0
        for place in range(length, len(calls) + 1):
            if place < len(calls) and marks[place] == marks[place - length]:
                continue
            first, count = since, place - since
            since = place - length + 1
            if count < rounds * length or not _is_same_each_time(run, calls[first:place], length):
                continue
            return _loop(run, calls[first:place], length)
    return None


def _is_same_each_time(run: LoadedRun, calls: list[int], length: int) -> bool:
    """Tell whether each round gave what the round before gave: waiting for something to change is no loop."""
    results = [getattr(run.ends.get(run.nodes[at].span_id or ""), "payload_json", None) for at in calls]
    return all(results[place] == results[place - length] for place in range(length, len(results)))


def _loop(run: LoadedRun, calls: list[int], length: int) -> Finding:
    names = " and ".join(dict.fromkeys(run.nodes[at].name for at in calls[:length]))
    times = render_count(len(calls) // length)
    sentence = f"{names} was called {times} times with the same arguments, and gave the same each time"
    if length > 1:
        sentence = f"{names} were called in turn {times} times, with the same arguments and results"
    rows = [run.nodes[at].row_id for at in (calls[0], calls[-1])]
    first = run.nodes[calls[0]]
    return _finding(run, "loop", 0.8, sentence, calls[0], rows, ts_ns=first.end_ns or first.start_ns)


# Agents


def _empty_answers(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    subagents = [
        (at, node, run.output(node))
        for at, node in enumerate(run.nodes)
        if node.family == "agent" and run.owner(at) is not None and node.status == "ok"
    ]
    answering = {node.name for _, node, output in subagents if output is not None and output not in _NOTHING}
    for at, node, output in subagents:
        text = output.strip() if isinstance(output, str) else output
        rows = (run.end_row(node), node.row_id)
        if text is None or text in _NOTHING:
            before = run.outputs_before(node.name, limits.habit_runs)
            empty = sum(each is None or each in _NOTHING for each in before)
            is_known = len(before) >= limits.history_count
            if is_known and empty >= limits.habit_share * len(before):
                continue  # it often answers nothing, and rightly so
            if text is None and not is_known and node.name not in answering:
                continue  # it may be one that never answers
            sentence = f"{node.name} ended ok and answered nothing"
            yield _finding(run, "empty_answer", 0.8, sentence, at, rows)
        elif isinstance(text, str) and len(text) <= limits.error_text_chars and _ERROR_TEXT.match(text):
            sentence = f"{node.name} ended ok, and its answer is an error: {preview(text, 120)}"
            yield _finding(run, "empty_answer", 0.7, sentence, at, rows)


def _switches(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    seen: set[str] = set()
    habits: dict[str, list[set[str]]] = {}
    for event in sorted(run.events, key=lambda each: each.id):
        if event.kind != "model_switched" or event.agent_id in seen:
            continue
        payload = parse_payload(event.payload_json)
        at = run.by_span.get(event.span_id or "")
        if payload.get("reason") or at is None:
            continue
        models = {payload.get("from_model"), payload.get("to_model")}
        if event.agent_name is not None:
            before = habits.get(event.agent_name)
            if before is None:
                before = habits[event.agent_name] = run.models_before(event.agent_name, limits.habit_runs)
            both = sum(models <= each for each in before)
            if both >= limits.history_count * limits.habit_share and both >= limits.habit_share * len(before):
                continue  # it asks both by design
        seen.add(event.agent_id)
        sentence = (
            f"{event.agent_name or event.agent_id} went on with {payload.get('to_model')} "
            f"instead of {payload.get('from_model')}, and no reason is recorded"
        )
        ts_ns = event.ts_ns if event.ts_ns is not None else event.ts_ms * 1_000_000
        yield _finding(run, "model_switched", 0.6, sentence, at, (event.id,), ts_ns=ts_ns, is_told=True)
