"""
Events and trees as plain values, for JSON: columns by their names, payloads parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agenttrace.query.tree import TreeNode, parse_payload

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["event_to_data", "node_to_data"]


def node_to_data(at: int, node: TreeNode) -> dict[str, Any]:
    """Give a node: its index, its place, and its payload parsed."""
    data = {"index": at, **asdict(node)}
    data["payload"] = parse_payload(data.pop("payload_json"))
    return data


def event_to_data(event: Event, read_whole: Callable[[Event], Any] | None = None) -> dict[str, Any]:
    """Give an event: its columns, and its payload parsed; with *read_whole* as that gives it."""
    data = asdict(event)
    del data["payload_json"]
    data["payload"] = event.payload if read_whole is None else read_whole(event)
    return data
