"""
Keys of model providers that a strict replay lends to a program, which has none and needs none.

SDKs want a key as a client is made, long before a request. Invariants: a key that is there stays; one is
lent only for providers whose answers are given back, and only while nothing can be sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["LENT_KEY", "LentKeys"]

LENT_KEY = "lent-by-agenttrace-replay"
"""What stands in the environment; it is no provider's key."""

_NAMES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


class LentKeys:
    """Lends keys from ``lend`` to ``take_back``."""

    def __init__(self, providers: Iterable[str | None]) -> None:
        self._names = sorted({_NAMES[one] for one in providers if one in _NAMES})
        self._lent: list[str] = []

    def lend(self) -> None:
        """Put a key into the environment wherever there is none."""
        for name in self._names:
            if name not in os.environ:
                os.environ[name] = LENT_KEY
                self._lent.append(name)

    def take_back(self) -> None:
        """Take out what was lent, where it still stands."""
        while self._lent:
            name = self._lent.pop()
            if os.environ.get(name) == LENT_KEY:
                del os.environ[name]
