"""
The shape of a run: which agents did what in which order, and nothing of how often, how long or with what.

A shape is a tree: each agent with its calls and its subagents in the order in which they ended; what ran at
the same time is put in the order of its names. The same again and again is one step that repeats
(``fetch*n``), and so is a round of up to ten steps (``(ask → look)*n``). Pure. Invariants: the same steps
give the same shape, whatever their ids and times; a shape of a shape is itself. Cost: about one pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Step", "Timed", "collapse", "iter_path", "order_steps", "render_shape", "render_step"]

ROUND_STEPS = 10
"""Steps of the longest round that is looked for."""

_OVERLAP_NS = 100_000
"""What ran at the same time did so at least this long: clocks of starts and ends do not agree better."""
_PASSES = 4


class Step(NamedTuple):
    """One step of a shape."""

    name: str
    """Of the tool or of the agent; "" of a round."""
    inner: tuple[Step, ...] | None = None
    """What was done inside an agent or a call, or the steps of a round; None where nothing was."""
    is_many: bool = False
    """It repeats."""
    is_failed: bool = False

    @property
    def once(self) -> Step:
        """Give it as if it were there once."""
        return self._replace(is_many=False) if self.is_many else self


class Timed(NamedTuple):
    """A step with when it was."""

    end_ns: int
    start_ns: int
    step: Step
    plain: Step
    """The same without what failed in it."""
    height: int = 0
    """How many steps are inside each other in it."""


def order_steps(steps: Sequence[Timed]) -> list[Timed]:
    """Put steps in the order in which they ended, those that ran at the same time in that of their names."""
    groups: list[tuple[int, int, list[Timed]]] = []
    for timed in sorted(steps, key=_time_key):
        end_ns, start_ns = timed[:2]
        together = [timed]
        while groups and groups[-1][1] - start_ns >= _OVERLAP_NS:
            begun_ns, _, others = groups.pop()
            others += together
            together = others
            start_ns = min(start_ns, begun_ns)
        groups.append((start_ns, end_ns, together))
    ordered: list[Timed] = []
    for _, _, together in groups:
        ordered += together if len(together) == 1 else sorted(together, key=_name_key)
    return ordered


def _time_key(timed: Timed) -> tuple[int, int, str]:
    return timed.end_ns, timed.start_ns, timed.step.name


def _name_key(timed: Timed) -> tuple[str, str]:
    return render_step(timed.plain), render_step(timed.step)


def collapse(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Make one step of each that repeats, and of each round that does."""
    found = tuple(steps)
    for _ in range(_PASSES):
        before = found
        found = tuple(_collapse_runs(found))
        for size in range(2, min(ROUND_STEPS, len(found) // 2) + 1):
            found = tuple(_collapse_rounds(found, size))
        if found == before:
            break
    return found


def _collapse_runs(steps: Sequence[Step]) -> Iterator[Step]:
    last: Step | None = None
    for step in steps:
        if last is not None and step.once == last.once:
            last = step._replace(is_many=True)
            continue
        if last is not None:
            yield last
        last = step
    if last is not None:
        yield last


def _collapse_rounds(steps: Sequence[Step], size: int) -> Iterator[Step]:
    once = [step.once for step in steps]
    at = 0
    while at < len(steps):
        end = at + size
        while once[end : end + size] == once[at : at + size] and end + size <= len(steps):
            end += size
        if end == at + size or end > len(steps):
            yield steps[at]
            at += 1
            continue
        members = [steps[at + place : end : size] for place in range(size)]
        inner = tuple(each[0]._replace(is_many=any(step.is_many for step in each)) for each in members)
        yield Step("", inner, is_many=True, is_failed=any(step.is_failed for step in inner))
        at = end


def iter_path(steps: Iterable[Step], agent: str = "", limit: int = 2_000) -> Iterator[tuple[str, Step]]:
    """
    Walk a shape: each step with the path of what it stands in, before what was done inside it.

    A round is one step. That one with something inside failed is known only after that: its end is then a
    step of its own, without a name.

    Args:
        steps: What was done.
        agent: Path of what it stands in.
        limit: Steps at most.
    """
    waiting: list[tuple[str, Iterator[Step], bool]] = [(agent, iter(tuple(steps)), False)]
    count = 0
    while waiting and count < limit:
        path, rest, is_failed = waiting[-1]
        step = next(rest, None)
        if step is None:
            waiting.pop()
            if is_failed:
                count += 1
                yield path, Step("", is_failed=True)
            continue
        count += 1
        if step.inner is None or not step.name:
            yield path, step
            continue
        yield path, step._replace(inner=None, is_failed=False)
        waiting.append((f"{path}/{step.name}" if path else step.name, iter(step.inner), step.is_failed))


def render_step(step: Step, arrow: str = " → ", failed: str = " ✘") -> str:
    """Render one step: ``fetch``, ``fetch*n``, ``search(fetch → parse)``, ``(ask → look)*n``."""
    text = step.name
    if step.inner:
        text = f"{text}({arrow.join(render_step(each, arrow, failed) for each in step.inner)})"
    many = "*n" if step.is_many else ""
    return f"{text}{many}{failed if step.is_failed and step.name else ''}"


def render_shape(steps: Iterable[Step], arrow: str = " → ", failed: str = " ✘") -> str:
    """Render a shape in one line; of several root agents one after the other."""
    return arrow.join(render_step(step, arrow, failed) for step in steps) or "(nothing)"
