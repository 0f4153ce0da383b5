"""
Tell from the raw JSON bytes whether there can be a secret at all.

Invariant: what ``redact_text`` or a telling key would find always opens the gate; the
gate may open for nothing. Cost: 2-3 µs for 500 innocent bytes, which is what every
stored row pays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from agenttrace.encode.redact_formats import has_format, iter_runs
from agenttrace.encode.redact_names import Names, build_words
from agenttrace.encode.redact_rules import GATES, RUN_GATES
from agenttrace.encode.redact_text import CustomPattern

__all__ = ["Gate", "literal_of"]

_AT = ord("@")
_URL_USER = re.compile(rb":(?:\\*/){2}[^\s/\"@]*(?:[^\s\"@]*)@").search

Search = Callable[[bytes], Any]


class Gate:
    """The searches of one set of rules."""

    def __init__(self, names: Names, custom: tuple[CustomPattern, ...], *, default: bool) -> None:
        self._default = default
        self._searches: list[Search] = [word.search for word in build_words(names)]
        if default:
            self._searches += [re.compile(gate.encode()).search for gate in GATES]
        self._run_words = [word.encode() for word in RUN_GATES]
        self._literals = [literal_of(pattern) for _, pattern in custom]

    def opens(self, payload: bytes) -> bool:
        """Tell whether *payload* must be parsed and looked through."""
        lowered = payload.lower()
        for search in self._searches:
            if search(lowered):
                return True
        if self._default:
            if _AT in payload and _URL_USER(payload):
                return True
            if has_format(payload) or self._has_run_word(payload, lowered):
                return True
        return any(literal in payload for literal in self._literals)

    def _has_run_word(self, payload: bytes, lowered: bytes) -> bool:
        return next(iter_runs(payload), None) is not None and any(word in lowered for word in self._run_words)


def literal_of(pattern: re.Pattern[str]) -> bytes:
    """
    Give a text that stands in every match of *pattern*, also in JSON; b"" when unsure.

    Read from the pattern's parse tree, which is not a public interface: on any surprise
    the answer is b"", which opens the gate for every payload.
    """
    try:
        from re import _parser  # type: ignore[attr-defined]

        if pattern.flags & re.IGNORECASE:
            return b""
        best = run = ""
        for operator, argument in _parser.parse(pattern.pattern, pattern.flags):
            character = chr(argument) if str(operator) == "LITERAL" else ""
            if character.isascii() and character.isprintable() and character not in '"\\':
                run += character
                best = max(best, run, key=len)
            else:
                run = ""
        return best.encode()
    except Exception:
        return b""
