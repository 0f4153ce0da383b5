"""
Whole payloads that were too long for their rows, by the SHA-256 of their bytes.

Invariant: a body is JSON, or that JSON compressed (zlib), and which of them is told by its first
byte; its hash and its length are those of the JSON either way.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from agenttrace.store.connection import StoreDatabase

__all__ = ["Reads", "body_text", "read_blob", "read_body", "unpack"]

_ZLIB = b"\x78"
"""What a compressed body begins with; JSON never does."""
_UNPACKED_LIMIT_BYTES = 64 * 1024 * 1024
"""As much as ``max_blob_bytes`` allows: a body that says it is longer is not ours."""


class Reads(Protocol):
    """A connection, as far as it is read."""

    def execute(self, sql: str, params: Any = ..., /) -> Any:
        """Run one statement."""


_BODY = "SELECT body FROM payload_blobs WHERE sha256 = ?"


def unpack(body: bytes) -> bytes:
    """Give the JSON of a stored body; what cannot be read comes back as it is."""
    if body[:1] != _ZLIB:
        return body
    try:
        reader = zlib.decompressobj()
        whole = reader.decompress(body, _UNPACKED_LIMIT_BYTES)
    except zlib.error:
        return body
    return whole if reader.eof else body


def body_text(body: bytes | None) -> str | None:
    """Give the JSON of a stored body as text: ``agenttrace_body(body)`` in our own SQL."""
    return None if body is None else unpack(bytes(body)).decode("utf-8", "replace")


def read_body(connection: Reads, sha256: str) -> bytes | None:
    """Read the whole payload that a ``cut`` mark names, where the caller has the lock; None: not kept."""
    found = connection.execute(_BODY, (sha256,)).fetchone()
    return None if found is None else unpack(bytes(found[0]))


def read_blob(database: StoreDatabase, sha256: str) -> bytes | None:
    """Read the whole payload that a ``cut`` mark names; None when it was not kept."""
    with database.lock:
        return read_body(database, sha256)
