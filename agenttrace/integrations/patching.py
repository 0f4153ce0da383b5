"""
Replace an attribute of a class, and put exactly the former one back.

Invariant: after ``undo`` the class's own ``__dict__`` is as before, unless somebody
patched over us; then ours stays in between and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Patch"]

_MISSING = object()


class Patch:
    """One replaced attribute."""

    def __init__(self, owner: Any, name: str, build: Callable[[Any], Any]) -> None:
        """
        Describe a replacement.

        Args:
            owner: A class or module.
            name: The attribute.
            build: Makes the replacement from the former value.
        """
        self._owner = owner
        self._name = name
        self._build = build
        self._former: Any = _MISSING
        self._ours: Any = None

    def apply(self) -> None:
        """Put the replacement in place; a second time does nothing."""
        if self._former is _MISSING:
            self._former = getattr(self._owner, self._name)
            self._ours = self._build(self._former)
            setattr(self._owner, self._name, self._ours)

    def undo(self) -> None:
        """Put the former value back, where ours still stands."""
        if self._former is not _MISSING:
            if getattr(self._owner, self._name) is self._ours:
                setattr(self._owner, self._name, self._former)
            self._former = _MISSING
