"""
Stand in front of a function that others may stand in front of, too.

Invariant: once taken back, ours is gone where it was the last, and elsewhere only passes on; it
never comes to life again, so that one put in front of it later records once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agenttrace.integrations.patching import Patch

__all__ = ["Hook"]


class Hook(Patch):
    """One function that ours stands in front of."""

    def __init__(
        self, owner: Any, name: str, build: Callable[[Callable[..., Any], list[bool]], Callable[..., Any]]
    ) -> None:
        """
        Describe where ours stands.

        Args:
            owner: A class or module.
            name: The attribute.
            build: Makes ours from the former one and a list, which is empty once ours is taken back.
        """
        self._alive: list[bool] = []
        super().__init__(owner, name, lambda former: build(former, self._alive))

    def apply(self) -> None:
        """Stand in front of what stands there; a second time does nothing."""
        if not self._alive:
            self._alive = [True]
            super().apply()

    def undo(self) -> None:
        """Put the former one back, where ours still stands; let ours only pass on elsewhere."""
        self._alive.clear()
        super().undo()
