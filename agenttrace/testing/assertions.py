"""
What a test can claim about a run, and the message when it is not so.

Invariant: a claim that does not hold raises AssertionError with what was expected, what is there
instead, and the path through the tree that shows it, at most 72 cells wide (see ``failing_path``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from agenttrace.query.text import fit, pluralize, sanitize
from agenttrace.query.tree import Tree
from agenttrace.testing.calls import Call
from agenttrace.testing.failing_path import Marks, render_path
from agenttrace.testing.matching import explain_mismatch, render_wanted

if TYPE_CHECKING:
    from agenttrace.testing.readings import Readings
    from agenttrace.testing.recorded import Recorded

__all__ = ["EXPLAINED", "Step", "check_called", "check_no_swallowed", "check_order", "fail"]

EXPLAINED = "__agenttrace_explained__"
"""Attribute of an AssertionError whose message holds the path already."""
_WIDTH = 72
"""pytest puts up to 8 cells before a message."""
_SHOWN = 5

Step = str | tuple[str, Mapping[str, Any]]
"""The name of a tool, or the name and what its arguments have to be."""


def fail(trees: Sequence[Tree], headline: str, marks: Marks) -> NoReturn:
    """Raise what a failed claim raises."""
    __tracebackhide__ = True
    error = AssertionError(f"{headline}\n\n{render_path(trees, marks, width=_WIDTH)}".rstrip())
    setattr(error, EXPLAINED, True)
    raise error


def check_no_swallowed(trajectory: Readings, agent: str | None) -> None:
    """Claim that no failure was caught without anybody being told."""
    __tracebackhide__ = True
    found = trajectory.failures("swallowed")
    if agent is not None:
        trajectory.calls(agent=agent)  # an agent that never ran is an error
    kept = [at for at, each in enumerate(found) if agent is None or agent in (each.agent_name, each.agent_id)]
    swallowed, rows = [found[at] for at in kept], [found.rows[at] for at in kept]
    if not rows:
        return
    said = [
        f"{each.error_type}: {each.message}" if each.message else str(each.error_type) for each in swallowed
    ]
    what = "; ".join(sanitize(" ".join(each.split())) for each in said[:_SHOWN])
    headline = f"{pluralize(len(rows), 'failure')} swallowed: {fit(what, 200)}"
    fail(trajectory.trees(), headline, Marks(dict.fromkeys(rows, "nobody was told")))


def check_called(
    trajectory: Readings, name: str, times: int | None, agent: str | None, wanted: Mapping[str, Any]
) -> list[Call]:
    """Claim that a tool was called, *times* times or at all, with the arguments *wanted*."""
    __tracebackhide__ = True
    calls = trajectory.calls(name, agent=agent)
    reasons = [_explain(call, wanted) for call in calls]
    matching = [call for call, reason in zip(calls, reasons, strict=True) if reason is None]
    if len(matching) == times or (times is None and matching):
        return matching
    title = f"{name}({', '.join(f'{key}={render_wanted(value)}' for key, value in wanted.items())})"
    if agent is not None:
        title += f" by {agent}"
    often = "" if times is None else f" {pluralize(times, 'time')}, but {pluralize(len(matching), 'time')}"
    headline = f"{sanitize(title)} was not called{often}"
    if times == 0:
        headline = f"{sanitize(title)} was called {pluralize(len(matching), 'time')}"
    if len(matching) > (times or 0):
        rows = [row for row, reason in zip(calls.rows, reasons, strict=True) if reason is None]
        fail(trajectory.trees(), headline, Marks(dict.fromkeys(rows[:_SHOWN], "is one of them")))
    if calls:
        said = {
            row: reason or "matches" for row, reason in list(zip(calls.rows, reasons, strict=True))[:_SHOWN]
        }
        fail(trajectory.trees(), headline, Marks({row: fit(reason, 56) for row, reason in said.items()}))
    fail(trajectory.trees(), f"{headline}; {_describe_tools(trajectory, name, agent)}", Marks({}))


def check_order(trajectory: Readings, steps: Sequence[Step], agent: str | None) -> None:
    """Claim that these calls began in this order; others may stand between them."""
    __tracebackhide__ = True
    calls = trajectory.calls(agent=agent)
    at, last = 0, None
    for number, step in enumerate(steps):
        name, wanted = (step, {}) if isinstance(step, str) else step
        while at < len(calls) and (calls[at].name != name or _explain(calls[at], wanted) is not None):
            at += 1
        if at == len(calls):
            title = name if isinstance(step, str) else f"{name}({render_wanted(wanted)})"
            place = f"after {_name(steps[number - 1])}" if number else "at all"
            missing = f"{title} was not called {place}"
            headline = sanitize(f"{missing}; the order was to be {', '.join(_name(each) for each in steps)}")
            if last is None:
                fail(trajectory.trees(), headline, Marks({}, missing=missing))
            fail(trajectory.trees(), headline, Marks({last: "up to here all is well"}, {last: missing}))
        last = calls.rows[at]
        at += 1


def _explain(call: Call, wanted: Mapping[str, Any]) -> str | None:
    """Say why the arguments of *call* are not what is wanted; None when they are."""
    if not wanted:
        return None
    if not isinstance(call.arguments, dict):
        return "its arguments are not recorded by name"
    return explain_mismatch(wanted, call.arguments)


def _name(step: Step) -> str:
    return step if isinstance(step, str) else step[0]


def _describe_tools(trajectory: Readings, name: str, agent: str | None) -> str:
    tools: Recorded[str] = trajectory.tools(agent)
    known = list(dict.fromkeys(tools))
    if not known:
        return "no tool was called"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"called were {fit(sanitize(', '.join(known)), 120)}{hint}"
