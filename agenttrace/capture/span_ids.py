"""
Span ids: 8 hex digits of the process, then 8 of a counter.

Invariant: a counter beyond 32 bits gives a longer id, never one that was given before.
Cost: 0.2 µs in Python, 0.05 in C.
"""

from __future__ import annotations

from collections.abc import Callable

from agenttrace import native

__all__ = ["span_id", "span_id_in_python"]

span_id_in_python: Callable[[str, int], str] = "{}{:08x}".format
"""``span_id_in_python(prefix, number)``; a method of a text, so that no frame of ours is made."""

span_id: Callable[[str, int], str] = (
    span_id_in_python if native.FUNCTIONS is None else native.FUNCTIONS.span_id
)
