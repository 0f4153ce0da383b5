"""
Does this text tell of that failure? How an error's words are found again in what a model was given.

Pure, and bounded by what it is handed. Invariant: only words are compared (``words``). A part
that was redacted on either side stands for anything; a text that was cut may stop early. A
message too short to be known by itself must stand beside its type or a word of failure, or be
the whole of a tool's result or of a line in a list of errors. Cost: a substring search in the raw
payload before anything is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from agenttrace.store.told import Told
from agenttrace.store.words import HOLE, Words, find_gates, has_words, is_failure_word, split_words

__all__ = ["Failed", "build_failed"]

_KNOWN_CHARS = 16
"""Words of this length together are known by themselves."""
_CUT_CHARS = 30
"""So much of the beginning is enough where the text was visibly cut."""
_PREFIX_CHARS = 120
"""So much of the beginning is enough however it goes on."""
_SUFFIX_CHARS = 60
"""So much of the end is enough by itself."""
_NEEDLE_WORDS = 80
_MESSAGE_CHARS = 4_000
_OCCURRENCES = 30
"""How many places that begin alike are compared."""
_REACH_WORDS = 60
"""How far a redacted part may reach."""
_SHORT_RESULT_WORDS = 40
_TEXTS = 12
_GATED_CHARS = 100


@dataclass(frozen=True, slots=True)
class Failed:
    """What is looked for: the texts by which one failure may be told."""

    type: str
    """In lower case."""
    is_empty: bool
    """Its message has no words, so that only its type can tell of it."""
    texts: tuple[tuple[str, Words, bool], ...]
    """Type, words, and whether a short text counts; the failure's own comes first."""
    gates: frozenset[str]
    """Pieces of the texts, of which one is in every payload that tells; "" is in all."""
    call_id: str | None = None

    def may_be_in(self, holds: Callable[[str], bool]) -> bool:
        """Tell whether parsing is worth it; *holds* tells whether a piece is in a payload in lower case."""
        if self.is_empty or (self.call_id is not None and holds(self.call_id.lower())):
            return True
        return (bool(self.type) and holds(self.type)) or any(holds(piece) for piece in self.gates)

    def is_told_by(self, told: Told) -> bool:
        """Tell whether *told* contains it."""
        is_answered = self.call_id is not None and self.call_id in told.call_ids
        if is_answered and (self.call_id in told.failed_call_ids or told.speaks_of_failure()):
            return True
        if self.is_empty and (self.type in told.words or told.ends_with_failure_word()):
            return True
        if told.names(self.type):
            return True
        return any(_is_found(kind, words, told, short) for kind, words, short in self.texts)


def build_failed(
    error: Any, error_type: str | None, call_id: str | None = None, outputs: Sequence[Any] = ()
) -> Failed:
    """
    Collect the texts that would tell of a failure.

    Args:
        error: ``error`` of its payload: ``{type, message, cause, leaves}``, or a text.
        error_type: The column, for an error that names no type itself.
        call_id: Of the call that it happened in.
        outputs: What the calls that ended with it handed on: a framework's words for it.
    """
    texts: list[tuple[str, Words, bool]] = []
    gates: set[str] = set()
    own_type = ""
    is_empty = True
    handed = ((error_type or "", text) for output in outputs for text in _texts_in(output))
    for depth, (kind, message) in enumerate(chain(_messages(error, error_type), handed)):
        lines = [line for line in message.splitlines() if line.strip()]
        whole = split_words(message)
        if depth == 0:
            own_type, is_empty = kind, not has_words(whole)
        if has_words(whole):
            texts.append((kind, whole, depth == 0))
            for part in (message[:_GATED_CHARS], message[-_GATED_CHARS:]):
                gates |= find_gates(part)
        if len(lines) > 1:
            texts += [
                (kind, words, False) for words in map(split_words, (lines[0], lines[-1])) if has_words(words)
            ]
        if len(texts) >= _TEXTS:
            break
    return Failed(own_type, is_empty, tuple(texts), frozenset(gates), call_id or None)


def _messages(error: Any, error_type: str | None) -> Iterator[tuple[str, str]]:
    """Give type and message of an error, then of its causes and of the leaves of a group."""
    waiting, seen = [error], 0
    while waiting and seen < _TEXTS:
        seen += 1
        one = waiting.pop(0)
        if not isinstance(one, dict):
            yield (error_type or "").lower(), one[:_MESSAGE_CHARS] if isinstance(one, str) else ""
            continue
        message = one.get("message")
        if isinstance(message, dict):
            message = message.get("head")
        kind = one.get("type")
        if not isinstance(kind, str):
            kind = error_type or ""
        yield kind.rpartition(".")[2].lower(), message[:_MESSAGE_CHARS] if isinstance(message, str) else ""
        for key in ("leaves", "cause"):
            below = one.get(key)
            waiting += [
                each for each in (below if isinstance(below, list) else [below]) if isinstance(each, dict)
            ]


