"""
What a run did, step by step, in a form that two runs can be compared by.

A step is a call, a model's turn or an agent's run; its place is the path of its agent, the names
from the root. Of several agents with one path the first to start is ``search``, the next ``search#2``.
Invariant: nothing of a step depends on ids, process or clock but ``row_id``, its times and
``duration_ms``; a payload that was cut is taken whole where it was kept. Cost: one tree and one read
of the ends; payloads are parsed as far as they are asked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from agenttrace.events import MARK
from agenttrace.query.reading import Reader
from agenttrace.query.tree import NodeFailure, Tree, TreeNode, parse_payload

__all__ = ["Payloads", "Step", "TakenStep", "find_owner", "find_owners", "name_paths", "read_steps", "steady"]

_FAMILIES = ("call", "turn", "agent")
_ENDS = """
SELECT id, payload FROM trajectory_events
WHERE conversation_id = ? AND kind IN ('tool_result', 'model_turn', 'agent_end')
"""
_CUT = f'"{MARK}":"cut"'
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_TEMPORARY = re.compile(r"(/(?:tmp|var/folders/[^/\s]{1,9}/[^/\s]{1,99}/T)/)[^/\s\"'\\]+(?=[/\"'\\])")
_SHA256 = re.compile(r'"sha256":"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an agent did."""

    agent: str
    """Path of the agent that did it, ``lead/search#2``; of a root agent's run its own."""
    family: str
    """``call``, ``turn`` or ``agent``."""
    name: str
    """Of the tool, of the model, or of the agent with its number."""
    arguments: str
    """JSON with sorted keys: of a call its arguments, of an agent its input, of a turn ""."""
    result: str
    """JSON with sorted keys: what came back."""
    status: str
    error: str
    """``Type: message`` of what it failed with; "" where it did not."""
    caught: str
    """``Type: message`` of the failures inside it that did not end it, each on a line; "" without any."""
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


class Payloads:
    """Reads parts of payloads, each once; of those that were cut the whole, where it was kept."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._parts: dict[tuple[str, str], str] = {}
        self._lost: dict[str, str] = {}

    def part(self, payload_json: str, name: str) -> str:
        """Give a member of a payload as JSON with sorted keys; "" where there is none."""
        key = (payload_json, name)
        found = self._parts.get(key)
        if found is None:
            payload = parse_payload(payload_json)
            if payload.get(MARK) == "cut" and isinstance(payload.get("sha256"), str):
                body = self._reader.store.blob(payload["sha256"])
                if body is None:
                    self._lost[payload_json] = payload["sha256"]
                else:
                    payload = parse_payload(body.decode("utf-8", "replace"))
            found = self._parts[key] = _canonical(payload.get(name))
        return found

    def lost(self, payload_json: str) -> str:
        """Give the hash of a payload of which a part was asked for, and whose whole is not kept; else ""."""
        return self._lost.get(payload_json, "")

    def key(self, payload_json: str, name: str) -> str:
        """Give what tells that member from others, without reading what was cut."""
        if _CUT in payload_json:
            found = _SHA256.findall(payload_json)
            if found:
                return str(found[-1])
        return steady(self.part(payload_json, name))


class TakenStep:
    """A step as it was read: its node, and the payloads that it began and ended with."""

    __slots__ = ("agent", "at", "back", "given", "key", "name", "node", "owner")

    def __init__(self, at: int, node: TreeNode, owner: int | None, back: str, payloads: Payloads) -> None:
        self.at = at
        self.node = node
        self.owner = owner
        """Index of the agent that did it; None of a root agent's run."""
        self.given = node.payload_json
        self.back = back
        self.name = node.name
        self.agent = ""
        family = node.family
        self.key = (
            (family, self.name, payloads.key(self.given, "arguments"))
            if family == "call"
            else (family, self.name if family == "agent" else node.model or self.name, "")
        )

    @property
    def asked(self) -> str:
        """Name the member of its first payload that says what it was given; "" for a turn."""
        return {"call": "arguments", "agent": "input"}.get(self.node.family, "")

    @property
    def start_ns(self) -> int:
        """When it began."""
        return self.node.start_ns

    @property
    def end_ns(self) -> int:
        """When it ended; of an open one when it began."""
        return self.node.end_ns or self.node.start_ns

    @property
    def is_open(self) -> bool:
        """It has not ended, as far as is known."""
        return self.node.end_row_id is None

    @property
    def error(self) -> str:
        """What it failed with, ``Type: message``."""
        node = self.node
        if self.is_open or node.status == "ok":
            return ""
        own = [each for each in node.failures if each.error_id == node.error_id]
        return _say(own[-1]) if own else node.error_type or ""

    @property
    def caught(self) -> str:
        """What failed inside it without ending it, but for what was tried again."""
        node = self.node
        if not node.failures:
            return ""
        others = [each for each in node.failures if each.error_id is None or each.error_id != node.error_id]
        return "\n".join(_say(each) for each in others[node.attempts - 1 :])

    def step(self, payloads: Payloads) -> Step:
        """Give it for people and programs."""
        node = self.node
        return Step(
            agent=self.agent,
            family=node.family,
            name=self.name if self.name.startswith(node.name) else node.name,
            arguments=payloads.part(self.given, self.asked) if self.asked else "",
            result=payloads.part(self.back, "output"),
            status=node.status,
            error=self.error,
            caught=self.caught,
            attempts=node.attempts,
            row_id=node.row_id,
            start_ns=node.start_ns,
            end_ns=self.end_ns,
            duration_ms=node.duration_ms,
            tokens=(node.input_tokens or 0) + (node.output_tokens or 0),
            cost_usd=node.cost_usd,
        )


