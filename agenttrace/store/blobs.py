"""
Whole payloads that were too long for their rows, by the SHA-256 of their bytes.
"""

from __future__ import annotations

from agenttrace.store.connection import StoreDatabase

__all__ = ["read_blob"]


def read_blob(database: StoreDatabase, sha256: str) -> bytes | None:
    """Read the whole payload that a ``cut`` mark names; None when it was not kept."""
    with database.lock:
        found = database.execute("SELECT body FROM payload_blobs WHERE sha256 = ?", (sha256,)).fetchone()
    return None if found is None else bytes(found[0])
