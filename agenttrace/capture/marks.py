"""
The mark that an exception object bears: which failure it is.

Owns the one attribute that we put on other people's exceptions. Invariant: a mark is a
pair of the failure's id and the spans of the operations around its origin; it passes
through pickling, and nothing that a class defines is run to read or to set it.
"""

from __future__ import annotations

from agenttrace.errors import count_loss

__all__ = ["Mark", "error_id_of", "mark_of", "remember", "unmark"]

Mark = tuple[str, tuple[str, ...]]
"""The failure's id, and the spans from the operation it left outwards; none while it left no operation."""

_ATTRIBUTE = "__agenttrace_error__"
_read = BaseException.__getattribute__


def mark_of(exc: BaseException) -> Mark | None:
    """Give the mark of *exc*, the very tuple, so that ``is`` tells two apart; None where it has none."""
    try:
        mark = _read(exc, "__dict__").get(_ATTRIBUTE)
    except Exception:
        return None
    return mark if isinstance(mark, tuple) and len(mark) == 2 else None


def error_id_of(exc: BaseException) -> str | None:
    """Give the id of the failure that *exc* is; None when nobody has seen it yet."""
    mark = mark_of(exc)
    return None if mark is None else mark[0]


def remember(exc: BaseException, error_id: str, spans: tuple[str, ...]) -> Mark | None:
    """Put the failure's identity on the exception object; None where that cannot be done."""
    mark = (error_id, spans)
    try:
        _read(exc, "__dict__")[_ATTRIBUTE] = mark
    except Exception:
        count_loss("capture.unmarkable_exception")
        return None
    return mark


def unmark(exc: BaseException) -> None:
    """Take the mark away again."""
    try:
        _read(exc, "__dict__").pop(_ATTRIBUTE, None)
    except Exception:
        count_loss("capture.unmarkable_exception")
