"""
What is kept of the items that a generator yields: a count, a first-item time, a sample.

Invariant: the sample is bounded, whatever is yielded, and an item is encoded when
it passes, because the program may change it afterwards.
"""

from __future__ import annotations

from typing import Any

from agenttrace import clock
from agenttrace.capture.context import Operation
from agenttrace.capture.emit import object_of
from agenttrace.encode import codec
from agenttrace.errors import contain

__all__ = ["ItemSample"]

_SAMPLE_LIMIT_COUNT = 20
_SAMPLE_LIMIT_BYTES = 65_536
_ITEM_LIMIT_BYTES = 8_192
_ITEMS_NOT_KEPT = b'{"$agenttrace":"redacted","rule":"capture_result"}'


class ItemSample:
    """
    Count the items of one stream and keep the first few.

    Args:
        call: The operation that yields them.
        is_kept: False only counts them.
    """

    __slots__ = ("_call", "_first_item_ns", "_is_kept", "_items", "_items_count", "_kept_bytes")

    def __init__(self, call: Operation, is_kept: bool = True) -> None:
        self._call = call
        self._is_kept = is_kept
        self._items: list[bytes] = []
        self._items_count = 0
        self._kept_bytes = 0
        self._first_item_ns: int | None = None

    def add(self, item: Any) -> None:
        """Count *item*, and keep it while there is room."""
        if self._first_item_ns is None:
            self._first_item_ns = clock.now_ns()
        self._items_count += 1
        if not self._is_kept:
            return
        if len(self._items) >= _SAMPLE_LIMIT_COUNT or self._kept_bytes >= _SAMPLE_LIMIT_BYTES:
            return
        try:
            encoded = codec.encode(item, _ITEM_LIMIT_BYTES)
            self._items.append(encoded)
            self._kept_bytes += len(encoded)
        except Exception as exc:
            contain("capture.item", exc)

    def render(self) -> bytes:
        """
        Give ``,"stream":{items_count, first_item_ms, items}`` to put into a payload.

        ``items`` holds at most 20; when more passed, a mark says how many are missing.
        """
        items = list(self._items)
        missing = self._items_count - len(items)
        if missing and not self._is_kept:
            items.append(_ITEMS_NOT_KEPT)
        elif missing:
            items.append(b'{"$agenttrace":"cut","items":%d}' % missing)
        first_item_ms = b"null"
        if self._first_item_ns is not None:
            first_item_ms = b"%.3f" % ((self._first_item_ns - self._call.started_ns) / 1_000_000)
        return b',"stream":' + object_of(
            items_count=b"%d" % self._items_count,
            first_item_ms=first_item_ms,
            items=b"[" + b",".join(items) + b"]",
        )
