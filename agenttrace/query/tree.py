"""
Events in any order to one tree of agents, calls and turns.

Invariants: every event that makes a node is in the tree exactly once, whatever is
missing, doubled, orphaned or cyclic; ``build_tree(permuted(events))`` is equal to
``build_tree(events)``; nothing here recurses, so depth is bounded by memory alone.
Cost: one sort and three passes over the events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agenttrace.events import END_OF
from agenttrace.frozen import build_maker
from agenttrace.query.linking import link_operations, spread_turns
from agenttrace.query.operations import FAMILIES, Operation, collect_operations
from agenttrace.query.order import order_key, split_event_id

if TYPE_CHECKING:
    from agenttrace.store.rows import Event

__all__ = ["Liveness", "NodeFailure", "Tree", "TreeNode", "build_tree", "parse_payload"]

Liveness = Callable[[str], str]
"""From a process id to what its open operations are: ``running`` or ``out of contact``."""


def parse_payload(payload_json: str | None) -> dict[str, Any]:
    """Parse a payload; {} where there is none, or where it is no JSON object."""
    try:
        value = json.loads(payload_json or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """One failure, shown at the operation that it left first."""

    error_id: str | None
    error_type: str
    message: str
    fate: str | None
    """One of ``events.FATES``; None when nobody has said."""
    handled_at: str | None
    """``file:line`` where it was caught, if a row tells."""
    raised_at: str | None
    """``file:line`` of its innermost recorded frame."""
    returned: bool
    """It came back as data instead of being raised."""
    row_id: int


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One agent run, call, model turn or other event, with its place in the tree."""

    family: str
    """``agent``, ``call``, ``turn`` or ``event``."""
    name: str
    depth: int
    parent: int | None
    """Index in ``Tree.nodes``; None at a root."""
    children: tuple[int, ...]
    row_id: int
    """``id`` of the first row that tells of it; ``show --event`` takes it."""
    agent_id: str
    agent_name: str | None
    parent_agent_id: str | None
    span_id: str | None
    call_id: str | None
    status: str
    """One of ``events.STATUSES``, ``running``, ``out of contact``, or "" where nothing can be said."""
    start_ns: int
    end_ns: int | None
    duration_ms: float | None
    attempts: int
    failed_attempts: int
    failures: tuple[NodeFailure, ...]
    error_id: str | None
    """Of the failure it closed with, also when that was raised further in."""
    error_type: str | None
    turn: int | None
    """Of its agent: its own number, or that of the model turn before it."""
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    payload_json: str
    """Of the start row (arguments, input), or of the event itself."""
    notes: tuple[str, ...]
    """
    ``resumed``, ``late``, ``rebuilt``, ``no start recorded``, ``parent not in this trace``,
    ``cyclic parent``.
    """
    end_row_id: int | None = None
    """``id`` of the row that closes it, of several attempts the last one's; None where nothing does."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The nodes of one conversation in pre-order: a parent stands before its children."""

    conversation_id: str
    nodes: tuple[TreeNode, ...]

    @property
    def roots(self) -> tuple[int, ...]:
        """Give the indexes of the nodes that have no parent."""
        return tuple(at for at, node in enumerate(self.nodes) if node.parent is None)

    def branch(self, keep: Callable[[TreeNode], bool]) -> Tree:
        """Give the tree of the topmost nodes that *keep* accepts, each with all below it."""
        new_index: dict[int, int] = {}
        shift: dict[int, int] = {}
        for at, node in enumerate(self.nodes):
            if node.parent in new_index:
                shift[at] = shift[node.parent]
            elif keep(node):
                shift[at] = node.depth
            else:
                continue
            new_index[at] = len(new_index)
        return Tree(
            self.conversation_id,
            tuple(_move(self.nodes[at], shift[at], new_index) for at in new_index),
        )


def _move(node: TreeNode, shift: int, new_index: Mapping[int, int]) -> TreeNode:
    values = {name: getattr(node, name) for name in TreeNode.__slots__}
    values["depth"] = node.depth - shift
    values["parent"] = None if node.parent is None else new_index.get(node.parent)
    values["children"] = tuple(new_index[child] for child in node.children)
    return TreeNode(**values)


def build_tree(
    events: Iterable[Event],
    *,
    conversation_id: str = "",
    fates: Mapping[str, str] | None = None,
    liveness: Liveness | None = None,
    now_ns: int | None = None,
) -> Tree:
    """
    Put the events of one conversation together.

    Args:
        events: In any order. Rows without a span are paired by call id, else first open first closed.
        conversation_id: Name of the whole; the first event's, when left out.
        fates: What became of each failure, by ``error_id``.
        liveness: Tells of an open operation's process; without it the operation is ``running``.
        now_ns: Until when an open operation has lasted; None leaves its duration out.

    Returns:
        The tree; without nodes when there are no events.
    """
    ordered = sorted(events, key=order_key)
    operations = collect_operations(ordered)
    operations = link_operations(operations)
    builder = _Builder(fates or {}, _handlers(ordered), liveness, now_ns)
    if not conversation_id and ordered:
        conversation_id = ordered[0].conversation_id
    return Tree(conversation_id, builder.build(operations))


def _handlers(ordered: Iterable[Event]) -> dict[str, str]:
    """Collect where each failure was caught, as ``file:line``, from ``handled`` and ``error`` rows."""
    places: dict[str, str] = {}
    for event in ordered:
        if event.error_id is None or event.kind not in ("handled", "error"):
            continue
        if event.kind == "error" and "handled_at" not in event.payload_json:
            continue
        place = _render_place(parse_payload(event.payload_json).get("handled_at"))
        if place:
            places.setdefault(event.error_id, place)
    return places


