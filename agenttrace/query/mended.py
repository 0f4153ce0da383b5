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
_SHORT = 4
_WHOLE = 8
"""Letters from which on it says something that one text has all of the other."""
_NUMBERS = re.compile(r"\d+")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def is_mended(run: LoadedRun, at: int, failure: Failure, limits: Thresholds) -> bool:
    """Tell whether the same was done well later: a call of which a model was told, a turn, a subagent."""
    if failure.fate == "escaped":
        return False
    node = run.nodes[at]
    closed = [run.nodes[one] for one in run.closed_with.get(failure.error_id or "", ())]
    outermost = closed[0] if closed and closed[0].family == "agent" else None
    if outermost is not None:
        later = [run.nodes[each] for each in run.operations_after(outermost, limits.mend_calls)]
        return any(
            each.family == "agent"
            and each.name == outermost.name
            and each.status == "ok"
            and each.payload_json == outermost.payload_json
            for each in later
        )
    if node.family == "turn":
        following = [run.nodes[each] for each in run.operations_after(node, 1)]
        return any(each.family == "turn" and each.status == "ok" for each in following)
    if failure.fate != "reported" or node.family != "call":
        return False
    wanted = _values(node)
    later = [run.nodes[each] for each in run.operations_after(node, limits.mend_calls)]
    calls = [each for each in later if each.family == "call"]
    return any(
        each.status == "ok"
        and _does_the_same(node, wanted, each, limits, is_next=place == 0 or _is_in_next_turn(node, each))
        for place, each in enumerate(calls)
    )


def _does_the_same(
    node: TreeNode, wanted: str, other: TreeNode, limits: Thresholds, *, is_next: bool
) -> bool:
    """Tell whether another call was made to do what one that failed should have done."""
    given = _values(other)
    if other.name != node.name:
        return wanted != "" and given == wanted
    if is_next and min(len(wanted), len(given)) < _SHORT:
        return True  # a number, a letter: another one is all that can be tried
    if _NUMBERS.findall(given) != _NUMBERS.findall(wanted):
        is_another = not is_next or _NUMBERS.sub("", given) == _NUMBERS.sub("", wanted)
        if is_another:
            return False  # another page, another job
    if is_next:
        return _common(wanted, given) >= limits.mend_next_likeness
    if min(len(wanted), len(given)) >= _WHOLE and _common(wanted, given) >= limits.mend_whole_likeness:
        return True
    return _likeness(wanted, given) >= limits.mend_likeness


def _is_in_next_turn(node: TreeNode, other: TreeNode) -> bool:
    """Tell whether a call was asked for by the model's turn that was told of the failure."""
    return node.turn is not None and other.turn == node.turn + 1


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
    pairs = _pairs(one), _pairs(other)
    both = len(pairs[0]) + len(pairs[1])
    return 2 * len(pairs[0] & pairs[1]) / both if both else 0.0


def _common(one: str, other: str) -> float:
    """Give the share of the shorter text's pairs of letters that the other has."""
    pairs = _pairs(one), _pairs(other)
    fewest = min(map(len, pairs))
    return len(pairs[0] & pairs[1]) / fewest if fewest else 1.0


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}