def _texts_in(output: Any) -> Iterator[str]:
    """Give the texts that stand in what a call handed on: all of it, or the ``text`` of its parts."""
    waiting, seen = [output], 0
    while waiting and seen < _TEXTS:
        seen += 1
        one = waiting.pop(0)
        if isinstance(one, str):
            yield one[:_MESSAGE_CHARS]
        elif isinstance(one, list):
            waiting += one[:_TEXTS]
        elif isinstance(one, dict):
            waiting += [one[key] for key in ("content", "text", "head") if key in one]


def _is_found(kind: str, needle: Words, told: Told, short: bool) -> bool:
    words = needle.words[:_NEEDLE_WORDS]
    first = next(at for at, word in enumerate(words) if word != HOLE) if has_words(needle) else 0
    anchor = words[first : first + 3]
    if HOLE in anchor:
        anchor = anchor[: anchor.index(HOLE)]
    while len(anchor) > 1 and (len(anchor[-1]) > _CUT_CHARS or HOLE in told.text):
        anchor = anchor[:-1]
    at, tried = 0, 0
    probe = f" {' '.join(anchor)} "
    if len(anchor[0]) > _CUT_CHARS:
        probe = probe[: _CUT_CHARS + 1]
    while tried < _OCCURRENCES and (at := told.text.find(probe, at)) >= 0:
        start = told.text.count(" ", 0, at)
        if _is_told_at(kind, words, needle.breaks, first, start, told, short):
            return True
        at += 1
        tried += 1
    return _has_end_of(words, told) or _has_glued(words, told)


def _is_told_at(
    kind: str, words: tuple[str, ...], breaks: frozenset[int], first: int, start: int, told: Told, short: bool
) -> bool:
    """Compare word by word, from where the first words stand."""
    heard = told.words
    i, j, matched = first, start, 0
    while i < len(words) and j < len(heard):
        if words[i] == heard[j]:
            matched += len(words[i]) + 1
            i, j = i + 1, j + 1
        elif words[i] == HOLE:
            i += 1
            if i < len(words):
                reach = heard[j : j + _REACH_WORDS]
                if words[i] not in reach:
                    break
                j += reach.index(words[i])
        elif heard[j] == HOLE:
            j += 1
            rest = words[i : i + _REACH_WORDS]
            if j < len(heard) and heard[j] in rest:
                i += rest.index(heard[j])
            else:
                i = len(words)  # what was redacted reaches to the end
        else:
            break
    if i == len(words) or all(word == HOLE for word in words[i:]):
        return matched > _KNOWN_CHARS or (short and _is_backed(kind, matched, start, j, told))
    cut_word = heard[j] if j < len(heard) and j in told.breaks and not heard[j].isdigit() else ""
    if cut_word and words[i].startswith(cut_word):
        return matched + len(cut_word) > _CUT_CHARS
    if matched > _PREFIX_CHARS:
        return True
    return matched > _CUT_CHARS and i - 1 not in breaks and (j >= len(heard) or j - 1 in told.breaks)


def _is_backed(kind: str, chars: int, start: int, end: int, told: Told) -> bool:
    """Tell whether what stands around a short message makes it one."""
    near = 2 if chars <= 4 else 6
    before, after = told.words[max(0, start - near) : start], told.words[end : end + near]
    if (kind and (kind in before or kind in after)) or any(map(is_failure_word, before)):
        return True
    is_whole = start in told.starts and end - 1 in told.ends
    is_line = start - 1 in told.line_ends and end - 1 in told.line_ends
    if is_line and chars > 4 and told.speaks_of_failure():
        return True
    if told.is_result:
        return is_whole or (chars > 4 and len(told.words) <= _SHORT_RESULT_WORDS)
    return told.is_answer and is_whole and chars > 4


def _has_end_of(words: tuple[str, ...], told: Told) -> bool:
    """Find the last words, which are what stays of a text that was cut in front."""
    tail = ""
    for word in reversed(words):
        if word == HOLE:
            return False
        tail = f"{word} {tail}"
        if len(tail) > _SUFFIX_CHARS:
            return f" {tail}" in told.text
    return False


def _has_glued(words: tuple[str, ...], told: Told) -> bool:
    """Find the whole text, however it is broken or joined: other line ends, or a language without spaces."""
    text = "".join(word for word in words if word != HOLE)
    least = _KNOWN_CHARS if text.isascii() else _KNOWN_CHARS // 2
    return len(text) >= least and HOLE not in words and text in told.text.replace(" ", "")
