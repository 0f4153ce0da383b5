"""
Search by words: what people type, made a query of the index, and each hit with the words around it.

A query is words (all must be there), ``"phrases in quotes"``, beginnings (``time*``), ``AND``, ``OR``,
``NOT`` and parentheses; anything else stands for itself. Case and accents do not matter. Pure, but for
``find_events``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agenttrace.errors import ConfigError
from agenttrace.query.reading import Reader
from agenttrace.store.rows import Event

__all__ = ["Hit", "build_match", "build_snippet", "find_events", "split_match"]

_TOKEN = re.compile(r'"((?:[^"]|"")*)"(\*?)|([()])|([^\s()"]+)')
_QUOTED = re.compile(r'"(?:[^"]|"")*"\*?')
_WORD = re.compile(r"[^\W_]+")
_OPERATORS = frozenset({"AND", "OR", "NOT"})
_BEFORE_CHARACTERS = 40
_SNIPPET_CHARACTERS = 160
_SCANNED_CHARACTERS = 1_000_000
_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Hit:
    """One event that fits."""

    event: Event
    score: float
    """
    How well it fits: the smaller, the better; only comparable within one search. 0.0 where a word stands
    in so many events that it tells nothing: then the newest come first.
    """
    snippet: str
    """The words around the first that was found, in one line; "" where only a name fits."""


def build_match(query: str) -> str:
    """
    Make a query of the index of what a person typed.

    Raises:
        ConfigError: There is no word in it.
    """
    parts: list[str] = []
    has_word = False
    for match in _TOKEN.finditer(query):
        phrase, star, parenthesis, word = match.groups()
        if parenthesis or word in _OPERATORS:
            if word in _OPERATORS and parts and parts[-1] in _OPERATORS:
                parts.pop()  # AND NOT is NOT, and of any other two the last counts
            parts.append(parenthesis or word)
            continue
        text = word if phrase is None else phrase.replace('""', '"')
        if phrase is None and text.endswith("*"):
            text, star = text.rstrip("*"), "*"
        if _WORD.search(text):
            has_word = True
            escaped = text.replace('"', '""')
            parts.append(f'"{escaped}"{star or ""}')
    if not has_word:
        raise ConfigError(f"{query!r}: give a word to search for.")
    return " ".join(_without_loose_ends(parts))


def split_match(match: str) -> list[str]:
    """Give the words and phrases of what `build_match` gave, each as a query of its own."""
    return [found.group() for found in _QUOTED.finditer(match)]


def _without_loose_ends(parts: list[str]) -> list[str]:
    """Leave out operators with nothing to join, so that ``this OR`` is a word and no mistake."""
    while parts and parts[0] in _OPERATORS:
        parts = parts[1:]
    while parts and parts[-1] in _OPERATORS:
        parts = parts[:-1]
    return parts


def _iter_wanted(query: str) -> Iterator[tuple[list[str], bool]]:
    """Give the words of each part that must be there, folded, and whether the last is only a beginning."""
    is_refused = False
    for match in _TOKEN.finditer(query):
        phrase, star, parenthesis, word = match.groups()
        if parenthesis or word in _OPERATORS:
            is_refused = word == "NOT"
            continue
        text = word if phrase is None else phrase
        words = [_fold(one) for one in _WORD.findall(text)]
        if words and not is_refused:
            yield words, bool(star) or text.endswith("*")
        is_refused = False


def _fold(text: str) -> str:
    """Drop case and accents, a character for a character, so that places agree with *text*."""
    folded = []
    for char in text:
        base = unicodedata.normalize("NFKD", char)[:1].casefold()
        folded.append(base if len(base) == 1 else char.lower()[:1] or char)
    return "".join(folded)


def build_snippet(payload_json: str, query: str) -> str:
    """
    Give the words around the first that *query* asks for.

    Returns:
        One line of about 160 characters, with an ellipsis where something is left out; "" where the
        payload holds none of them.
    """
    for text in _iter_texts(payload_json):
        folded = _fold(text)
        for words, is_beginning in _iter_wanted(query):
            pattern = r"[\W_]+".join(map(re.escape, words)) + ("" if is_beginning else r"(?![^\W_])")
            found = re.search(rf"(?<![^\W_]){pattern}", folded)
            if found is not None:
                start = max(0, found.start() - _BEFORE_CHARACTERS)
                end = start + _SNIPPET_CHARACTERS
                cut = " ".join(text[start:end].split())
                return ("…" if start else "") + cut + ("…" if end < len(text) else "")
    return ""


def _iter_texts(payload_json: str) -> Iterator[str]:
    """Give the texts in a payload, also numbers and names of members; of what is no JSON, itself."""
    try:
        waiting: list[Any] = [json.loads(payload_json)]
    except (ValueError, RecursionError):
        yield payload_json[:_SCANNED_CHARACTERS]
        return
    left = _SCANNED_CHARACTERS
    while waiting and left > 0:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(reversed([part for member in value.items() for part in member]))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
        elif value is not None and not isinstance(value, bool):
            text = value if isinstance(value, str) else json.dumps(value)
            left -= len(text)
            yield text


def find_events(
    reader: Reader,
    query: str,
    conditions: Sequence[str],
    values: Iterable[Any],
    limit: int,
    conversation_id: str | None = None,
) -> tuple[Hit, ...]:
    """
    Search, and put each hit together; what fits best comes first, or the newest where too much fits.

    Args:
        reader: Where to read.
        query: What a person typed.
        conditions: SQL conditions on ``trajectory_events``.
        values: Their values.
        limit: How many at most, up to 1,000.
        conversation_id: Only in this conversation.

    Raises:
        ConfigError: The query has no word or makes no sense, or the limit is none.
        StoreBusy: Another process has been making the index for longer than 10 s.
    """
    if not 1 <= limit <= _LIMIT:
        raise ConfigError(f"limit={limit}: give 1 to {_LIMIT}.")
    with reader.store.open_texts() as index:
        index.catch_up()
        match = build_match(query)
        matches = index.find(
            match,
            conditions,
            list(values),
            limit,
            words=split_match(match),
            conversation_id=conversation_id,
        )
    marks = ",".join("?" * len(matches))
    rows = reader.select(Event, f"WHERE id IN ({marks})", [match[0] for match in matches])
    events = {event.id: event for event in rows}
    hits = []
    for row_id, score in matches:
        event = events.get(row_id)
        if event is not None:  # else it was deleted meanwhile
            hits.append(Hit(event, score, build_snippet(_whole(reader, event), query)))
    return tuple(hits)


def _whole(reader: Reader, event: Event) -> str:
    """Give the payload, or of one that was cut the whole, where it was kept."""
    if '"sha256"' in event.payload_json:
        payload = event.payload
        sha256 = payload.get("sha256") if isinstance(payload, dict) else None
        body = reader.store.blob(sha256) if isinstance(sha256, str) else None
        if body is not None:
            return body.decode("utf-8", "replace")
    return event.payload_json
