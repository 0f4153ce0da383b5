"""
A fold in words: how many of what it hides, how long they took, and which failures are among them.
"""

from __future__ import annotations

from agenttrace.query.describe import describe_tokens
from agenttrace.query.folding import Fold, Folding
from agenttrace.query.lines import Glyphs, Span, mark_span
from agenttrace.query.text import pluralize, render_count, render_duration, sanitize
from agenttrace.query.tree import Tree

__all__ = ["describe_fold"]

_TYPES_SHOWN = 3
_NOUNS = ("agent", "call", "turn", "event")


def describe_fold(tree: Tree, folding: Folding, fold: Fold, glyphs: Glyphs) -> Span:
    """
    Render a fold in words.

    Returns:
        ``… 5 more read_file ✔ · 5 ms in all``, or ``… 8 calls folded (--all) · ✘ 1 failure: KeyError 1``.
    """
    return _describe_run(tree, fold, glyphs) if fold.is_run else _describe_gap(folding, fold, glyphs)


def _describe_run(tree: Tree, fold: Fold, glyphs: Glyphs) -> Span:
    hidden = [tree.nodes[at] for at in fold.members]
    first = hidden[0]
    parts = [f"{glyphs.ellipsis} {render_count(len(hidden))} more {sanitize(first.name)}"]
    if first.status:
        parts[0] += f" {mark_span(first.status, glyphs).text}"
    total_ms = sum(node.duration_ms or 0 for node in hidden)
    if total_ms:
        parts.append(f"{render_duration(total_ms)} in all")
    tokens = describe_tokens(
        sum(node.input_tokens or 0 for node in hidden), sum(node.output_tokens or 0 for node in hidden)
    )
    if tokens:
        parts.append(tokens)
    if first.failures:
        parts.append(sanitize(first.failures[0].error_type))
        if first.failures[0].fate:
            parts.append(first.failures[0].fate)
    return Span(glyphs.dot.join(parts), "bad" if first.failures else "dim")


def _describe_gap(folding: Folding, fold: Fold, glyphs: Glyphs) -> Span:
    families, failures = folding.count(fold)
    counts = [pluralize(families[noun], noun) for noun in _NOUNS if families[noun]]
    what = "below" if fold.is_deeper else "folded"
    text = f"{glyphs.ellipsis} {', '.join(counts) or '0 events'} {what} (--all)"
    failed = sum(failures.values())
    if not failed:
        return Span(text, "dim")
    most = failures.most_common(_TYPES_SHOWN)
    types = [f"{sanitize(name)} {render_count(count)}" for name, count in most]
    if len(failures) > _TYPES_SHOWN:
        types.append(glyphs.ellipsis)
    text += f"{glyphs.dot}{glyphs.marks['error']} {pluralize(failed, 'failure')}: {', '.join(types)}"
    return Span(text, "bad")
