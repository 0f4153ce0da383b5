"""
What every scope's handle shares: ``async with`` does what ``with`` does.

Invariant: entering and leaving a scope never waits, so its two forms are one.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["ScopeHandle"]


class ScopeHandle:
    """Base of the handles that ``agent_scope``, ``tool_scope`` and the like give."""

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)
