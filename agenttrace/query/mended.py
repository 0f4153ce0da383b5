"""
Was a failure mended? Whether the same was done well later: a call, a turn, or a subagent.

Invariant: a failure that ended the run is not mended. Cost: the next ``mend_calls`` calls of the agent.
"""

from __future__ import annotations

import re
from typing import Any

from agenttrace.query.loaded_run import LoadedRun
from agenttrace.query.thresholds import Thresholds
from agenttrace.query.tree import TreeNode, parse_payload
from agenttrace.store.rows import Failure

__all__ = ["is_mended"]

_TEXT_LIMIT = 200
_VALUES_LIMIT = 50
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def is_mended(run: LoadedRun, at: int, failure: Failure, limits: Thresholds) -> bool:
    """Tell whether the same was done well later: a call of which a model was told, a turn, a subagent."""
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
    if node.family == "turn":
        return _is_asked_anew(run, at)
    if failure.fate != "reported" or node.family != "call":
        return False
    wanted = _values(node)
    for later in run.calls_after(at, limits.mend_calls):
        other = run.nodes[later]
        least = limits.mend_likeness if other.name == node.name else 1.0
        if other.status == "ok" and _likeness(wanted, _values(other)) >= least:
            return True
    return False


def _is_asked_anew(run: LoadedRun, at: int) -> bool:
    """Tell whether the next thing the agent did after a turn was one that went well."""
    node = run.nodes[at]
    siblings = () if node.parent is None else run.nodes[node.parent].children
    later = [run.nodes[each] for each in siblings if run.nodes[each].start_ns > node.start_ns]
    later = [each for each in later if each.family != "event"]
    following = min(later, key=lambda each: (each.start_ns, each.row_id), default=None)
    return following is not None and following.family == "turn" and following.status == "ok"


def _values(node: TreeNode) -> str:
    """Give the values of a call's arguments as text, without their names."""
    found: list[str] = []
    waiting: list[Any] = [parse_payload(node.payload_json).get("arguments")]
    while waiting and len(found) < _VALUES_LIMIT:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)
        elif value is not None:
            found.append(str(value)[:_TEXT_LIMIT])
    return _BETWEEN_WORDS.sub(" ", " ".join(found)).strip().lower()


def _likeness(one: str, other: str) -> float:
    """Give the share of pairs of letters that two texts have in common, 1 for equal ones."""
    if one == other:
        return 1.0
    pairs = [{text[at : at + 2] for at in range(len(text) - 1)} for text in (one, other)]
    both = len(pairs[0]) + len(pairs[1])
    return 2 * len(pairs[0] & pairs[1]) / both if both else 0.0
