"""
Errors that people asked for, and the guard that keeps the others away from them.

Asked-for work (queries, imports, the command line) raises this tree:

    AgentTraceError
    ├── ConfigError               a setting has a value that is not allowed
    ├── NotFound                  no conversation, agent or event has that id
    ├── StoreError
    │   ├── SchemaTooNew          the database was written by a newer agenttrace
    │   ├── RingTaken             another process has drained this ring
    │   └── StoreUnavailable      no database can be reached there
    │       ├── StoreMissing      there is no file yet
    │       ├── StoreCorrupt      a file is there, and it is not ours or not whole
    │       └── StoreBusy         another process holds the lock; try again
    ├── FormatError
    │   ├── UnknownFormat
    │   └── MalformedRecord
    ├── PatchError
    └── ReplayError               what a replay should give back was not recorded, or not kept

Recording is uninvited work: what fails there is counted in ``LOSSES``, logged at
most once a minute per place, and raised only when ``AGENTTRACE_STRICT=1``.
"""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType

__all__ = [
    "LOSSES",
    "AgentTraceError",
    "ConfigError",
    "FormatError",
    "MalformedRecord",
    "NotFound",
    "PatchError",
    "ReplayError",
    "RingTaken",
    "SchemaTooNew",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreMissing",
    "StoreUnavailable",
    "UnknownFormat",
    "contain",
    "contained",
    "count_loss",
    "is_strict",
]

_LOG_EVERY_S = 60.0

LOSSES: dict[str, int] = {}
"""How often each place failed or dropped something in this process, by name."""

_logged_at_s: dict[str, float] = {}


class AgentTraceError(Exception):
    """Stand at the root of every error that this package raises on purpose."""


class ConfigError(AgentTraceError):
    """Say which setting has which value, and what is allowed there."""


class NotFound(AgentTraceError, LookupError):
    """Say which id is unknown, with the nearest ids that exist in ``nearest``."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class StoreError(AgentTraceError):
    """Say what is wrong with the database, and where it is."""


class SchemaTooNew(StoreError):
    """Refuse a database that a newer agenttrace has migrated."""


class RingTaken(StoreError):
    """Tell a drainer that another one has moved this ring's position."""


class StoreUnavailable(StoreError):
    """Say that the database cannot be opened, read or written now."""


class StoreMissing(StoreUnavailable):
    """Say that there is no database at the path."""


class StoreCorrupt(StoreUnavailable):
    """Say that the file at the path is not an intact agenttrace database."""


class StoreBusy(StoreUnavailable):
    """Say that another process holds the lock; nothing was written."""


class FormatError(AgentTraceError):
    """Say that outside data could not be read or written."""


class UnknownFormat(FormatError):
    """Say which format was asked for, and which ones exist."""


class MalformedRecord(FormatError):
    """Say which record of a file is broken, and why."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class PatchError(AgentTraceError):
    """Say that a patch text could not be parsed."""


class ReplayError(AgentTraceError):
    """Say what a replay was asked for and cannot give, and what was recorded that is nearest."""


def is_strict() -> bool:
    """Tell whether failures of recording are raised (``AGENTTRACE_STRICT=1``)."""
    return os.environ.get("AGENTTRACE_STRICT", "").strip().lower() in {"1", "true", "yes", "on"}


def count_loss(reason: str, count: int = 1) -> None:
    """Add *count* to the losses named *reason*; a lost race here undercounts by one at most."""
    LOSSES[reason] = LOSSES.get(reason, 0) + count


def contain(place: str, exc: BaseException) -> None:
    """
    Count and log a failure of recording, instead of letting it reach user code.

    Args:
        place: Dotted name of where it happened, such as ``capture.tool_call``.
        exc: What was raised there.

    Raises:
        BaseException: *exc* itself, only when ``AGENTTRACE_STRICT=1``.
    """
    count_loss(place)
    if is_strict():
        raise exc
    now_s = time.monotonic()
    if now_s - _logged_at_s.get(place, -_LOG_EVERY_S) < _LOG_EVERY_S:
        return
    _logged_at_s[place] = now_s
    try:
        logging.getLogger("agenttrace").warning(
            "recording failed in %s (%s: %.200s); the program is not affected; "
            "`agenttrace doctor` shows the counts",
            place,
            type(exc).__name__,
            _describe(exc),
        )
    except Exception:
        count_loss("errors.logging")


def _describe(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return "<no message>"


class contained:
    """
    Guard a block of recording: an ``Exception`` is counted and stays inside.

    KeyboardInterrupt, SystemExit, cancellation and GeneratorExit pass.
    """

    __slots__ = ("place",)

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None or not isinstance(exc, Exception):
            return False
        contain(self.place, exc)
        return True
