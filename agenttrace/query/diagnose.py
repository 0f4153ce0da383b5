"""
Which of the findings came first, and what it did to the run.

Ranking: what is sure and nobody could act on stands before what a model was told of or what is only
unusual, and of those what is unsure last; within that, time decides, because an effect never shows
before its cause. Invariants: the same rows give the same diagnosis; a general kind gives way to a
special one about the same failure or operation; every finding has rows that prove it.
Cost: one read of the run (see ``loaded_run``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agenttrace.query.against import Divergence
from agenttrace.query.finders_calls import find_calls
from agenttrace.query.finders_failures import find_failures
from agenttrace.query.finders_history import find_unusual
from agenttrace.query.findings import GENERAL, KINDS, Finding
from agenttrace.query.loaded_run import LoadedRun
from agenttrace.query.text import pluralize
from agenttrace.query.thresholds import DEFAULTS, Thresholds

__all__ = ["Diagnosis", "Link", "build_diagnosis"]

_ORDER = {kind: at for at, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Link:
    """One operation on the way from the first cause up to the root."""

    name: str
    status: str
    row_id: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What went wrong in one run."""

    conversation_id: str
    task: str | None
    status: str
    verdict: str
    """In one sentence."""
    findings: tuple[Finding, ...]
    """The first cause first."""
    chain: tuple[Link, ...]
    """From the operation of the first cause to the root; () without findings."""
    divergence: Divergence | None = None
    """Where it left a good run; None unless it was compared with one."""
    lost_events: int = 0
    """Events that the processes of this run dropped, of this run or of others; what is missing is unseen."""
    row_id: int | None = None
    """The first row of the run; None where it has none."""

    @property
    def first(self) -> Finding | None:
        """The first cause; None where nothing was found."""
        return self.findings[0] if self.findings else None


def build_diagnosis(run: LoadedRun, limits: Thresholds = DEFAULTS) -> Diagnosis:
    """
    Say what went wrong.

    Args:
        run: The run.
        limits: From where on something is a finding.
    """
    found = [*find_failures(run, limits), *find_calls(run, limits), *find_unusual(run, limits)]
    findings = tuple(sorted(_choose(found, limits), key=lambda each: _rank(each, limits)))
    return Diagnosis(
        conversation_id=run.conversation.id,
        task=run.conversation.task,
        status=run.status,
        verdict=_verdict(run.status, findings, run.lost_events),
        findings=findings,
        chain=_chain(run, findings[0]) if findings else (),
        lost_events=run.lost_events,
        row_id=min((event.id for event in run.events), default=None),
    )


def _choose(found: Iterable[Finding], limits: Thresholds) -> list[Finding]:
    """Keep one finding for each operation and failure, and what says more than how long it took."""
    kept: list[Finding] = []
    spans: set[str] = set()
    errors: set[str] = set()
    for each in sorted(found, key=lambda one: (_ORDER[one.kind], one.ts_ns, one.rows)):
        if each.confidence < limits.min_confidence or (each.span_id is not None and each.span_id in spans):
            continue
        if each.kind in GENERAL and each.error_id is not None and each.error_id in errors:
            continue
        if each.kind == "slow_path" and any(
            one.kind in ("stalled", "retry_storm", "loop", "outlier") for one in kept
        ):
            continue
        kept.append(each)
        if each.span_id is not None and each.kind not in ("model_switched", "swallowed_error"):
            spans.add(each.span_id)
        if each.error_id is not None:
            errors.add(each.error_id)
    return kept


def _rank(finding: Finding, limits: Thresholds) -> tuple[bool, bool, int, int, tuple[int, ...]]:
    is_unsure = finding.is_told and finding.confidence < limits.sure_confidence
    return finding.is_told, is_unsure, finding.ts_ns, _ORDER[finding.kind], finding.rows


def _verdict(status: str, findings: tuple[Finding, ...], lost_events: int) -> str:
    if not findings:
        verb = "was" if lost_events == 1 else "were"
        but = f", but {pluralize(lost_events, 'event')} of its processes {verb} lost" if lost_events else ""
        return f"{status}; nothing wrong was found{but}"
    first = findings[0]
    if status == "completed":
        lead = "completed, but not all is well" if not first.is_told else "completed; worth a look"
    else:
        lead = status
    return f"{lead}: {KINDS[first.kind]}"


def _chain(run: LoadedRun, first: Finding) -> tuple[Link, ...]:
    at = run.by_span.get(first.span_id or "")
    if at is None and first.error_id is not None:
        at = run.of_error.get(first.error_id)
    if at is None:
        return ()
    around = [each for each in run.lineage(at) if run.nodes[each].family != "event"]
    return tuple(
        Link(run.nodes[each].name, run.nodes[each].status, run.end_row(run.nodes[each]))
        for each in (at, *around)
    )
