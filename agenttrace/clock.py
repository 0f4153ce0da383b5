"""
One clock for every event: an anchor of wall time plus the monotonic clock.

Invariant: ``now_ns`` never goes back within a process, whatever is done to the
system's wall clock. ``resync`` follows the wall clock forward only (a laptop
that slept), and ``use`` puts another clock in place for tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["now_ms", "now_ns", "render_utc", "resync", "use"]

_RESYNC_AFTER_NS = 1_000_000_000

_anchor_ns = time.time_ns() - time.monotonic_ns()


def _system_now_ns() -> int:
    return _anchor_ns + time.monotonic_ns()


now_ns: Callable[[], int] = _system_now_ns
"""Nanoseconds since 1970-01-01 UTC; call it as ``clock.now_ns()`` so that ``use`` works."""


def now_ms() -> int:
    """Give ``now_ns`` in whole milliseconds."""
    return now_ns() // 1_000_000


def resync() -> None:
    """Move the anchor forward when the wall clock is more than 1 s ahead; never back."""
    global _anchor_ns
    wall_anchor_ns = time.time_ns() - time.monotonic_ns()
    if wall_anchor_ns - _anchor_ns > _RESYNC_AFTER_NS:
        _anchor_ns = wall_anchor_ns


def use(source: Callable[[], int] | None) -> Callable[[], int]:
    """
    Put *source* in place of the system clock; None puts the system clock back.

    Returns:
        The clock that stood before.
    """
    global now_ns
    previous = now_ns
    now_ns = source or _system_now_ns
    return previous


def render_utc(ts_ms: int) -> str:
    """Render milliseconds since 1970 as ``YYYY-MM-DD HH:MM:SS.fff`` UTC, as the views do."""
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{ts_ms % 1000:03d}"
