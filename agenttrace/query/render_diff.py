"""
Two runs side by side in lines for a terminal.

Pure. Invariant: a line is at most as wide as asked, and what is cut is never a row number, a side
or the kind of a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agenttrace.query.contrast import contrast
from agenttrace.query.diff import Difference, RunDiff, Totals
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width
from agenttrace.query.runs import parse_json
from agenttrace.query.steps import Step
from agenttrace.query.text import (
    cell_width,
    fit,
    pluralize,
    preview,
    preview_arguments,
    render_cost,
    render_count,
    render_duration,
    sanitize,
)

__all__ = ["contrast_errors", "render_diff"]

_MINOR_LEADS = {
    "answer": "only the words of answers differ; the first ones: ",
    "input": "what they were asked differs: ",
}

_KIND_WIDTH = 9


def render_diff(diff: RunDiff, width: int, glyphs: Glyphs = UNICODE, limit: int = 20) -> Iterator[Line]:
    """
    Render what two runs did, where they part, and what differs.

    Args:
        diff: What ``build_diff`` gave.
        width: Cells of a line.
        glyphs: What may be drawn with.
        limit: Differences after the first one to show.
    """
    yield from _render_totals(diff, width, glyphs)
    yield ()
    first = diff.first
    if first is None:
        yield (Span("no difference: ", "ok"), Span(f"all {pluralize(diff.same_count, 'step')} are the same"))
        return
    if first.is_minor:
        lead = _MINOR_LEADS[first.kind]
    else:
        lead = "they part here: "
    yield fit_line((Span(lead, "bad"), *_name(first, glyphs)), width, glyphs.ellipsis)
    yield from _render_sides(first, width, glyphs)
    rest = [each for each in diff.differences if each is not first and not each.is_minor]
    answers = sum(each.kind == "answer" for each in diff.differences) - (first.kind == "answer")
    asked = next((each for each in diff.differences if each.kind == "input" and each is not first), None)
    if asked is not None:
        yield from _render_input(asked, width, glyphs)
    if rest:
        yield ()
        yield (Span(f"and {pluralize(len(rest), 'difference')} behind it", "dim"),)
        for each in rest[:limit]:
            yield _render_short(each, width, glyphs)
        if len(rest) > limit:
            yield (Span(f"{glyphs.ellipsis} {render_count(len(rest) - limit)} more: -n {len(rest)}", "dim"),)
    if answers:
        yield ()
        yield (Span(f"{pluralize(answers, 'answer')} of models in other words (--json has them)", "dim"),)


def _render_input(asked: Difference, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Say that the runs were not asked the same."""
    yield ()
    yield fit_line((Span("they were not asked the same", "warn"),), width, glyphs.ellipsis)
    for side, step, given in zip("AB", (asked.a, asked.b), _read_sides(asked, glyphs)[0], strict=True):
        assert step is not None, "what one alone was asked is no difference in what was asked"
        start = (Span(f"  {side} ", "agent"), Span(f"#{step.row_id} ", "id"))
        yield (*start, Span(_title(step, given, width - line_width(start), glyphs)))


def _render_totals(diff: RunDiff, width: int, glyphs: Glyphs) -> Iterator[Line]:
    for side, totals in (("A", diff.a), ("B", diff.b)):
        mark = glyphs.marks.get(totals.status, totals.status)
        style = "ok" if totals.status == "completed" else "bad" if totals.status == "failed" else "warn"
        line: list[Span] = [Span(side, "agent"), Span(f" {totals.conversation_id} ", "id"), Span(mark, style)]
        for fact in _facts(totals):
            if line_width(line) + len(glyphs.dot) + cell_width(fact) > width:
                yield tuple(line)
                line = [Span("  "), Span(fact)]
            else:
                line += [Span(glyphs.dot, "dim"), Span(fact)]
        yield fit_line(tuple(line), width, glyphs.ellipsis)


def _facts(totals: Totals) -> Iterator[str]:
    yield pluralize(totals.agents, "agent")
    yield pluralize(totals.calls, "call")
    if totals.turns:
        yield pluralize(totals.turns, "turn")
    if totals.failed:
        yield f"{render_count(totals.failed)} failed"
    if totals.retries:
        yield f"{render_count(totals.retries)} retried"
    yield render_duration(totals.duration_ms)
    if totals.tokens:
        yield f"{render_count(totals.tokens)} tokens"
    if totals.cost_usd is not None:
        yield render_cost(totals.cost_usd)


def _name(difference: Difference, glyphs: Glyphs) -> tuple[Span, ...]:
    agent = sanitize(difference.agent.replace("/", f" {glyphs.deep} "))
    return Span(agent, "agent"), Span(f"{glyphs.dot}{difference.kind}", "")