def _render_place(place: Any) -> str | None:
    if not isinstance(place, dict) or not isinstance(place.get("file"), str):
        return None
    line = place.get("line")
    return f"{place['file']}:{line}" if isinstance(line, int) else place["file"]


class _Builder:
    """Turns linked operations into the frozen nodes of a tree."""

    def __init__(
        self,
        fates: Mapping[str, str],
        handlers: Mapping[str, str],
        liveness: Liveness | None,
        now_ns: int | None,
    ) -> None:
        self._fates = fates
        self._handlers = handlers
        self._liveness = liveness
        self._now_ns = now_ns
        self._make = build_maker(TreeNode)

    def build(self, operations: list[Operation]) -> tuple[TreeNode, ...]:
        roots: list[Operation] = []
        for operation in sorted(operations, key=lambda each: each.key):
            (roots if operation.parent is None else operation.parent.children).append(operation)
        spread_turns(operations)
        ordered: list[tuple[Operation, int, int | None]] = []
        child_indexes: list[list[int]] = []
        waiting: list[tuple[Operation, int, int | None]] = [(root, 0, None) for root in reversed(roots)]
        while waiting:
            operation, depth, parent = waiting.pop()
            at = len(ordered)
            ordered.append((operation, depth, parent))
            child_indexes.append([])
            if parent is not None:
                child_indexes[parent].append(at)
            waiting.extend((child, depth + 1, at) for child in reversed(operation.children))
        return tuple(
            self._node(operation, depth, parent, tuple(child_indexes[at]))
            for at, (operation, depth, parent) in enumerate(ordered)
        )

    def _node(
        self, operation: Operation, depth: int, parent: int | None, children: tuple[int, ...]
    ) -> TreeNode:
        first, end = operation.first, operation.end
        failures = self._failures(operation)
        status = self._status(operation)
        error_type = end.error_type if end is not None else None
        notes = list(operation.notes)
        payload = operation.start.payload_json if operation.start is not None else ""
        if operation.family == "event":
            payload = first.payload_json
        elif operation.start is None:
            notes.append("no start recorded")
        if operation.family == "agent" and '"resumed":true' in payload:
            notes.append("resumed")
        if end is not None and '"late":true' in end.payload_json:
            notes.append("late")
        is_rebuilt = operation.family == "call" and payload.endswith(',"rebuilt":true}')
        if is_rebuilt:
            notes.append("rebuilt")
        told = first if operation.family == "event" else end or operation.start
        node: TreeNode = self._make(
            family=operation.family,
            name=operation.name,
            depth=depth,
            parent=parent,
            children=children,
            row_id=first.id,
            agent_id=operation.agent_id,
            agent_name=first.agent_name,
            parent_agent_id=operation.parent_agent_id,
            span_id=operation.span_id,
            call_id=operation.call_id,
            status=status,
            start_ns=operation.key[0],
            end_ns=operation.end_ns,
            # Nobody saw how long a rebuilt call took: its times are those of the model's turns around it.
            duration_ms=None if is_rebuilt else self._duration(operation, status),
            attempts=operation.attempts,
            failed_attempts=operation.failed_attempts,
            failures=failures,
            error_id=end.error_id if end is not None else None,
            error_type=error_type,
            turn=operation.turn,
            model=(end.model if end is not None else None) or (told.model if told is not None else None),
            input_tokens=told.input_tokens if told is not None else None,
            output_tokens=told.output_tokens if told is not None else None,
            cost_usd=told.cost_usd if told is not None else None,
            payload_json=payload,
            notes=tuple(notes),
            end_row_id=end.id if end is not None else None,
        )
        return node

    def _status(self, operation: Operation) -> str:
        if operation.family == "event":
            return ""
        end = operation.end
        if end is None:
            if operation.start is None:
                return ""
            process_id, _ = split_event_id(operation.start.event_id)
            return "running" if self._liveness is None else self._liveness(process_id)
        if end.status:
            return end.status
        return "error" if parse_payload(end.payload_json).get("is_error") is True else "ok"

    def _duration(self, operation: Operation, status: str) -> float | None:
        if operation.family == "event":
            return operation.first.duration_ms
        end, start = operation.end, operation.start
        if end is not None:
            if end.duration_ms is not None and operation.attempts_merged == 0:
                return end.duration_ms
            if start is not None and operation.end_ns is not None and status != "interrupted":
                return (operation.end_ns - operation.key[0]) / 1e6
            return end.duration_ms
        if start is not None and status == "running" and self._now_ns is not None:
            return max(0, self._now_ns - operation.key[0]) / 1e6
        return None

    def _failures(self, operation: Operation) -> tuple[NodeFailure, ...]:
        failures: dict[str, NodeFailure] = {}
        for row in operation.errors:
            failure = self._failure(row)
            failures.setdefault(failure.error_id or f"#{row.id}:{len(failures)}", failure)
        return tuple(failures.values())

    def _failure(self, row: Event) -> NodeFailure:
        payload = parse_payload(row.payload_json)
        error = payload.get("error")
        described: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
        message = described.get("message")
        if isinstance(message, dict):
            message = message.get("head", "")
        if message is None:
            message = payload.get("message", "")
        frames = described.get("frames")
        error_id = row.error_id
        return NodeFailure(
            error_id=error_id,
            error_type=row.error_type or str(described.get("type") or "Error"),
            message=message if isinstance(message, str) else json.dumps(message, ensure_ascii=False),
            fate=self._fates.get(error_id) if error_id is not None else None,
            handled_at=self._handlers.get(error_id) if error_id is not None else None,
            raised_at=_render_place(frames[-1]) if isinstance(frames, list) and frames else None,
            returned="returned" in payload,
            row_id=row.id,
        )


assert set(END_OF) <= set(FAMILIES), "every kind that opens an operation has a family"
