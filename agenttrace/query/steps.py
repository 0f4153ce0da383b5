"""
What a run did, step by step, in a form that two runs can be compared by.

A step is a call, a model's turn or a subagent's run; its place is the path of its agent, the names
from the root. Of several agents with one path the first to start is ``search``, the next ``search#2``.
Invariant: nothing of a step depends on ids, process or clock but ``row_id``, its times and
``duration_ms``. Cost: one tree and one read of the ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from agenttrace.query.reading import Reader
from agenttrace.query.tree import Tree, TreeNode, parse_payload

__all__ = ["Step", "find_owner", "name_paths", "read_steps"]

_FAMILIES = ("call", "turn", "agent")
_ENDS = """
SELECT span_id, payload FROM trajectory_events
WHERE conversation_id = ? AND kind IN ('tool_result', 'model_turn', 'agent_end') AND span_id IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an agent did."""

    agent: str
    """Path of the agent that did it, ``lead/search#2``."""
    family: str
    """``call``, ``turn`` or ``agent``."""
    name: str
    """Of the tool, of the model, or of the subagent with its number."""
    arguments: str
    """JSON with sorted keys: of a call its arguments, of an agent its input, of a turn ""."""
    result: str
    """JSON with sorted keys: what came back."""
    status: str
    error: str
    """``Type: message`` of what it failed with; "" where it did not."""
    attempts: int
    row_id: int
    start_ns: int
    end_ns: int
    """When it ended; of an open one when it began."""
    duration_ms: float | None
    tokens: int
    cost_usd: float | None

    @property
    def title(self) -> str:
        """Name it with its arguments, ``search(query="x")``, on one line and of any length."""
        if self.family != "call":
            return f"{self.family} {self.name}"
        try:
            members = json.loads(self.arguments or "{}")
        except ValueError:
            members = None
        if not isinstance(members, dict):
            return f"{self.name}({self.arguments})"
        shown = ", ".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in members.items()
        )
        return f"{self.name}({shown})"


def read_steps(reader: Reader, tree: Tree) -> list[Step]:
    """Give the steps of a conversation in the order in which they began."""
    ends = dict(reader.rows(_ENDS, [tree.conversation_id]))
    paths = name_paths(tree)
    steps = []
    for at, node in enumerate(tree.nodes):
        if node.family not in _FAMILIES:
            continue
        owner = find_owner(tree, at)
        is_root = node.family == "agent" and node.parent is None
        if not is_root:
            steps.append(_build(node, paths, at, paths.get(owner, "") if owner is not None else "", ends))
    steps.sort(key=lambda step: (step.start_ns, step.row_id))
    return steps


def find_owner(tree: Tree, at: int) -> int | None:
    """Give the agent that a node stands in; for an agent, the one around it."""
    parent = tree.nodes[at].parent
    while parent is not None and tree.nodes[parent].family != "agent":
        parent = tree.nodes[parent].parent
    return parent


def name_paths(tree: Tree) -> dict[int, str]:
    """Give the path of each agent, ``lead/search#2``, by its index in the tree."""
    paths: dict[int, str] = {}
    seen: dict[str, int] = {}
    for at, node in sorted(
        enumerate(tree.nodes), key=lambda each: (each[1].depth, each[1].start_ns, each[0])
    ):
        if node.family != "agent":
            continue
        owner = find_owner(tree, at)
        path = f"{paths[owner]}/{node.name}" if owner in paths else node.name
        seen[path] = seen.get(path, 0) + 1
        paths[at] = path if seen[path] == 1 else f"{path}#{seen[path]}"
    return paths


def _build(node: TreeNode, paths: dict[int, str], at: int, agent: str, ends: dict[str, str]) -> Step:
    given = parse_payload(node.payload_json)
    back = parse_payload(ends.get(node.span_id or ""))
    arguments = given.get("arguments") if node.family == "call" else given.get("input")
    failure = node.failures[-1] if node.failures else None
    error = node.error_type or ""
    if failure is not None:
        error = f"{failure.error_type}: {failure.message}" if failure.message else failure.error_type
    return Step(
        agent=agent,
        family=node.family,
        name=paths[at].rpartition("/")[2] if node.family == "agent" else node.name,
        arguments="" if node.family == "turn" else _canonical(arguments),
        result=_canonical(back.get("output")),
        status=node.status,
        error=error if node.status not in ("ok", "running") else "",
        attempts=node.attempts,
        row_id=node.row_id,
        start_ns=node.start_ns,
        end_ns=node.end_ns or node.start_ns,
        duration_ms=node.duration_ms,
        tokens=(node.input_tokens or 0) + (node.output_tokens or 0),
        cost_usd=node.cost_usd,
    )


def _canonical(value: Any) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
