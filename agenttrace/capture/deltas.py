"""
What streams in while a model answers: kept in a bounded number of rows, and as one text.

Invariant: what had arrived before an abort stays, in rows of about 500 characters or a quarter
of a second each; later rows are longer, so that 200 hold what is kept of a text, and minutes of a
slow one. Cost: one list append a piece, and two microseconds a row.
"""

from __future__ import annotations

from typing import Any

from agenttrace import clock
from agenttrace.capture.context import Operation
from agenttrace.capture.emit import emit, encode_value, object_of

__all__ = ["Deltas"]

_ROWS_LIMIT_COUNT = 200
_ROW_CHARS = 512
_ROW_NS = 250_000_000
_DOUBLES_EVERY_ROWS = 40
_KEPT_TEXT_CHARS = 262_144


class Deltas:
    """The pieces of one turn's answer."""

    def __init__(self, operation: Operation, columns: dict[str, Any]) -> None:
        """
        Keep none yet.

        Args:
            operation: The turn; its agent is known.
            columns: Of each row, beside the span.
        """
        self._operation = operation
        self._columns = columns
        self._first_ns: int | None = None
        self._text: list[str] = []
        self._text_chars = 0
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._rows = 0
        self._last_row_ns = 0

    @property
    def text(self) -> str | None:
        """All that came, up to 262,144 characters; None where no piece was a text."""
        return "".join(self._text) if self._text else None

    @property
    def first_chunk_ms(self) -> float | None:
        """How long the first piece took from the request; None where nothing came."""
        return None if self._first_ns is None else (self._first_ns - self._operation.started_ns) / 1_000_000

    def note_chunk(self) -> int:
        """Note that something came, whatever it holds; give the time."""
        now_ns = clock.now_ns()
        if self._first_ns is None:
            self._first_ns = self._last_row_ns = now_ns
        return now_ns

    def add(self, text: str) -> None:
        """Keep a piece of text; a row is written once there is enough for one."""
        now_ns = self.note_chunk()
        room_chars = _KEPT_TEXT_CHARS - self._text_chars
        if room_chars > 0 and text:
            self._text.append(text[:room_chars])
            self._text_chars += len(text)
        if self._rows >= _ROWS_LIMIT_COUNT:
            return  # the whole text still comes with the turn's end
        self._waiting.append(text)
        self._waiting_chars += len(text)
        scale = 1 << (self._rows // _DOUBLES_EVERY_ROWS)
        if self._waiting_chars >= _ROW_CHARS * scale or now_ns - self._last_row_ns >= _ROW_NS * scale:
            self._write_row(now_ns)

    def write_rest(self) -> None:
        """Write what waits for more, because no more comes."""
        if self._waiting_chars:
            self._write_row(clock.now_ns())

    def _write_row(self, now_ns: int) -> None:
        agent = self._operation.agent
        assert agent is not None, "a model turn has an agent"
        emit(
            "model_delta",
            agent,
            object_of(index=b"%d" % self._rows, text=encode_value("".join(self._waiting))),
            span_id=self._operation.span_id,
            parent_span_id=self._operation.parent_span_id,
            extra=self._columns,
            ts_ns=now_ns,
        )
        self._rows += 1
        self._waiting.clear()
        self._waiting_chars = 0
        self._last_row_ns = now_ns
