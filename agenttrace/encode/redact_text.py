"""
Take secrets out of one text.

Invariant: all rules look at the text as it came, and what they found is taken out
together, so no rule hides another's match; nothing of a match stays, only
``[redacted:<rule>]`` in its place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

from agenttrace.encode.redact_assigned import iter_assigned
from agenttrace.encode.redact_formats import Span, iter_formats
from agenttrace.encode.redact_names import Names, build_words
from agenttrace.encode.redact_rules import PATTERNS

__all__ = ["CustomPattern", "TextRedactor", "iter_windows", "replace_spans"]

_TAKEN = "[redacted:"
_MIN_FORMAT_CHARACTERS = 16
_WINDOW_CHARACTERS = 8_192
_OVERLAP_CHARACTERS = 1_024
_PATTERN_S = 1.0

CustomPattern = tuple[str, re.Pattern[str]]
"""A rule's name and the user's regular expression."""

_patterns = [(rule, literal, re.compile(pattern)) for rule, literal, pattern in PATTERNS]


class TextRedactor:
    """Find what the rules name in a text; compiled once for a set of rules."""

    def __init__(self, names: Names, custom: tuple[CustomPattern, ...], *, default: bool) -> None:
        self.names = names
        self.words = build_words(names)
        self.custom = custom
        self.default = default

    def redact(self, text: str) -> str:
        """Give *text* with ``[redacted:<rule>]`` for each secret; the same object when there is none."""
        spans = list(self.iter_spans(text))
        return replace_spans(text, spans) if spans else text

    def iter_spans(self, text: str) -> Iterator[Span]:
        """Give the secrets of *text*, in any order; they may overlap."""
        data = text.encode("latin-1", "replace")  # one byte a character, so that positions agree
        lowered = data.lower().decode("latin-1")
        yield from iter_assigned(text, lowered, self.words, self.names)
        if self.default:
            if len(text) >= _MIN_FORMAT_CHARACTERS:
                yield from iter_formats(text, data)
            for rule, literal, pattern in _patterns:
                if literal in lowered:
                    for match in pattern.finditer(text):
                        if not match["secret"].startswith(_TAKEN):
                            yield *match.span("secret"), rule
        for rule, custom in self.custom:
            yield from iter_windows(text, rule, custom)


def iter_windows(text: str, rule: str, pattern: re.Pattern[str]) -> Iterator[Span]:
    """
    Run the user's pattern over overlapping windows of 8,192 characters.

    A match of up to 1,024 characters is found wherever it stands; a pattern whose cost
    grows with the square of its input stays bearable on a long text.

    Raises:
        TimeoutError: It took more than a second, between two windows; the whole payload
            is then marked, since nobody knows what is in the rest.
    """
    at = 0
    deadline_s = time.monotonic() + _PATTERN_S
    while True:
        end = min(len(text), at + _WINDOW_CHARACTERS)
        for match in pattern.finditer(text, at, end):
            if match.end() > match.start():
                yield match.start(), match.end(), rule
        if end == len(text):
            return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{rule}: more than {_PATTERN_S:g} s on one text")
        at = end - _OVERLAP_CHARACTERS


def replace_spans(text: str, spans: Iterable[Span]) -> str:
    """Put ``[redacted:<rule>]`` for each span; overlapping spans become one, named by the first."""
    parts: list[str] = []
    at = 0
    for start, end, rule in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end <= at:
            continue
        if start >= at:
            parts.append(text[at:start])
            parts.append(f"[redacted:{rule}]")
        at = end
    parts.append(text[at:])
    return "".join(parts)
