"""
Decide by its name alone whether a value is a secret.

Invariant: a name matches by whole words after splitting camelCase and snake_case;
what speaks about a secret (``token_type``, ``password_hint``) or counts (``max_tokens``)
does not match. Cost: one dictionary look-up for a name seen before.
"""

from __future__ import annotations

import re

from agenttrace.encode.redact_rules import (
    COMPANIONS,
    NEUTRAL_AFTER,
    NEUTRAL_BEFORE_TOKEN,
    TELLING_ENDINGS,
    TELLING_NAMES,
    WEAK_NAMES,
    WORDS,
)

__all__ = ["Names", "build_words", "fold_name", "split_words"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_SEPARATOR = r"[_.:/ \-]"
_GAP = _SEPARATOR + "{0,2}"
"""What may stand between the words of one name: ``api_key``, ``Api Key``, ``Api__Key``."""
_is_gap = re.compile(_GAP).fullmatch
_MAX_NAME_CHARACTERS = 128
_MAX_PHRASE_WORDS = 4
_MAX_KNOWN = 4096


def split_words(name: str) -> list[str]:
    """Split ``OPENAI_apiKey2`` into ``["openai", "api", "key", "2"]``."""
    return [word.lower() for word in _WORD.findall(name)]


def fold_name(name: str) -> str:
    """Join the words of *name* without separators: ``X-Api-Key`` gives ``xapikey``."""
    return "".join(split_words(name))


class Names:
    """The telling names of one set of rules: the default ones and the user's own."""

    def __init__(self, own: tuple[str, ...] = (), *, default: bool = True) -> None:
        self.own = frozenset(filter(None, map(fold_name, own)))
        self.default = TELLING_NAMES if default else frozenset()
        self.endings = TELLING_ENDINGS if default else ()
        self._known: dict[str, str] = {}

    def match(self, name: str) -> str:
        """
        Give what in *name* tells, folded; "" when nothing does.

        A name of more than 128 characters is a text, not a name, and never matches.
        """
        found = self._known.get(name)
        if found is None:
            found = self._find(name) if len(name) <= _MAX_NAME_CHARACTERS else ""
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[name] = found
        return found

    def is_own(self, name: str) -> bool:
        """Tell whether the user named it: then numbers are redacted too."""
        return bool(self.own) and self.match(name) in self.own

    def _find(self, name: str) -> str:
        words = split_words(name)
        phrases = _iter_phrases(name)
        for phrase, _, _ in phrases:
            if phrase in self.own:
                return phrase
        weak = ""
        for phrase, start, end in phrases:
            if phrase not in self.default and not phrase.endswith(self.endings or ("\0",)):
                continue
            if any(word in NEUTRAL_AFTER for word in words[end : end + 2]):
                continue
            if phrase == "token" and start and words[start - 1] in NEUTRAL_BEFORE_TOKEN:
                continue
            if phrase not in WEAK_NAMES:
                return phrase
            weak = phrase
        return weak


def _iter_phrases(name: str) -> list[tuple[str, int, int]]:
    """Give each row of up to 4 words that belong together, joined, with where it begins and ends."""
    words = list(_WORD.finditer(name))
    phrases: list[tuple[str, int, int]] = []
    for start in range(len(words)):
        phrase = ""
        for end in range(start, min(start + _MAX_PHRASE_WORDS, len(words))):
            if end > start and not _is_gap(name, words[end - 1].end(), words[end].start()):
                break
            phrase += words[end].group().lower()
            phrases.append((phrase, start, end + 1))
    return phrases


def build_words(names: Names) -> list[tuple[str, re.Pattern[str]]]:
    """
    Compile where a telling name may stand in a lower-cased text of one byte a character.

    Returns:
        Pairs of a letter without which there can be no match, and the pattern.
    """
    parts = {"{gap}": _GAP} | {f"{{{word}}}": _companions_behind(word) for word in COMPANIONS}
    words: list[tuple[str, re.Pattern[str]]] = []
    for letter, source in WORDS:
        for part, pattern in parts.items():
            source = source.replace(part, pattern)
        words.append((letter, re.compile(source)))
    own = [_own_word(name) for name in sorted(names.own)]
    return own + (words if names.default else [])


def _own_word(name: str) -> tuple[str, re.Pattern[str]]:
    if not name.isascii():  # it has no lower case in bytes: look at every letter beyond ASCII
        return "", re.compile(r"[^\x00-\x7f?]|[?]")
    return name[0], re.compile(_GAP.join(map(re.escape, name)))


def _companions_behind(word: str) -> str:
    """Give look-behinds, one for each length: ``api`` + ``_`` + ``key`` or ``apikey``."""
    by_length: dict[int, list[str]] = {}
    for companion in COMPANIONS[word]:
        by_length.setdefault(len(companion), []).append(companion)
    return "|".join(
        f"(?<=(?:{'|'.join(companions)}){separator}{word})"
        for companions in by_length.values()
        for separator in ("", _SEPARATOR, 2 * _SEPARATOR)
    )