def _say(failure: NodeFailure) -> str:
    return f"{failure.error_type}: {failure.message}" if failure.message else failure.error_type


def read_steps(reader: Reader, tree: Tree, payloads: Payloads) -> list[TakenStep]:
    """Give the steps of a conversation in the order in which they began."""
    ends: dict[int, str] = dict(reader.rows(_ENDS, [tree.conversation_id]))
    owners = find_owners(tree)
    steps = [
        TakenStep(at, node, owners[at], ends.get(node.end_row_id or 0, ""), payloads)
        for at, node in enumerate(tree.nodes)
        if node.family in _FAMILIES
    ]
    steps.sort(key=lambda step: (step.node.start_ns, step.node.row_id))
    return steps


def find_owner(tree: Tree, at: int) -> int | None:
    """Give the agent that a node stands in; for an agent, the one around it."""
    parent = tree.nodes[at].parent
    while parent is not None and tree.nodes[parent].family != "agent":
        parent = tree.nodes[parent].parent
    return parent


def find_owners(tree: Tree) -> list[int | None]:
    """Give ``find_owner`` of every node, in one pass."""
    owners: list[int | None] = []
    for node in tree.nodes:  # a parent stands before its children
        parent = node.parent
        is_agent = parent is None or tree.nodes[parent].family == "agent"
        owners.append(parent if is_agent or parent is None else owners[parent])
    return owners


def name_paths(tree: Tree) -> dict[int, str]:
    """Give the path of each agent, ``lead/search#2``, by its index in the tree."""
    paths: dict[int, str] = {}
    seen: dict[str, int] = {}
    owners = find_owners(tree)
    for at, node in sorted(
        enumerate(tree.nodes), key=lambda each: (each[1].depth, each[1].start_ns, each[0])
    ):
        if node.family != "agent":
            continue
        owner = owners[at]
        path = f"{paths[owner]}/{node.name}" if owner in paths else node.name
        seen[path] = seen.get(path, 0) + 1
        paths[at] = path if seen[path] == 1 else f"{path}#{seen[path]}"
    return paths


_ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def _canonical(value: Any) -> str:
    return "" if value is None else _ENCODE(value)


def steady(text: str) -> str:
    """Leave out what no two runs share: where an object lies in memory, how a temporary folder is called."""
    if "0x" in text:
        text = _ADDRESS.sub("0x", text)
    return _TEMPORARY.sub(r"\1", text) if "/tmp/" in text or "/T/" in text else text
