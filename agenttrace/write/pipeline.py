"""
From a frame to a row: decode, redact, cut.

Invariant: what leaves here is redacted by the rules of the ring that it came from,
payload and every text column, and within the ring's limits; so nothing unredacted
reaches a disk, whoever drains the ring.

Cost: the columns' texts repeat, so their redaction is remembered; the payload's is
what the rules cost.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any

from agenttrace import prices
from agenttrace.encode import codec
from agenttrace.encode.newest import cut_newest
from agenttrace.encode.redact import Rules
from agenttrace.encode.truncate import cut_payload
from agenttrace.events import (
    H_AGENT_ID,
    H_AGENT_NAME,
    H_CALL_ID,
    H_CONVERSATION_ID,
    H_DURATION_MS,
    H_ERROR_ID,
    H_ERROR_TYPE,
    H_EXTRA,
    H_KIND,
    H_PARENT_AGENT_ID,
    H_PARENT_SPAN_ID,
    H_SPAN_ID,
    H_STATUS,
    H_TOOL_NAME,
    H_TS_NS,
)
from agenttrace.write.texts import Texts

if TYPE_CHECKING:
    from agenttrace.store.batch import Record

__all__ = ["Pipeline", "hash_blob"]

_TEXT_COLUMNS = (
    H_KIND,
    H_CONVERSATION_ID,
    H_AGENT_ID,
    H_AGENT_NAME,
    H_PARENT_AGENT_ID,
    H_TOOL_NAME,
    H_STATUS,
    H_CALL_ID,
    H_ERROR_TYPE,
)
_ID_COLUMNS = (H_SPAN_ID, H_PARENT_SPAN_ID, H_ERROR_ID)
_ID_DIGITS = 16
_REMEMBERED = 4096
_PART_BYTES = 2047
_HEADER_ITEMS = H_EXTRA + 1
_TURN_HEAD_BYTES = 512
"""What stands in the row of a model's turn whose whole is beside it: a head to read, since both take room."""


class Pipeline:
    """Make rows of one ring's frames; used by one thread at a time."""

    def __init__(self, rules: Rules, max_payload_bytes: int = 4096, max_blob_bytes: int = 262_144) -> None:
        from agenttrace.store.batch import Record  # late: brings peewee and sqlite3 with it

        self._record = Record
        self._rules = rules
        self._max_payload_bytes = max_payload_bytes
        self._max_blob_bytes = max_blob_bytes
        self._redacted: dict[str, str] = {}
        self._texts = Texts()

    def forget(self) -> None:
        """Let what comes name nothing that came before: the database that had it has gone."""
        self._texts.forget()

    def prepare(self, body: bytes, event_id: str) -> Record:
        """
        Make the row of one event.

        Raises:
            ValueError: *body* is no event.
        """
        header, payload = codec.decode_body(body)
        if len(header) != _HEADER_ITEMS:
            raise ValueError(f"a frame's header has {_HEADER_ITEMS} items, not {len(header)}")
        redacted = self._redacted
        for column in _TEXT_COLUMNS:
            text = header[column]
            if text is not None:
                known = redacted.get(text)
                header[column] = self._redact(text) if known is None else known
        for column in _ID_COLUMNS:
            text = header[column]
            if text is not None and not _is_id(text):
                header[column] = self._redact(text)
        extra = header[H_EXTRA]
        if extra:
            for name, value in extra.items():
                if isinstance(value, str):
                    extra[name] = self._redact(value)
            if header[H_KIND] == "model_turn" and extra.get("cost_usd") is None:
                payload = _add_cost(header, extra, payload)
        payload = self._rules.redact_payload(payload)
        blob = packed = None
        kind = header[H_KIND]
        if kind == "model_call" or kind == "model_turn":
            payload, blob = self._keep_turn(kind, header, payload)
            packed = None if blob is None else zlib.compress(blob[1])
        elif len(payload) > self._max_payload_bytes:
            payload, blob = self._cut(payload)
        # Past the constructor, which is Python code: half the cost.
        return tuple.__new__(self._record, (header, payload, event_id, blob, packed))

    def _redact(self, value: Any) -> str:
        text: str = value if isinstance(value, str) else str(value)
        known = self._redacted.get(text)
        if known is not None:
            return known
        if len(self._redacted) >= _REMEMBERED:
            self._redacted.clear()
        found = self._redacted[text] = self._rules.redact_text(text)
        return found

    def _cut(self, payload: bytes) -> tuple[bytes, tuple[str, bytes] | None]:
        """Cut *payload* to a row's limit, and give what is kept of it beside the row."""
        if self._max_blob_bytes <= 0:
            return cut_payload(payload, self._max_payload_bytes, None), None
        kept = payload
        if len(kept) > self._max_blob_bytes:
            kept = cut_payload(payload, self._max_blob_bytes, None)
        digest = hash_blob(kept)
        return cut_payload(payload, self._max_payload_bytes, digest), (digest, kept)

    def _keep_turn(
        self, kind: str, header: list[Any], payload: bytes
    ) -> tuple[bytes, tuple[str, bytes] | None]:
        """Name what is stored already, and keep the rest: in the row if it fits, else whole beside it."""
        span_id = header[H_SPAN_ID]
        learned = None
        if span_id is not None:
            payload, learned = self._texts.shorten(kind, header[H_CONVERSATION_ID], span_id, payload)
        cut = cut_newest if kind == "model_call" else cut_payload
        kept, blob = payload, None
        if len(payload) > self._max_payload_bytes:
            if self._max_blob_bytes > 0:
                kept = cut(payload, self._max_blob_bytes, None)
                blob = (hash_blob(kept), kept)
                row = cut(payload, min(self._max_payload_bytes, _TURN_HEAD_BYTES), blob[0])
            else:
                kept = row = cut(payload, self._max_payload_bytes, None)
        else:
            row = payload
        if learned and kept is payload:
            self._texts.learn(learned)
        return row, blob


def _add_cost(header: list[Any], extra: dict[str, Any], payload: bytes) -> bytes:
    """Price a model turn that came without its cost, and say by which table."""
    if "input_tokens" not in extra and "output_tokens" not in extra:
        return payload
    try:
        said = codec.loads(payload) if b'"usage"' in payload or b'"service_tier"' in payload else {}
        at_ns = header[H_TS_NS] - int((header[H_DURATION_MS] or 0) * 1_000_000)
    except (ValueError, TypeError):
        return payload
    price = prices.price_turn(
        extra.get("model"),
        extra.get("provider"),
        extra,
        usage=said.get("usage"),
        service_tier=said.get("service_tier"),
        at_ns=at_ns,
    )
    if price is None:
        return payload
    extra["cost_usd"] = float(price.cost_usd)
    separator = b"" if payload == b"{}" else b","
    return payload[:-1] + separator + b'"priced_by":' + codec.dumps(price.priced_by) + b"}"


def _is_id(text: Any) -> bool:
    """Tell an id of ours, of which each event has others: it is hex, so it hides nothing."""
    try:
        return len(text) == _ID_DIGITS and int(text, 16) >= 0
    except (TypeError, ValueError):
        return False


def hash_blob(body: bytes) -> str:
    """Give the SHA-256 of *body* in parts so small that the GIL is not given up for each."""
    digest = hashlib.sha256()
    parts = memoryview(body)
    for start in range(0, len(body), _PART_BYTES):
        digest.update(parts[start : start + _PART_BYTES])
    return digest.hexdigest()
