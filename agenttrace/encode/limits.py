"""
How far a walk over a value goes, and what one step of it may ask of the whole.

Invariant: a limit is a number; nothing here knows a type of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

__all__ = ["Limits", "Walk"]


class Limits(NamedTuple):
    """How far ``normalize`` walks."""

    depth: int = 100
    """Containers within containers; orjson itself stops at 254."""
    items: int = 100_000
    """Entries of one container."""
    string_bytes: int = 1 << 20
    """Characters of one text, and estimated bytes of one container once it has 512 entries."""
    total_bytes: int = 4 << 20
    """Estimated JSON bytes of the whole; a text counts as 64 at most."""
    text_bytes: int = 16 << 20
    """Characters of all texts together; when they are used up, each text keeps its first 64."""
    time_ms: float = 250.0
    """Longest walk; a single call into a user's mapping or ``__str__`` cannot be interrupted."""


class Walk(Protocol):
    """What a branch may ask of the walk it is part of."""

    limits: Limits
    left_bytes: int

    def walk(self, value: Any) -> Any:
        """Give the JSON value for *value*."""

    def sequence(self, items: Iterable[Any], total: int) -> list[Any]:
        """Walk *items* of *total* into a list."""

    def mapping(self, pairs: Iterable[tuple[Any, Any]], total: int) -> dict[str, Any]:
        """Walk *pairs* of *total* into an object."""

    def check_time(self) -> None:
        """End the walk when its time is over."""

    def text_limit(self) -> int:
        """Give how many characters of one text still fit."""
