"""
Findings from what is usual: stalled calls, agents that used far too much, runs that took far too long.

Invariant: nothing is unusual without ``history_count`` earlier ones to compare with, all from before
the run began, so that a later run never changes what is said of this one. Cost: one range of an index
for each tool, and one for each agent, that is above the least that counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from agenttrace.query.critical_path import trace_critical_path
from agenttrace.query.findings import Finding
from agenttrace.query.loaded_run import LoadedRun, percentile
from agenttrace.query.text import render_cost, render_count, render_duration
from agenttrace.query.thresholds import Thresholds

__all__ = ["find_unusual"]


def find_unusual(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    """Find what is far from what earlier runs in the database did."""
    yield from _stalled(run, limits)
    yield from _outliers(run, limits)
    yield from _slow_path(run, limits)


def _finding(run: LoadedRun, kind: str, confidence: float, sentence: str, at: int) -> Finding:
    node = run.nodes[at]
    return Finding(
        kind=kind,
        confidence=confidence,
        sentence=sentence,
        agent=run.path(at),
        span_id=node.span_id,
        error_id=None,
        rows=(run.end_row(node), node.row_id),
        raised_at=None,
        handled_at=None,
        fate=None,
        ts_ns=node.end_ns or node.start_ns,
        is_told=True,
    )


def _stalled(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    usual_ms: dict[str, float | None] = {}
    often = round(limits.usual_call_share * 100)
    for at, node in enumerate(run.nodes):
        took_ms = node.duration_ms
        if node.family != "call" or node.attempts > 1 or took_ms is None or took_ms < limits.stall_min_ms:
            continue
        inside_ms = max((run.nodes[child].duration_ms or 0.0 for child in node.children), default=0.0)
        if inside_ms > took_ms / 2:
            continue  # what it waited for is the one to look at
        if node.name not in usual_ms:
            before = run.durations_before(node.name, limits.history_limit)
            usual_ms[node.name] = (
                percentile(before, limits.usual_call_share) if len(before) >= limits.history_count else None
            )
        usual = usual_ms[node.name]
        if usual is None or took_ms <= limits.stall_factor * usual:
            continue
        verb = "has been open for" if node.end_ns is None else "took"
        sentence = (
            f"{node.name} {verb} {render_duration(took_ms)}; {often} of 100 calls before took at most "
            f"{render_duration(usual)}"
        )
        yield _finding(run, "stalled", 0.75, sentence, at)


def _outliers(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    turns: dict[str, list[int]] = {}
    share = limits.usual_run_share
    often = round(share * 100)
    for at, node in enumerate(run.nodes):
        if node.family == "turn":
            turns.setdefault(node.agent_id, []).append(at)
    for of_agent in turns.values():
        tokens = {at: _tokens(run, at) for at in of_agent}
        total = sum(tokens.values())
        cost_usd = sum(run.nodes[at].cost_usd or 0.0 for at in of_agent)
        name = run.nodes[of_agent[0]].agent_name
        if name is None or (total < limits.spend_min_tokens and cost_usd < limits.spend_min_usd):
            continue
        before = run.agents_before(name, limits.history_limit)
        if len(before) < limits.history_count:
            continue
        usual = percentile([each.tokens for each in before], share)
        usual_usd = percentile([each.cost_usd or 0.0 for each in before], share)
        usual_turn = percentile([each.tokens / each.turns for each in before if each.turns], share)
        largest = max(of_agent, key=lambda at: (tokens[at], -at))
        if total >= limits.spend_min_tokens and total > limits.spend_factor * usual > 0:
            most_usual = render_count(int(usual))
            said = f"{render_count(total)} tokens; {often} of 100 runs before used at most {most_usual}"
        elif cost_usd >= limits.spend_min_usd and cost_usd > limits.spend_factor * usual_usd > 0:
            said = (
                f"{render_cost(cost_usd)}; {often} of 100 runs before cost at most {render_cost(usual_usd)}"
            )
        elif (
            tokens[largest] >= limits.spend_min_tokens
            and tokens[largest] > limits.spend_turn_factor * usual_turn > 0
        ):
            said = (
                f"{render_count(tokens[largest])} tokens in one turn; in {often} of 100 runs before a turn "
                f"had at most {render_count(int(usual_turn))}"
            )
            yield _finding(run, "outlier", 0.7, f"{name} used {said}", largest)
            continue
        else:
            continue
        most = max(of_agent, key=lambda at: (run.nodes[at].cost_usd or 0.0, tokens[at], -at))
        yield _finding(run, "outlier", 0.7, f"{name} used {said}; this turn most of all", most)


def _tokens(run: LoadedRun, at: int) -> int:
    node = run.nodes[at]
    return (node.input_tokens or 0) + (node.output_tokens or 0)


def _slow_path(run: LoadedRun, limits: Thresholds) -> Iterator[Finding]:
    share = limits.usual_run_share
    often = round(share * 100)
    for root in run.tree.roots:
        node = run.nodes[root]
        took_ms = node.duration_ms
        if node.family != "agent" or took_ms is None or took_ms < limits.slow_min_ms:
            continue
        before = run.agents_before(node.agent_name or "", limits.history_limit)
        usual_ms = percentile([float(each.duration_ms) for each in before], share)
        if len(before) < limits.history_count or took_ms <= limits.slow_alone_factor * usual_ms:
            continue
        own_ns = trace_critical_path(run.nodes, root)
        most = max(own_ns, key=lambda at: (own_ns[at], -at))
        is_alone = own_ns[most] / 1e6 > limits.slow_alone_factor * usual_ms
        if took_ms <= limits.slow_factor * usual_ms and not is_alone:
            continue
        slowest = run.nodes[most]
        lost = render_duration(own_ns[most] / 1e6)
        what = "the turn of " + slowest.name if slowest.family == "turn" else slowest.name
        sentence = (
            f"the run took {render_duration(took_ms)}, {often} of 100 before at most "
            f"{render_duration(usual_ms)}; {what} alone {lost}"
        )
        yield _finding(run, "slow_path", 0.6, sentence, most)
