"""
From where on something is called a finding.

Invariant: every number that a finder compares with stands here and can be set; none lies in the
finders. The defaults were chosen on the bench in ``tests/diagnosis`` with seeds 0 to 59 alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from agenttrace.errors import ConfigError

__all__ = ["DEFAULTS", "Thresholds", "change_thresholds", "project_thresholds"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What decides whether something is a finding."""

    min_confidence: float = 0.5
    """Findings that are less sure are left out."""
    retry_attempts: int = 5
    """Attempts of one call from which on they are a storm."""
    loop_calls: int = 4
    """Calls of one tool in a row, with equal arguments and equal results, that make a loop."""
    cycle_rounds: int = 3
    """Rounds of the same two to ``cycle_calls`` calls that make a loop."""
    cycle_calls: int = 4
    """Calls of the longest cycle that is looked for."""
    history_count: int = 8
    """Earlier calls, or runs, that it takes to say what is usual."""
    history_limit: int = 200
    """The newest earlier calls, or runs, that are looked at."""
    habit_share: float = 0.25
    """What an agent did in this share of its earlier runs is a habit and no fault: to answer nothing, say."""
    habit_runs: int = 30
    """The newest earlier runs of an agent in which its habits are looked for."""
    mend_calls: int = 20
    """Calls after one that failed, among which the one that mended it is looked for."""
    mend_likeness: float = 0.85
    """How alike, 0 to 1, the arguments of a call have to be to mend one of the same tool that failed."""
    mend_next_likeness: float = 0.6
    """For the agent's next call, and those of its next turn, which was told of the failure: how much, 0 to 1,
    of the shorter arguments the longer ones have; models add words, and leave some out."""
    mend_whole_likeness: float = 0.95
    """For any of those calls: so much of the shorter arguments in the longer ones is the same, reworded."""
    sure_confidence: float = 0.6
    """Of what a model was told of, findings less sure than this stand behind the others."""
    error_text_chars: int = 250
    """A longer answer is no error text, whatever it begins with."""
    usual_call_share: float = 0.95
    """How many of the earlier calls of a tool count as usual."""
    usual_run_share: float = 0.9
    """How many of the earlier runs of an agent do; fewer, as where people develop many runs go wrong."""
    stall_factor: float = 5.0
    """A stalled call took this many times what the usual ones took at most."""
    stall_min_ms: float = 2_000.0
    """What is shorter is never called stalled."""
    slow_factor: float = 3.0
    """A slow run took this many times what the usual ones took at most."""
    slow_alone_factor: float = 1.5
    """A run is slow, too, in which one operation alone took this many times what usual runs took in all."""
    slow_min_ms: float = 5_000.0
    """What is shorter is never called slow."""
    spend_factor: float = 5.0
    """An agent is an outlier with this many times the tokens, or cost, of the usual ones."""
    spend_turn_factor: float = 15.0
    """An agent is one with a single turn of this many times the tokens of a usual turn, too."""
    spend_min_tokens: int = 10_000
    """An agent that used fewer tokens is no outlier."""
    spend_min_usd: float = 0.05
    """An agent that cost less is no outlier by its cost."""


DEFAULTS = Thresholds()


def change_thresholds(base: Thresholds, values: Mapping[str, object], origin: str) -> Thresholds:
    """
    Give thresholds in which some are set otherwise.

    Args:
        base: The others.
        values: Numbers, or text that is one, by name.
        origin: Where they come from, for the message.

    Raises:
        ConfigError: There is no such threshold, or it takes no such number.
    """
    kinds = {field.name: type(getattr(DEFAULTS, field.name)) for field in fields(Thresholds)}
    changed: dict[str, int | float] = {}
    for name, value in values.items():
        kind = kinds.get(name)
        if kind is None:
            raise ConfigError(
                f"{origin}: there is no threshold {name!r}; there are: {', '.join(sorted(kinds))}"
            )
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError("no number")
            number = kind(value)
            if number != float(value) or not 0 <= number < float("inf"):
                raise ValueError("another number, or out of range")
        except (ValueError, OverflowError) as exc:
            what = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{origin}: {name} = {value!r}; allowed: {what} of 0 or more") from exc
        changed[name] = number
    return replace(base, **changed)  # type: ignore[arg-type]


def project_thresholds() -> Thresholds:
    """
    Give the thresholds of ``[tool.agenttrace.diagnosis]`` in the nearest pyproject.toml, or the defaults.

    Raises:
        ConfigError: It names one that there is not, or a value that is not allowed.
    """
    from agenttrace.config import load  # late: it reads a file

    values = load({}).diagnosis
    if not values:
        return DEFAULTS
    return change_thresholds(DEFAULTS, values, "pyproject.toml [tool.agenttrace.diagnosis]")
