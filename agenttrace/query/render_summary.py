"""
The two lines above a tree: which conversation, how it stands, what it did, what failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agenttrace.events import FATES
from agenttrace.query.describe import describe_tokens
from agenttrace.query.lines import UNICODE, Glyphs, Line, Span, fit_line, line_width, mark_span
from agenttrace.query.text import cell_width, fit, pluralize, render_count, render_duration, sanitize
from agenttrace.store.rows import ConversationRow

__all__ = ["describe_fates", "render_header", "shorten_id"]

_WORST_FIRST = ("escaped", "swallowed", "open", "reported", "retried")
assert sorted(_WORST_FIRST) == sorted(FATES), "every fate has its place"


def shorten_id(conversation_id: str, width: int = 16, ellipsis: str = "…") -> str:
    """Show the start of an id; short ones whole, so that they can be copied."""
    return fit(sanitize(conversation_id), width, ellipsis)


def describe_fates(fates: Mapping[str, int]) -> str:
    """Render ``4 failures: 1 escaped, 1 swallowed, 2 retried``, the worst first; ``no failures``."""
    total = sum(fates.values())
    if not total:
        return "no failures"
    parts = [f"{render_count(fates[fate])} {fate}" for fate in _WORST_FIRST if fates.get(fate)]
    return f"{pluralize(total, 'failure')}: {', '.join(parts)}"


def render_header(
    conversation: ConversationRow,
    status: str,
    fates: Mapping[str, int],
    *,
    width: int = 80,
    glyphs: Glyphs = UNICODE,
) -> Iterator[Line]:
    """
    Render the lines that stand above a conversation.

    Args:
        conversation: Its row.
        status: How it stands, liveness considered.
        fates: Failures by what became of them.
        width: Terminal cells per line.
        glyphs: ``lines.UNICODE`` or ``lines.ASCII``.
    """
    dot = Span(glyphs.dot, "dim")
    first: list[Span] = [
        Span("conversation "),
        Span(shorten_id(conversation.id, max(16, width // 2), glyphs.ellipsis), "id"),
    ]
    if conversation.task:
        room = width - line_width(first) - len(glyphs.dot)
        first += [dot, Span(fit(sanitize(conversation.task), room, glyphs.ellipsis), "agent")]
    yield fit_line(tuple(first), width, glyphs.ellipsis)
    facts = [
        f"{conversation.started_at[:19]} UTC",
        render_duration(conversation.duration_ms),
        pluralize(conversation.agents, "agent"),
        pluralize(conversation.tool_calls or 0, "call"),
    ]
    usage = describe_tokens(
        conversation.input_tokens, conversation.output_tokens, conversation.total_cost_usd
    )
    if usage:
        facts.append(usage)
    style = "bad" if fates.get("swallowed") or fates.get("escaped") else ""
    line: list[Span] = [mark_span(status, glyphs)]
    for fact in [*(Span(fact) for fact in facts), Span(describe_fates(fates), style)]:
        if line_width(line) + len(glyphs.dot) + cell_width(fact.text) > width:
            yield tuple(line)
            line = [fact]
        else:
            line += [dot, fact]
    yield fit_line(tuple(line), width, glyphs.ellipsis)
