"""
A diagnosis in at most twelve lines, each claim beside the command that proves it.

Pure. Invariants: a line is at most as wide as asked, but for a place (``file:line``) and a command,
because one is clicked and the other run; what such a line takes more than one line of the terminal
counts. A command is never cut, a place only where it alone would take all the room. Every command
names a row that the claim was made from.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from agenttrace.query.diagnose import Diagnosis
from agenttrace.query.findings import Finding
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width
from agenttrace.query.render_against import render_against
from agenttrace.query.text import cell_width, fit, pluralize, sanitize

__all__ = ["LINES_LIMIT_COUNT", "prove", "render_why"]

LINES_LIMIT_COUNT = 12
_LABEL_WIDTH = 8
_NOT_SEEN = "the line is not known: that takes Python 3.12 or later"
_FATES = {
    "swallowed": "swallowed: nobody was told",
    "escaped": "escaped: it ended the run",
    "reported": "reported: a model, or the answer, was told",
    "retried": "retried",
    "open": "open: the run goes on",
}


def prove(finding: Finding, database: str = "") -> str:
    """Give the command that shows the row a finding is made from; *database* is what follows it."""
    return f"agenttrace show --event {finding.rows[0]}{database}"


def render_why(
    diagnosis: Diagnosis,
    width: int,
    glyphs: Glyphs = UNICODE,
    *,
    database: str = "",
    shorten: Sequence[tuple[str, str]] = (),
) -> list[Line]:
    """
    Render what went wrong.

    Args:
        diagnosis: What ``TraceViewer.diagnose`` gave.
        width: Cells of a line.
        glyphs: What may be drawn with.
        database: What every command ends with, " --db PATH" say.
        shorten: Beginnings of paths, and what is written for them.
    """
    lines = [_verdict_line(diagnosis, width, glyphs)]
    first = diagnosis.first
    parted: list[Line] = []
    if diagnosis.divergence is not None:
        parted = render_against(
            diagnosis.divergence, diagnosis.conversation_id, width, glyphs, database=database
        )
    if first is None:
        lines += _render_lost(diagnosis, width, glyphs, database)
        lines.append(_labelled("proof", Span(f"agenttrace show {_name_run(diagnosis)}{database}", "id")))
        return lines + parted
    lines += _render_first(diagnosis, first, width, glyphs, shorten)
    last = [
        _labelled("proof", Span(prove(first, database), "id")),
        *_render_lost(diagnosis, width, glyphs, database),
        *parted,
    ]
    lines = [*_make_room(lines, width, LINES_LIMIT_COUNT - _height_of(last, width), glyphs.ellipsis), *last]
    room = LINES_LIMIT_COUNT - _height_of(lines, width)
    return lines + list(_render_rest(diagnosis.findings[1:], width, glyphs, database, room))


def _name_run(diagnosis: Diagnosis) -> str:
    """Give what ``show`` takes for the run; an id that cannot be typed is shown by its first row."""
    name = diagnosis.conversation_id
    if sanitize(name) != name and diagnosis.row_id is not None:
        return f"--event {diagnosis.row_id}"
    return f"{'-- ' if name.startswith('-') else ''}{shlex.quote(sanitize(name))}"


def _render_lost(diagnosis: Diagnosis, width: int, glyphs: Glyphs, database: str) -> list[Line]:
    if not diagnosis.lost_events:
        return []
    said = (
        f"{pluralize(diagnosis.lost_events, 'event')} of its processes; agenttrace doctor{database} says why"
    )
    return [fit_line(_labelled("lost", Span(said, "warn")), width, glyphs.ellipsis)]


def _make_room(given: list[Line], width: int, room: int, ellipsis: str) -> list[Line]:
    """Leave out what can be missed best until the lines fit; then cut the places, at their beginning."""
    lines = list(given)
    labels = [line[0].text.strip() for line in lines]
    missed = ["raised"] if "caught" in labels else []
    for label in (*missed, "", "fate", "run", "chain"):
        if _height_of(lines, width) <= room:
            return lines
        places = [at for at, line in enumerate(lines) if line[0].text.strip() == label]
        if places[label == "" :]:  # of the sentence's two lines the second
            del lines[places[-1]]
            if label == "":
                head, said = lines[places[0]]
                text = fit(said.text, width - _LABEL_WIDTH - cell_width(ellipsis), "")
                lines[places[0]] = (head, Span(text + ellipsis))
    others = [line for line in lines if not _is_place(line)]
    rows = (room - _height_of(others, width)) // max(1, len(lines) - len(others))
    most = max(1, rows) * width - _LABEL_WIDTH
    return [
        (line[0], Span(_keep_end(line[1].text, most, ellipsis), "value")) if _is_place(line) else line
        for line in lines
    ]


def _is_place(line: Line) -> bool:
    return line[0].text.strip() in ("caught", "raised") and line[1].style == "value"


def _keep_end(text: str, width: int, ellipsis: str) -> str:
    if cell_width(text) <= width:
        return text
    return ellipsis + fit(text[::-1], max(1, width - cell_width(ellipsis)), "")[::-1]


def _height_of(lines: Sequence[Line], width: int) -> int:
    return sum(_height(line, width) for line in lines)


def _height(line: Line, width: int) -> int:
    return max(1, -(-line_width(line) // width))


def _labelled(label: str, *spans: Span) -> Line:
    return (Span(f"{label:<{_LABEL_WIDTH}}", "dim"), *spans)


def _verdict_line(diagnosis: Diagnosis, width: int, glyphs: Glyphs) -> Line:
    is_well = diagnosis.status == "completed" and diagnosis.first is None
    mark = Span("" if not is_well else f"{glyphs.marks['ok']} ", "ok")
    verdict = Span(sanitize(diagnosis.verdict), "ok" if is_well else "bad")
    return fit_line((mark, verdict), width, glyphs.ellipsis)


def _render_first(
    diagnosis: Diagnosis,
    first: Finding,
    width: int,
    glyphs: Glyphs,
    shorten: Sequence[tuple[str, str]],
) -> Iterator[Line]:
    about = f"{diagnosis.conversation_id}{glyphs.dot}{diagnosis.task}" if diagnosis.task else None
    run = sanitize(about or diagnosis.conversation_id)
    yield fit_line(_labelled("run", Span(run, "id")), width, glyphs.ellipsis)
    sure = f" ({first.confidence:.0%} sure)"
    yield _labelled("cause", Span(first.kind, "bad"), Span(sure, "dim"))
    yield from _wrap(sanitize(first.sentence), width, glyphs.ellipsis)
    if first.handled_at is not None:
        yield _labelled("caught", Span(_shorten(first.handled_at, shorten), "value"))
    elif first.kind in ("swallowed_error", "subagent_ignored"):
        yield fit_line(_labelled("caught", Span(_NOT_SEEN, "dim")), width, glyphs.ellipsis)
    if first.raised_at is not None:
        yield _labelled("raised", Span(_shorten(first.raised_at, shorten), "value"))
    yield fit_line(_labelled("chain", *_render_chain(diagnosis, glyphs)), width, glyphs.ellipsis)
    if first.fate is not None:
        yield _labelled("fate", Span(_FATES.get(first.fate, first.fate)))


def _wrap(text: str, width: int, ellipsis: str) -> Iterator[Line]:
    """Give a sentence in two lines at most, broken at a space."""
    room = width - _LABEL_WIDTH
    head = fit(text, room, "")
    if head != text and not text[len(head) :].startswith(" "):
        head = head.rpartition(" ")[0] or head
    yield _labelled("", Span(head))
    rest = text[len(head) :].strip()
    if rest:
        yield _labelled("", Span(fit(rest, room, ellipsis)))


def _pad(text: str, width: int) -> str:
    return text + " " * (width - cell_width(text))


def _shorten(place: str, shorten: Sequence[tuple[str, str]]) -> str:
    for long, short in shorten:
        if place.startswith(long):
            return sanitize(short + place[len(long) :])
    return sanitize(place)


def _render_chain(diagnosis: Diagnosis, glyphs: Glyphs) -> Iterator[Span]:
    for at, link in enumerate(diagnosis.chain):
        if at:
            yield Span(f" {glyphs.arrow} ", "guide")
        mark = glyphs.marks.get(link.status, link.status)
        yield Span(f"{sanitize(link.name)} ", "agent")
        yield Span(mark, "ok" if link.status == "ok" else "bad")


def _render_rest(
    findings: Sequence[Finding], width: int, glyphs: Glyphs, database: str, room: int
) -> Iterator[Line]:
    """Render further findings, a line each where command and claim fit in one, else two."""
    for at, finding in enumerate(findings):
        command = prove(finding, database)
        left = width - _LABEL_WIDTH - len(command) - 2
        what = sanitize(f"{finding.kind}: {finding.sentence}")
        if left >= 16:
            lines = [
                _labelled("then", Span(_pad(fit(what, left, glyphs.ellipsis), left + 2)), Span(command, "id"))
            ]
        else:
            lines = [
                fit_line(_labelled("then", Span(what)), width, glyphs.ellipsis),
                _labelled("", Span(command, "id")),
            ]
        height = sum(_height(line, width) for line in lines)
        is_last = at == len(findings) - 1
        if height + (not is_last) > room:
            more = f"{glyphs.ellipsis} {pluralize(len(findings) - at, 'more finding')}: --json has them all"
            if room > 0:
                yield (Span(more, "dim"),)
            return
        room -= height
        yield from lines
