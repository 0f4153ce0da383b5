"""
One finding of ``agenttrace doctor``: what, how bad, and what to do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Check"]


class Check(NamedTuple):
    """One line of the report."""

    name: str
    state: str
    """``ok``, ``info``, ``warn`` or ``bad``."""
    text: str
    data: Any = None
    """The same for programs."""
