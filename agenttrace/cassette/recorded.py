"""
What was recorded, as plain data: runs of agents, their tool calls, their model turns.

Invariant: what stands in a cassette's file is these fields and no others, those that say nothing left
out; reading what was written gives equal data. Row numbers and spans are of one database, and are not
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

__all__ = ["Missing", "RecordedCall", "RecordedModelTurn", "RecordedRun", "from_data", "to_data"]

_OF_THE_DATABASE = frozenset({"row", "rows", "end_row", "conversation_id", "span_id", "agent_id"})

T = TypeVar("T")


class Missing(NamedTuple):
    """Something that a replay would have to give back, and that was not kept."""

    path: str
    """Of the agent, ``lead/search``."""
    what: str
    """``search(query="x")``, or ``a turn of gpt-5``."""
    reason: str
    row: int | None
    """The event, for ``agenttrace show --event``; None for one of a file."""

    def __str__(self) -> str:
        place = "" if self.row is None else f"; agenttrace show --event {self.row} --full"
        return f"{self.path}: {self.what}: {self.reason}{place}"


@dataclass(slots=True)
class RecordedCall:
    """One call of a tool."""

    tool: str
    arguments: Any = None
    inside: list[str] = field(default_factory=list)
    """The tools that it was called in, the outermost first; [] where its agent called it."""
    status: str = "ok"
    """One of ``events.STATUSES``; ``open`` where nothing tells of its end."""
    output: Any = None
    stream: dict[str, Any] | None = None
    """``{items_count, items}`` of a generator."""
    error_type: str | None = None
    error: dict[str, Any] | None = None
    """What it failed with: ``{type, module, message, frames, cause, …}``."""
    is_returned: bool = False
    """The failure came back as data, which is its output."""
    attempts: list[dict[str, Any]] = field(default_factory=list)
    """What each attempt before the last failed with; with ``rejected`` where its result was refused."""
    members: dict[str, Any] = field(default_factory=dict)
    """What else stood in its ``tool_result``."""
    duration_ms: float | None = None
    ended: int | None = None
    """The how-manieth of the calls it was to end, from 1."""
    has_agents: bool = False
    """An agent ran inside."""
    row: int | None = None
    end_row: int | None = None

    @property
    def is_covered(self) -> bool:
        """Whether it ran inside another call, and is not asked for where that one is given back."""
        return bool(self.inside)


@dataclass(slots=True)
class RecordedModelTurn:
    """One request to a model, and its answer."""

    model: str
    provider: str | None = None
    input: Any = None
    params: Any = None
    status: str = "ok"
    answered_by: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    """Of the ``model_turn``: ``{output, finish_reason, response_id, usage, …}``."""
    counts: dict[str, Any] = field(default_factory=dict)
    deltas: list[str] = field(default_factory=list)
    error_type: str | None = None
    error: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    duration_ms: float | None = None
    row: int | None = None
    end_row: int | None = None


@dataclass(slots=True)
class RecordedRun:
    """One run of an agent."""

    path: list[str]
    """The names from the root."""
    parent: int | None = None
    """Which of the cassette's runs it ran in."""
    input: Any = None
    status: str = "open"
    output: Any = None
    inside: list[str] = field(default_factory=list)
    """The tools of the parent that it was begun in."""
    calls: list[RecordedCall] = field(default_factory=list)
    turns: list[RecordedModelTurn] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """The events that it began and ended with."""
    span_id: str | None = None
    agent_id: str | None = None
    conversation_id: str | None = None

    @property
    def title(self) -> str:
        """Name it, ``lead/search``."""
        return "/".join(self.path)


def to_data(value: Any) -> dict[str, Any]:
    """Give a recorded thing as JSON data, without what says nothing."""
    data: dict[str, Any] = {}
    for one in fields(value):
        item = getattr(value, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.name in _OF_THE_DATABASE or (type(item) is type(default) and item == default):
            continue
        data[one.name] = [to_data(each) for each in item] if one.name in ("calls", "turns") else item
    return data


def from_data(kind: type[T], data: Mapping[str, Any]) -> T:
    """
    Read what ``to_data`` gave; unknown members are ignored, so that a newer file can be read.

    Raises:
        TypeError: A member that is needed is missing.
    """
    names = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    given = {name: item for name, item in data.items() if name in names and name not in _OF_THE_DATABASE}
    if kind is RecordedRun:
        given["calls"] = [from_data(RecordedCall, each) for each in given.get("calls", [])]
        given["turns"] = [from_data(RecordedModelTurn, each) for each in given.get("turns", [])]
    return kind(**given)
