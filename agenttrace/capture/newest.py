"""
The newest messages of a chat that is too long to be recorded whole.

Invariant: what is kept stands behind what is left out, and everything left out is counted. Memory:
twice the room at most, while messages are added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from agenttrace.encode import codec

__all__ = ["Newest"]

_LEAST_ROOM_BYTES = 512
"""A message that must be cut to less than this is left out, with those before it."""


class Newest:
    """The newest of the encoded messages, as many as there is room for."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._encoded: deque[bytes] = deque()
        self._bytes = 0
        self._first = 0
        """The place of the first that is kept among all messages."""
        self.dropped_count = 0
        """Messages before those that are kept."""

    def add(self, encoded: bytes) -> None:
        """Append a message; the oldest go where all are more than twice the room."""
        self._encoded.append(encoded)
        self._bytes += len(encoded) + 1
        while self._bytes > 2 * self._limit_bytes and len(self._encoded) > 1:
            self._drop_first()

    def leave_out(self, count: int) -> None:
        """Leave out the first *count* messages of all, without counting them as dropped."""
        while self._first < count and self._encoded:
            self._drop_first()
        self.dropped_count += max(0, self._first - count)

    def _drop_first(self) -> None:
        self._bytes -= len(self._encoded.popleft()) + 1
        self._first += 1

    def fit(self, items: Sequence[Any]) -> list[bytes]:
        """
        Give what fits, oldest first.

        Args:
            items: The messages themselves: one that is too long is encoded anew, shorter.
        """
        if self._bytes <= self._limit_bytes:
            return list(self._encoded)
        left, kept = self._limit_bytes, []
        while self._encoded:
            encoded = self._encoded.pop()
            # None may take more than half of what is left: a page of output leaves the question readable.
            is_last = not self._encoded and not self.dropped_count
            room = left if is_last else left // 2
            if len(encoded) > room:
                if room < _LEAST_ROOM_BYTES:
                    self.dropped_count += 1
                    break
                encoded = codec.encode(items[self._first + len(self._encoded)], room)
            kept.append(encoded)
            left -= len(encoded) + 1
        self.dropped_count += len(self._encoded)
        return kept[::-1]
