"""
Which way recording goes: through the C functions of ``_native``, or in Python alone.

Invariant: both ways do the same, byte for byte; they differ in speed only. The Python
way is taken where the C part was not compiled, and with ``AGENTTRACE_PURE=1``.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__all__ = ["FUNCTIONS", "REVISION", "describe"]

REVISION = 3
"""What ``_native`` must have been compiled from; a checkout may have moved on since."""


def _load() -> tuple[Any, str]:
    if os.environ.get("AGENTTRACE_PURE", "").strip().lower() in ("1", "true", "yes", "on"):
        return None, "AGENTTRACE_PURE is set"
    try:
        found: Any = import_module("agenttrace._native")
    except ImportError as exc:
        return None, f"not compiled ({exc})"
    if getattr(found, "REVISION", None) != REVISION:
        return None, "compiled from another version; install it again"
    return found, ""


FUNCTIONS, _reason = _load()
"""The module ``_native``; None where the Python way is taken."""


def describe() -> str:
    """Say which way is taken, for ``doctor``: ``native``, or ``pure Python`` and why."""
    return "native" if FUNCTIONS is not None else f"pure Python: {_reason}"
