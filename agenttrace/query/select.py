"""
Which conversation is meant: ``last``, ``last~2``, ``last-failed``, ``running``, or the start of an id.

Invariant: a selector means exactly one conversation, or is refused with what it
could have meant. A leading ``@`` changes nothing. A word that is also the exact
id of a conversation means that conversation.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from agenttrace.errors import NotFound
from agenttrace.query.reading import Reader

__all__ = ["SELECTORS", "Selection", "no_conversation", "select_conversation"]

SELECTORS = "an id or its start, last, last~N, last-ok, last-failed, running"

_LAST = re.compile(r"last(?:~(\d{1,9}))?")
_CANDIDATES = 6
_NEWEST = "ORDER BY ts_ms DESC, id DESC"
_BAD_FATES = ("swallowed", "escaped")


class Selection(NamedTuple):
    """The conversation that a selector means."""

    conversation_id: str
    note: str | None
    """What people should be told of the choice; None when it is plain."""


def select_conversation(reader: Reader, selector: str) -> Selection:
    """
    Find the conversation that *selector* means.

    Raises:
        NotFound: There is none, or there are several; ``nearest`` names what there is.
    """
    word = selector.removeprefix("@").strip()
    if reader.value("SELECT 1 FROM conversations WHERE id = ?", [word]):
        return Selection(word, None)
    match = _LAST.fullmatch(word)
    if match is not None:
        return _nth_last(reader, int(match[1] or 0))
    named = {"last-ok": _last_ok, "last-failed": _last_failed, "running": _running}.get(word)
    if named is not None:
        return named(reader)
    return _by_prefix(reader, word)


def _nth_last(reader: Reader, back: int) -> Selection:
    newest = "SELECT id FROM conversations ORDER BY created_ms DESC, id DESC LIMIT 1 OFFSET ?"
    found = reader.value(newest, [back])
    if found is not None:
        return Selection(str(found), None)
    count = int(reader.value("SELECT count(*) FROM conversations") or 0)
    if count == 0:
        raise NotFound("no conversation is recorded yet.")
    raise NotFound(f"last~{back}: only {count} conversations are recorded; the oldest is last~{count - 1}.")


def _last_ok(reader: Reader) -> Selection:
    found = reader.value(f"SELECT id FROM agent_sessions WHERE status = 'completed' {_NEWEST} LIMIT 1")
    if found is None:
        raise NotFound("last-ok: no conversation has completed without a failure at its root.")
    return Selection(str(found), None)


def _last_failed(reader: Reader) -> Selection:
    rows = reader.rows(
        f"SELECT id, status FROM agent_sessions WHERE status IN ('failed', 'interrupted') {_NEWEST} LIMIT 1"
    )
    if rows:
        found, status = rows[0]
        return Selection(found, f"last-failed: took {found}, the newest that {_render_end(status)}.")
    rows = reader.rows(
        "SELECT conversation_id, fate, error_type FROM failures WHERE fate IN (?, ?)"
        " ORDER BY ts_ms DESC, id DESC LIMIT 1",
        _BAD_FATES,
    )
    if rows:
        found, fate, error_type = rows[0]
        what = f"{fate} failure ({error_type or 'error'})"
        return Selection(
            found,
            f"last-failed: none failed or was interrupted; took {found}, the newest with a {what}.",
        )
    raise NotFound("last-failed: none failed, was interrupted, or has a swallowed or escaped failure.")


def _render_end(status: str) -> str:
    return "was interrupted" if status == "interrupted" else "failed"


def _running(reader: Reader) -> Selection:
    rows = reader.rows(f"SELECT id FROM agent_sessions WHERE status = 'running' {_NEWEST} LIMIT 2")
    if not rows:
        raise NotFound("running: nothing is running now.")
    found = str(rows[0][0])
    if len(rows) == 1:
        return Selection(found, None)
    return Selection(found, f"running: several are; took the newest, {found} (`agenttrace ps` shows all).")


def _by_prefix(reader: Reader, prefix: str) -> Selection:
    rows = []
    if prefix:
        # A range of the primary key; LIKE would ignore case and read every row.
        rows = reader.rows(
            "SELECT id FROM conversations WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            [prefix, prefix + "\U0010ffff", _CANDIDATES + 1],
        )
    ids = [str(row[0]) for row in rows]
    if len(ids) == 1:
        return Selection(ids[0], None)
    if ids:
        shown = ", ".join(ids[:_CANDIDATES]) + (", …" if len(ids) > _CANDIDATES else "")
        message = f"{prefix!r} is the start of several conversations: {shown}."
        raise NotFound(message, tuple(ids[:_CANDIDATES]))
    raise no_conversation(reader, prefix)


def no_conversation(reader: Reader, wrong: str, limit: int = 3) -> NotFound:
    """Build the error for an unknown id, with those most like it, else the newest."""
    rows = reader.rows("SELECT id FROM conversations ORDER BY created_ms DESC, id DESC LIMIT 5000")
    ids = [str(row[0]) for row in rows]
    alike = difflib.get_close_matches(wrong, ids, n=limit, cutoff=0.5)
    if alike:
        hint = f"Nearest: {', '.join(alike)}."
    elif ids:
        hint = f"The newest: {', '.join(ids[:limit])}. A selector is {SELECTORS}."
    else:
        hint = "No conversation is recorded yet."
    return NotFound(f"no conversation {wrong!r}. {hint}", tuple(alike or ids[:limit]))
