"""Numbered events whose text follows from their agent and number, so that a wrong one is seen (``law``)."""

from __future__ import annotations

from typing import Any

from tests.write.factory import build_body

__all__ = ["build_event", "text_of"]

_LARGE_CHARACTERS = 100_000


def text_of(agent: str, number: int) -> str:
    """Give the text of one event; an agent whose name ends in ``large`` has such that are cut in a row."""
    size = _LARGE_CHARACTERS if agent.endswith("large") else number * 37 % 400
    return f"{agent} {number} ".ljust(size, "x")


def build_event(agent: str, number: int, **columns: Any) -> bytes:
    """Build the body of a numbered event, as capture does."""
    return build_body(number, text_of(agent, number), agent_id=agent, **columns)
