"""
Follow stamina: every attempt of ``retry``, ``retry_context`` and the retrying callers.

stamina is built on tenacity, whose steps are seen in ``integrations.tenacity``; nothing of
stamina's own is replaced, so its hooks, its test mode and its instrumentation are untouched.
"""

from __future__ import annotations

from agenttrace.integrations import tenacity

__all__ = ["install", "uninstall"]


def install() -> None:
    """Follow stamina."""
    tenacity.follow("stamina")


def uninstall() -> None:
    """Leave stamina alone."""
    tenacity.unfollow("stamina")
