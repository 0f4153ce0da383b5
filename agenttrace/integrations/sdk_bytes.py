"""
The bytes of an answer that the program reads itself, past the SDK's own parsing.

Owns the reading of server-sent events and of JSON from them. Invariants: never more than 8 MiB is
kept of a body and 1 MiB of a line; what is longer is counted and not read. Cost: one pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from agenttrace.errors import count_loss

__all__ = ["BodyBytes", "parse_whole"]

_BODY_LIMIT_BYTES = 8 * 1024 * 1024
_LINE_LIMIT_BYTES = 1024 * 1024
_TEXT_LIMIT_BYTES = 262_144


class BodyBytes:
    """What has come of one body."""

    def __init__(self, is_events: bool, decode: Callable[[bytes], bytes] | None) -> None:
        """
        Keep nothing yet.

        Args:
            is_events: It is made of server-sent events; else it is one JSON value.
            decode: Undoes the encoding of the whole; None where there is none.
        """
        self._is_events = is_events
        self._decode = decode
        self._kept = bytearray()
        self._line_bytes = 0
        self._is_too_long = False
        self.is_complete = False
        """All bytes have come."""

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Take *chunk*; give the events that are whole now."""
        if self._is_events and self._decode is None:
            yield from self._feed_lines(chunk)
        elif len(self._kept) + len(chunk) > _BODY_LIMIT_BYTES:
            self._lose()
        elif not self._is_too_long:
            self._kept += chunk

    def _lose(self) -> None:
        if not self._is_too_long:
            count_loss("integrations.sdk.body_too_long")
        self._is_too_long = True
        self._kept.clear()

    def _feed_lines(self, chunk: bytes) -> Iterator[Any]:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if not self._is_too_long:
                yield from _parse_line(bytes(self._kept) + chunk[start:end])
            self._is_too_long = False
            self._kept.clear()
            start = end + 1
        if len(self._kept) + len(chunk) - start > _LINE_LIMIT_BYTES:
            self._lose()
        else:
            self._kept += chunk[start:]

    def rest(self) -> Iterator[Any]:
        """Give, at the end, what is left: the last event, or the one value, if it is whole."""
        kept = bytes(self._kept)
        self._kept.clear()
        if not kept or self._is_too_long:
            return
        if self._decode is not None:
            kept = self._decode(kept)
        if self._is_events:
            for line in kept.split(b"\n"):
                yield from _parse_line(line)
        else:
            yield from parse_whole(kept if self.is_complete else b"")


def parse_whole(content: bytes) -> Iterator[Any]:
    """Give the JSON value that *content* is, else its text, of 262,144 bytes at most; nothing for none."""
    try:
        yield json.loads(content)
    except ValueError:
        if content:
            yield content[:_TEXT_LIMIT_BYTES].decode("utf-8", "replace")


def _parse_line(line: bytes) -> Iterator[Any]:
    """Give the JSON of one ``data:`` line; providers send each event in one."""
    line = line.strip()
    if not line.startswith(b"data:") or line == b"data: [DONE]":
        return
    try:
        yield json.loads(line[5:])
    except ValueError:
        count_loss("integrations.sdk.event_unreadable")
