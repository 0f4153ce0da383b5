"""
The policies of the deterministic planner: one rule per agent.

Invariant: a rule reads only what a model would read, the messages, and every
number it reports comes from a tool's result. One of them asks for a tool that
does not exist, as models do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agenttrace.demo.planner import Decision, Memory, Rule

__all__ = ["RULES", "SUBAGENTS", "TASK_PREFIX"]

TASK_PREFIX = "Audit the Python code in "
"""How the lead's task begins; the folder's name follows."""

SUBAGENTS: dict[str, str] = {
    "structure": "Find undocumented and overlong functions",
    "hygiene": "Find TODOs, bare excepts, unreadable files",
    "examples": "Run drafts/greeting.py and endless.py",
}
"""What the lead asks each subagent for."""

_LOOK_CLOSER_COUNT = 2
_ENDLESS_LIMIT_S = 0.3
_GREETING_LIMIT_S = 20.0


def lead_rule(memory: Memory) -> Decision:
    """List, delegate, save the report, summarise."""
    if memory.turns == 0:
        return Decision("First see what is there.", [("list_files", {})])
    if memory.turns == 1:
        tasks = [("delegate", {"agent": name, "task": task}) for name, task in SUBAGENTS.items()]
        return Decision("Three specialists look at it side by side.", tasks)
    report = _write_report(memory)
    if memory.turns == 2:
        return Decision("Save the report.", [("save_report", {"text": report})])
    return Decision(report)


def structure_rule(memory: Memory) -> Decision:
    """Survey all functions, look closer at the longest and at what did not parse, report."""
    if memory.turns == 0:
        # There is no such tool: the planner made the name up, and is told so by the dispatcher.
        return Decision(
            "Survey the functions.", [("survey_functions", {}), ("measure_complexity", {"top": 3})]
        )
    survey = memory.value_of("survey_functions")
    longest = survey.get("longest", [])
    if memory.turns == 1:
        closer: list[tuple[str, Mapping[str, Any]]] = [
            ("parse_python", {"path": path}) for path in survey.get("unparsed", [])[:_LOOK_CLOSER_COUNT]
        ]
        closer += [_read_around(function["at"], 0, 12) for function in longest[:_LOOK_CLOSER_COUNT]]
        return Decision("There is no tool for complexity; length will do. Look closer.", closer)
    told = f"{survey.get('undocumented', 0)} of {survey.get('functions', 0)} functions have no docstring"
    if longest:
        told += f"; the longest is {longest[0]['name']} ({longest[0]['lines']} lines, {longest[0]['at']})"
    for path in survey.get("unparsed", []):
        told += f"; {path} does not parse"
    return Decision(f"{told}.")


def hygiene_rule(memory: Memory) -> Decision:
    """Search twice, look at the hits and at what could not be read, report."""
    if memory.turns == 0:
        patterns = (r"\b(TODO|FIXME|XXX)\b", r"^\s*except\s*:")
        return Decision("Search.", [("grep", {"pattern": pattern}) for pattern in patterns])
    todo, bare = [*memory.values_of("grep"), {}, {}][:2]
    unread = todo.get("unread", [])
    if memory.turns == 1:
        closer = [_read_around(at, 2, 2) for at in bare.get("first", [])[:_LOOK_CLOSER_COUNT]]
        closer += [
            ("read_lines", {"path": path, "first": 1, "last": 20}) for path in unread[:_LOOK_CLOSER_COUNT]
        ]
        return Decision("Look at the hits.", closer)
    told = f"{todo.get('hits', 0)} TODO or FIXME lines, {bare.get('hits', 0)} bare excepts"
    for path in unread:
        told += f"; {path} cannot be read"
    return Decision(f"{told}.")


def examples_rule(memory: Memory) -> Decision:
    """Run both examples, then say what it heard: nothing of the one that failed."""
    if memory.turns == 0:
        limits = {"greeting.py": _GREETING_LIMIT_S, "endless.py": _ENDLESS_LIMIT_S}
        calls = [
            ("run_command", {"command": f"python drafts/{name}", "timeout_s": limit_s})
            for name, limit_s in limits.items()
        ]
        return Decision("Run the examples.", calls)
    good_count = sum(not result.is_error for result in memory.results)
    return Decision(f"{good_count} examples ran; no problem found.")


def _write_report(memory: Memory) -> str:
    listed = memory.value_of("list_files")
    skipped = f" ({listed['skipped']} more skipped)" if listed.get("skipped") else ""
    told = [str(result.value) for result in memory.results if result.name == "delegate"]
    name = memory.task.removeprefix(TASK_PREFIX)
    return " ".join([f"{name}: {listed.get('files', 0)} files{skipped}.", *told])


def _read_around(at: str, before: int, after: int) -> tuple[str, Mapping[str, Any]]:
    path, _, number = at.rpartition(":")
    line = int(number)
    return "read_lines", {"path": path, "first": max(line - before, 1), "last": line + after}


RULES: dict[str, Rule] = {
    "lead": lead_rule,
    "structure": structure_rule,
    "hygiene": hygiene_rule,
    "examples": examples_rule,
}
"""By the agent's name."""
