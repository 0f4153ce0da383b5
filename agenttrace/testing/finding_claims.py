"""
The claim that a run has no finding, by the same rules as ``agenttrace check``.

Invariants: a kind that there is not is refused; a failure that a model was told of is no finding here,
since somebody could act on it; and nothing counts that came after the program left a recording, because
nobody knows how it would have gone on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from agenttrace.query.findings import KINDS, Finding
from agenttrace.query.text import fit, sanitize
from agenttrace.query.viewer import TraceViewer
from agenttrace.testing.assertions import fail
from agenttrace.testing.failing_path import Marks

if TYPE_CHECKING:
    from agenttrace.testing.readings import Readings

__all__ = ["FAILURES", "check_no_findings", "is_left_to_others"]

FAILURES = ("failed_call", "returned_failure", "subagent_ignored", "swallowed_error", "unknown_tool")
"""Kinds of findings that are one failure, seen more or less closely."""
_SHOWN = 6


def is_left_to_others(finding: Finding) -> bool:
    """Tell a failure that somebody was told of, so that what follows is no longer the program's affair."""
    return finding.kind in FAILURES and finding.is_told


def check_no_findings(
    trajectory: Readings,
    viewer: TraceViewer,
    kinds: Collection[str],
    *,
    agent: str | None,
    tool: str | None,
    until_ns: int | None,
) -> None:
    """
    Claim that nothing of these kinds is found.

    Args:
        trajectory: Of the run.
        viewer: Of the store that it is in.
        kinds: Of ``query.findings.KINDS``; () is every kind.
        agent: Name or path of the one agent that counts.
        tool: Name of the one tool that counts.
        until_ns: Findings that showed later do not count.

    Raises:
        AssertionError: Something is found.
        ValueError: There is no such kind.
    """
    __tracebackhide__ = True
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no kind of finding; they are {', '.join(KINDS)}")
    if agent is not None and not _is_path_of(trajectory, agent):
        trajectory.calls(agent=agent)  # an agent that never ran is an error
    found = [
        finding
        for conversation_id in trajectory.conversation_ids()
        for finding in viewer.diagnose(conversation_id).findings
        if _counts(finding, kinds, agent, until_ns) and (tool is None or tool in _tools(trajectory, finding))
    ]
    if not found:
        return
    marks = {row: finding.kind for finding in reversed(found[:_SHOWN]) for row in _rows(trajectory, finding)}
    lines = [f"{finding.kind}: {fit(sanitize(finding.sentence), 200)}" for finding in found[:_SHOWN]]
    more = f"\n… {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    fail(trajectory.trees(), "\n".join(lines) + more, Marks(marks))


def _counts(finding: Finding, kinds: Collection[str], agent: str | None, until_ns: int | None) -> bool:
    if kinds and finding.kind not in kinds:
        return False
    if is_left_to_others(finding):
        return False
    if until_ns is not None:
        if finding.ts_ns >= until_ns:
            return False
        if finding.kind in FAILURES and finding.fate != "swallowed":
            return False  # what the program would have done with it, nobody can say
    return agent in (None, finding.agent, finding.agent.rpartition("/")[2].partition("#")[0])


def _tools(trajectory: Readings, finding: Finding) -> set[str]:
    """Name the tools that a finding is about: the call that is named, and the one that failed."""
    named = {
        node.name
        for tree in trajectory.trees()
        for node in tree.nodes
        if node.family == "call" and node.span_id == finding.span_id and node.span_id is not None
    }
    failed = {
        failure.tool_name
        for failure in trajectory.failures()
        if failure.error_id == finding.error_id and failure.tool_name is not None
    }
    return named | failed


def _is_path_of(trajectory: Readings, agent: str) -> bool:
    return "/" in agent or "#" in agent or agent in trajectory.agents


def _rows(trajectory: Readings, finding: Finding) -> list[int]:
    """Give the node that a finding is about."""
    nodes = [node for tree in trajectory.trees() for node in tree.nodes if node.family != "event"]
    by_span = [node.row_id for node in nodes if node.span_id == finding.span_id and node.span_id is not None]
    return by_span or [node.row_id for node in nodes if node.row_id in finding.rows]
