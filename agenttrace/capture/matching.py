"""
Whether a traced call is the one that a model asked for: equal arguments, as JSON.

Pure. Invariants: the order of members makes no difference, and ``true`` is no ``1``; a function may
have added members (its defaults, what the program passes on beside), but lacks none; what was not
recorded as it was (redacted, cut) stands for anything. Cost: parsing, and one walk over what was asked.
"""

from __future__ import annotations

from typing import Any

from agenttrace.events import MARK

__all__ = ["ANYTHING", "MatchQuality", "compare_arguments"]

ANYTHING = b'{"%s":"redacted"}' % MARK.encode()
"""Arguments that are not known, as JSON."""

MatchQuality = int
"""2 equal, 1 equal but for what was added or not recorded, 0 other arguments."""

_DEPTH_LIMIT_COUNT = 100


def compare_arguments(asked: Any, traced: Any) -> MatchQuality:
    """
    Tell how well a call's arguments fit those that were asked for.

    Args:
        asked: Parsed JSON.
        traced: Parsed JSON, by parameter name; None where they are not known.
    """
    if traced is None or _is_mark(traced):
        return 1
    if _is_same(asked, traced, False, 0):
        return 2
    if _is_same(asked, traced, True, 0):
        return 1
    if type(asked) is dict and type(traced) is dict:
        for name, value in traced.items():
            # Given as one mapping or model, or by ``**kwargs``.
            if type(value) is dict and name not in asked and _is_same(asked, value, True, 0):
                return 1
    return 0


def _is_mark(value: Any) -> bool:
    return type(value) is dict and type(value.get(MARK)) is str


def _is_same(asked: Any, traced: Any, may_add: bool, depth: int) -> bool:
    if depth > _DEPTH_LIMIT_COUNT:
        return False
    if _is_mark(traced) or _is_mark(asked):
        return may_add
    kind = type(asked)
    if kind is dict:
        if type(traced) is not dict or (not may_add and len(asked) != len(traced)):
            return False
        return all(
            name in traced and _is_same(each, traced[name], may_add, depth + 1)
            for name, each in asked.items()
        )
    if kind is list:
        return (
            type(traced) is list
            and len(asked) == len(traced)
            and all(_is_same(*pair, may_add, depth + 1) for pair in zip(asked, traced, strict=True))
        )
    if kind is bool or type(traced) is bool:
        return kind is type(traced) and bool(asked == traced)
    return bool(asked == traced)
