"""
What a drainer sees of a ring: this process's own in its memory, or a dead one's in its file.

Invariant: what lies between tail and head does not change while it is read; only ``advance`` gives
it up.
"""

from __future__ import annotations

from typing import Protocol

from agenttrace.write.frames import Outside
from agenttrace.write.header import Shortage

__all__ = ["Source"]


class Source(Protocol):
    """A ring as the drainer sees it: this process's own, or a dead one's file."""

    ring_id: str

    @property
    def process_id(self) -> str:
        """Whose ring it is."""

    @property
    def head(self) -> int:
        """Where the last frame ends."""

    @property
    def tail(self) -> int:
        """Where the first frame begins that may not be stored."""

    def read(self, start: int, end: int) -> bytes:
        """Copy the stream between two places; may be shorter where the file is."""

    def advance(self, place: int) -> None:
        """Take note that everything before *place* is stored."""

    def dropped(self) -> dict[str, int]:
        """Give the drops by reason."""

    def failures(self) -> dict[str, int]:
        """Give what else went wrong in the process that lives, by place."""

    def shortage(self) -> Shortage | None:
        """Give the drops for want of room that no note has told of."""

    def tell(self, shortage: Shortage) -> None:
        """Take note that a note has told of them."""

    def read_outside(self, outside: Outside) -> bytes:
        """Give an event kept in a side file; ValueError where there is none."""

    def forget_outside(self, number: int) -> None:
        """Remove a side file whose event is stored."""
