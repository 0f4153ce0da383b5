"""
The half of ``TraceStore`` that makes a database smaller: delete, clean up, prune.

Invariant: a running conversation keeps all of its events.
"""

from __future__ import annotations

from typing import TypeVar

from agenttrace import clock
from agenttrace.errors import ConfigError
from agenttrace.store import retention
from agenttrace.store.automatic import PRUNE, render_limits
from agenttrace.store.connection import StoreDatabase
from agenttrace.store.fulltext import forget_texts
from agenttrace.store.patience import patiently
from agenttrace.store.prune import Limits, Pruned, prune
from agenttrace.store.settings import DEFAULT_RETENTION_DAYS, RETENTION_DAYS, StoreSettings

__all__ = ["StoreUpkeep"]

Deleted = TypeVar("Deleted", bool, int)


class StoreUpkeep:
    """What deletes; who inherits says where the connections come from."""

    settings: StoreSettings

    def open_reader(self) -> StoreDatabase:
        """Give the connection that reads."""
        raise NotImplementedError

    def _writer(self) -> StoreDatabase:
        """Give the connection that writes."""
        raise NotImplementedError

    def delete(self, conversation_id: str) -> bool:
        """Delete a conversation with all its events; False when there is none."""
        is_gone = patiently(lambda: retention.delete_conversation(self._writer(), conversation_id))
        return self._forget(is_gone)

    def cleanup(self, retention_days: float | None = None) -> int:
        """
        Delete the events older than *retention_days*, and the conversations left empty by it.

        Args:
            retention_days: None takes the setting ``retention_days``, 30 at first.

        Returns:
            How many events were deleted. Running conversations keep all of theirs.

        Raises:
            ConfigError: It is no number of days.
        """
        value = (
            self.settings.get(RETENTION_DAYS, DEFAULT_RETENTION_DAYS)
            if retention_days is None
            else retention_days
        )
        days = retention.parse_retention_days(value)
        return self._forget(patiently(lambda: retention.delete_before(self._writer(), clock.now_ms(), days)))

    def prune(
        self,
        *,
        older_than_days: float | None = None,
        max_size_bytes: int | None = None,
        keep_failed: bool = False,
        dry_run: bool = False,
    ) -> Pruned:
        """
        Delete whole conversations, oldest first, and give the room back to the disk.

        Args:
            older_than_days: Those whose last event is older go; None: none for their age.
            max_size_bytes: While the database is larger, the oldest go; None: none for their size.
            keep_failed: Conversations that failed, were interrupted, or hold a failure that was
                swallowed or escaped stay.
            dry_run: Change nothing, and say what would go.

        Returns:
            ``Pruned(conversations, events, blobs, freed_bytes, size_bytes)``. Running conversations stay.

        Raises:
            ConfigError: A number is not allowed, or neither limit is given.
            StoreError: The database cannot be read or written.
        """
        limits = _build_limits(older_than_days, max_size_bytes, keep_failed)
        database = self.open_reader() if dry_run else self._writer()
        pruned = prune(database, clock.now_ms(), **limits._asdict(), dry_run=dry_run)
        if not dry_run:
            self._forget(pruned.events)
        return pruned

    def _forget(self, deleted: Deleted) -> Deleted:
        """Throw away what would still find the words of what was *deleted*; gives that back."""
        if deleted:
            forget_texts(self._writer().target)
        return deleted

    def prune_always(
        self,
        *,
        older_than_days: float | None = None,
        max_size_bytes: int | None = None,
        keep_failed: bool = False,
    ) -> None:
        """
        Have the processes that write to this database prune it by themselves, about once an hour.

        Args:
            older_than_days: As in ``prune``; without both limits nothing is pruned any more.
            max_size_bytes: As in ``prune``.
            keep_failed: As in ``prune``.

        Raises:
            ConfigError: A number is not allowed.
            StoreError: The database cannot be written.
        """
        if older_than_days is None and max_size_bytes is None:
            self.settings.pop(PRUNE, None)
            return
        self.settings[PRUNE] = render_limits(_build_limits(older_than_days, max_size_bytes, keep_failed))


def _build_limits(older_than_days: float | None, max_size_bytes: int | None, keep_failed: bool) -> Limits:
    if older_than_days is None and max_size_bytes is None:
        raise ConfigError("prune: give older_than_days, max_size_bytes or both.")
    days = None if older_than_days is None else retention.parse_retention_days(older_than_days)
    if max_size_bytes is not None and (isinstance(max_size_bytes, bool) or max_size_bytes < 0):
        raise ConfigError(f"max_size_bytes={max_size_bytes!r}: give a number of bytes, 0 or more.")
    older_than_ms = None if days is None else int(days * retention.MS_PER_DAY)
    return Limits(older_than_ms, None if max_size_bytes is None else int(max_size_bytes), keep_failed)
