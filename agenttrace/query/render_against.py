"""
Where a run left a good one, in four lines at most beneath a verdict.

Pure. Invariants: what was recorded is sanitised; a line is at most as wide as asked but for a
command, which is never cut; every command names a row or a run that the claim was made from.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from agenttrace.query.against import Divergence
from agenttrace.query.contrast import contrast
from agenttrace.query.diff import Difference
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line
from agenttrace.query.render_diff import contrast_errors
from agenttrace.query.runs import parse_json
from agenttrace.query.steps import Step
from agenttrace.query.text import cell_width, fit, pluralize, preview, preview_arguments, sanitize

__all__ = ["render_against"]

_LABEL_WIDTH = 8
_GIVEN = frozenset({"arguments", "input"})


def render_against(
    divergence: Divergence, conversation_id: str, width: int, glyphs: Glyphs = UNICODE, *, database: str = ""
) -> list[Line]:
    """
    Render where a run left a good one.

    Args:
        divergence: What ``find_divergence`` gave.
        conversation_id: The run.
        width: Cells of a line.
        glyphs: What may be drawn with.
        database: What every command ends with, " --db PATH" say.
    """
    if divergence.good is None:
        said = f"{divergence.how}: nothing to compare with"
        return [fit_line(_labelled("against", Span(sanitize(said), "warn")), width, glyphs.ellipsis)]
    good = sanitize(divergence.good)
    lines = [
        fit_line(
            _labelled("against", Span(good, "id"), Span(sanitize(f", {divergence.how}"))),
            width,
            glyphs.ellipsis,
        )
    ]
    first = divergence.first
    if first is None:
        said = f"nowhere: {pluralize(divergence.same_count, 'step')} and no difference"
        lines.append(_labelled("parted", Span(said, "ok")))
    else:
        room = width - _LABEL_WIDTH
        parted = _labelled("parted", *_describe(first, room, glyphs))
        lines.append(fit_line(parted, width, glyphs.ellipsis))
    ids = " ".join(shlex.quote(each) for each in (divergence.good, conversation_id))
    lines.append(_labelled("", Span(f"agenttrace diff {sanitize(ids)}{database}", "id")))
    if divergence.row_id is not None:
        lines.append(_labelled("", Span(f"agenttrace show --event {divergence.row_id}{database}", "id")))
    return lines


def _labelled(label: str, *spans: Span) -> Line:
    return (Span(f"{label:<{_LABEL_WIDTH}}", "dim"), *spans)


def _describe(first: Difference, room: int, glyphs: Glyphs) -> Iterator[Span]:
    """Say in one line what the good one did (there) and what this run did (here)."""
    step = first.b or first.a
    assert step is not None, "a difference has at least one side"
    where = sanitize(step.agent.rpartition("/")[2])
    if (
        not first.kind.startswith("only")
        and first.kind not in ("instead", "name")
        and where != sanitize(step.name)
    ):
        where = f"{where} {glyphs.deep} {sanitize(step.name)}"
    head = fit(where, max(12, room // 3), glyphs.ellipsis)
    yield Span(head, "agent")
    yield Span(f"{glyphs.dot}{first.kind}: ", "")
    left = room - cell_width(head) - cell_width(glyphs.dot) - len(first.kind) - 2
    if first.a is None or first.b is None:
        side = "here" if first.a is None else "there"
        yield Span(fit(_title(step, left - 11, glyphs), left - 11, glyphs.ellipsis), "value")
        yield Span(f" {side} alone", "bad")
        return
    words = (" there, ", " here")
    left -= len("".join(words))
    there, here = _sides(first, first.a, first.b, glyphs, left)
    there = fit(there, max(left // 2, left - cell_width(here)), glyphs.ellipsis)
    yield Span(there, "value")
    yield Span(words[0], "dim")
    yield Span(fit(here, left - cell_width(there), glyphs.ellipsis), "value")
    yield Span(words[1], "dim")


def _sides(first: Difference, a: Step, b: Step, glyphs: Glyphs, room: int) -> tuple[str, str]:
    if first.kind in ("instead", "order", "name"):
        return _title(a, room, glyphs), _title(b, room, glyphs)
    if first.kind == "model":
        return sanitize(a.name), sanitize(b.name)
    if first.kind in _GIVEN:
        given = contrast(parse_json(a.arguments), parse_json(b.arguments), glyphs.ellipsis)
        return _given(given[0], room, glyphs), _given(given[1], room, glyphs)
    if first.kind == "attempts":
        return pluralize(a.attempts, "attempt"), pluralize(b.attempts, "attempt")
    if first.kind == "caught":
        return sanitize(a.caught or "nothing"), sanitize(b.caught or "nothing")
    back = [parse_json(a.result), parse_json(b.result)]
    if first.kind in ("result", "answer"):
        back = list(contrast(back[0], back[1], glyphs.ellipsis))
    errors = contrast_errors(first, glyphs)
    return (
        _came_back(a, back[0], errors[0], room, glyphs),
        _came_back(b, back[1], errors[1], room, glyphs),
    )


def _given(value: object, room: int, glyphs: Glyphs) -> str:
    if isinstance(value, dict):
        return preview_arguments(value, room, glyphs.ellipsis) or "nothing"
    return preview(value, room, glyphs.ellipsis)


def _title(step: Step, room: int, glyphs: Glyphs) -> str:
    if step.family != "call":
        return sanitize(f"{step.family} {step.name}")
    name = sanitize(step.name)
    given = preview_arguments(
        parse_json(step.arguments), max(0, room - cell_width(name) - 2), glyphs.ellipsis
    )
    return f"{name}({given})"


def _came_back(step: Step, value: object, error: str, room: int, glyphs: Glyphs) -> str:
    mark = glyphs.marks.get(step.status, step.status)
    if error:
        return f"{mark} {sanitize(error)}"
    return mark if value is None else f"{mark} {preview(value, room, glyphs.ellipsis)}"