def _render_sides(difference: Difference, width: int, glyphs: Glyphs) -> Iterator[Line]:
    given, back = _read_sides(difference, glyphs)
    errors = contrast_errors(difference, glyphs)
    for at, (side, step) in enumerate((("A", difference.a), ("B", difference.b))):
        if step is None:
            yield (Span(f"  {side} ", "agent"), Span("does nothing of the kind", "dim"))
            continue
        start = (Span(f"  {side} ", "agent"), Span(f"#{step.row_id} ", "id"))
        room = width - line_width(start)
        yield (*start, Span(_title(step, given[at], room, glyphs)))
        indent = Span(" " * line_width(start))
        if difference.kind == "caught":
            text = f"caught {step.caught}" if step.caught else "caught nothing"
            yield (indent, Span(fit(sanitize(text.replace("\n", ", ")), room, glyphs.ellipsis), "value"))
        else:
            yield (indent, *_outcome(step, back[at], errors[at], room, glyphs))


def _read_sides(difference: Difference, glyphs: Glyphs) -> tuple[list[Any], list[Any]]:
    """Give what both sides were given and gave back, without what they share where they differ in it."""
    steps = (difference.a, difference.b)
    given = [None if step is None else parse_json(step.arguments) for step in steps]
    back = [None if step is None else parse_json(step.result) for step in steps]
    if difference.kind in ("arguments", "input"):
        given = list(contrast(given[0], given[1], glyphs.ellipsis))
    if difference.kind in ("result", "answer"):
        back = list(contrast(back[0], back[1], glyphs.ellipsis))
    return given, back


def _title(step: Step, given: Any, room: int, glyphs: Glyphs) -> str:
    """Name a step with what it was given."""
    name = sanitize(step.name if step.family == "call" else f"{step.family} {step.name}")
    if step.family == "call":
        left = max(0, room - cell_width(name) - 2)
        return fit(f"{name}({preview_arguments(given, left, glyphs.ellipsis)})", room, glyphs.ellipsis)
    if given is not None:
        name = f"{name} {preview(given, max(0, room - cell_width(name) - 1), glyphs.ellipsis)}"
    return fit(name, room, glyphs.ellipsis)


def contrast_errors(difference: Difference, glyphs: Glyphs) -> tuple[str, str]:
    """Give what both sides failed with, each on one line, without how both texts begin."""
    said = ["" if step is None else step.error.partition("\n")[0] for step in (difference.a, difference.b)]
    if said[0] and said[1] and said[0] != said[1]:
        kinds = [each.partition(": ")[0] for each in said]
        if kinds[0] == kinds[1]:
            rest = contrast(said[0][len(kinds[0]) + 2 :], said[1][len(kinds[1]) + 2 :], glyphs.ellipsis)
            return f"{kinds[0]}: {rest[0]}", f"{kinds[1]}: {rest[1]}"
    return said[0], said[1]


def _outcome(step: Step, back: Any, error: str, room: int, glyphs: Glyphs) -> tuple[Span, ...]:
    mark = glyphs.marks.get(step.status, step.status)
    style = "ok" if step.status == "ok" else "bad"
    tail = f" ({pluralize(step.attempts, 'attempt')})" if step.attempts > 1 else ""
    left = room - cell_width(mark) - 1 - len(tail)
    if error:
        text = fit(sanitize(error), left, glyphs.ellipsis)
    elif back is not None:
        text = preview(back, left, glyphs.ellipsis)
    else:
        text = ""
    return Span(mark, style), Span(f" {text}{tail}", "bad" if error else "value")


def _render_short(difference: Difference, width: int, glyphs: Glyphs) -> Line:
    """Render one difference in a line: kind, rows, agent, step."""
    step = difference.b if difference.a is None else difference.a
    assert step is not None, "a difference has at least one side"
    rows = " ".join(
        f"{side}#{each.row_id}"
        for side, each in (("A", difference.a), ("B", difference.b))
        if each is not None
    )
    head = (Span(f"{difference.kind:<{_KIND_WIDTH}}  ", ""), Span(f"{rows}  ", "id"))
    agent = sanitize(difference.agent.rpartition("/")[2])
    room = width - line_width(head)
    name = fit(agent, max(8, room // 3), glyphs.ellipsis)
    tail = f" and {pluralize(difference.inside, 'step')} inside" if difference.inside else ""
    given = _read_sides(difference, glyphs)[0][difference.a is None]
    title = _title(step, given, max(0, room - cell_width(name) - 2 - len(tail)), glyphs)
    return (*head, Span(name, "agent"), Span(f"  {title}"), Span(tail, "dim"))
