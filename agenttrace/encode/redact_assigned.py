"""
Find values that a text gives to a telling name: ``password=...``, ``--token x``, ``"secret": "..."``.

Invariant: a name in prose is no assignment, a placeholder or a piece of program text
is no value. What is quoted is taken whole; what is not must look like a value. Cost:
one search for the names' words, then a look at what follows each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agenttrace.encode.redact_formats import Span
from agenttrace.encode.redact_names import Names, split_words
from agenttrace.encode.redact_rules import WEAK_NAMES

__all__ = ["is_said", "iter_assigned", "looks_random"]

_MAX_NAME_CHARACTERS = 64
_MAX_QUOTED_CHARACTERS = 16_384

_TAIL = re.compile(
    r"""
    (?P<close>\\*["'`])?\]?                                       # the name's own quote
    (?:
        \s{0,8}(?P<sep>:=|=>|={1,3}|:|%3[DdAa])\s{0,8}(?P<value>)
        (?:[A-Za-z_][\w.\[\], |]{0,60}?\s?=\s{0,4}(?=[bBrRuU]?["']))?   # a type annotation
      | (?P<xml>>)
      | (?P<space>[ \t]{1,4})                                     # --password x
      | (?<=["'`])\s{0,4},\s{0,4}(?=\\*["'`])(?P<comma>)          # "--password", "x"
    )
    (?:[A-Za-z.]{0,40}(?:Secret|secret)[A-Za-z]{0,20}\()?
    """,
    re.VERBOSE,
)
_AFTER_NAME = frozenset("\"'`\\]=:>%")
_AFTER_SPACE = frozenset(":=")
_QUOTE = re.compile(r"[bBrRuUfF]{0,2}(?P<slashes>\\*)(?P<quote>\"\"\"|'''|[\"'`])")
_BARE = re.compile(r"(?:[^\s\"'`;&<>\\]|\\(?![nrtbfu\"'\\/]))+")
_BARE_LINE = re.compile(r"(?:[^\s\"'`\\]|\\(?![nrtbfu\"'\\/]))+")
_XML_VALUE = re.compile(r"(?P<value>[^<>]{1,4096})</")
_LINE = re.compile(r"[^\r\n\"'`\\<>]+")
_SCHEME = re.compile(
    r"(?i)(?:bearer|basic|token|digest|negotiate|ntlm|oauth|api-?key|hmac[\w-]*|aws4-hmac-sha256|key)[ \t]+"
)
_COOKIE_PAIR = re.compile(r"[\w.$-]{1,128}=[^\s=]")

_PLACEHOLDER = re.compile(
    r"""
    \[redacted\b.* | \$\{?[A-Z_][A-Z0-9_]*\}? | \$\{[^}]*\} | \{+[^{}]*\}+ | <[^<>]*>? | %\(?\w*\)?[sdr]
    | \W+ | x{3,}|X{3,} | \*{2,}.* | (?i:your|my|the|some|example|dummy|test)[_-][\w-]*
    """,
    re.VERBOSE,
)
_CODE = re.compile(r"[A-Za-z_][\w.]*(?:\($|\(.*\)|\[)|\$?[A-Za-z_]\w*(?:->|::)\w+|lambda\b.*|\{\{.*")
_CHAIN = re.compile(r"[A-Za-z_][A-Za-z_]*(?:\.[A-Za-z_][A-Za-z_]*)*")
_ROOTS = frozenset(
    """
    self cls this config cfg settings args opts options params os env environ process ctx context request req
    response resp user form data event body payload session state props secrets vars var local module
    """.split()
)
_SAID = frozenset(
    """
    none null nil true false undefined str string bytes text int integer number bool boolean any object
    optional required missing invalid incorrect wrong empty blank unknown yes no on off set unset changed
    updated reset expired hidden masked redacted removed disabled enabled default value key name input output
    is was are must
    should can cannot may will to the a an and or not with for from in of if when that this it be has have
    option flag argument option arg placeholder field ok failed failure success succeeded error mismatch
    type todo tbd n/a na ascii utf8 file stdin prompt env keyring vault auto generated
    """.split()
)


def iter_assigned(
    text: str, lowered: str, words: list[tuple[str, re.Pattern[str]]], names: Names
) -> Iterator[Span]:
    """
    Give a span for each value that *text* assigns to a telling name.

    Args:
        text: A decoded text.
        lowered: The same in lower case with one byte for each character.
        words: Where a telling name may stand, as ``redact_names.build_words`` gives them.
        names: Which names tell.
    """
    for letter, word in words:
        if letter not in lowered:
            continue
        done = 0
        for match in word.finditer(lowered):
            if match.start() < done:
                continue
            start, done = _name_bounds(text, match.start(), match.end())
            if not _goes_on(text, start, done):
                continue
            name = names.match(text[start:done])
            span = _find_value(text, start, done, name, own=name in names.own) if name else None
            if span is not None:
                yield span


def _name_bounds(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a word to the name it is part of; ``api key`` and ``connection string`` may hold a space."""
    floor, ceiling = max(0, start - _MAX_NAME_CHARACTERS), min(len(text), end + _MAX_NAME_CHARACTERS)
    while start > floor and (text[start - 1].isalnum() or text[start - 1] in "_-"):
        start -= 1
    if text[start:end].lower() == "key" and start > floor and text[start - 1] == " ":
        start -= 1
        while start > floor and text[start - 1].isalnum():
            start -= 1
    if start and text[start - 1] == "\\" and text[start] in "nrtbf":
        start += 1  # the letter belongs to an escaped line break before the name
    while end < ceiling and (text[end].isalnum() or text[end] in "_-"):
        end += 1
    return start, end


def _goes_on(text: str, start: int, end: int) -> bool:
    """Tell cheaply whether what follows a name can be an assignment; most prose ends here."""
    following = text[end : end + 1]
    if following not in (" ", "\t"):
        return following in _AFTER_NAME
    return text[start : start + 1] == "-" or text[end : end + 9].lstrip()[:1] in _AFTER_SPACE


def _find_value(text: str, start: int, end: int, name: str, *, own: bool) -> Span | None:
    tail = _TAIL.match(text, end)
    if tail is None:
        return None
    is_option = text[start : start + 1] == "-"
    if (tail["space"] or tail["comma"] is not None) and not is_option:
        return None
    at = tail.end()
    if tail["xml"]:
        xml = _XML_VALUE.match(text, at)
        return None if xml is None or is_said(xml["value"], name) else (at, xml.end() - 2, name)
    if tail["space"] and text[at : at + 1] == "-":
        return None
    if name in ("authorization", "cookie", "cookies", "setcookie"):
        return _find_header(text, tail.end("value") if tail["sep"] else at, name)
    quote = _QUOTE.match(text, at)
    if quote is not None:
        stop = _closing(text, quote.end(), quote["slashes"], quote["quote"])
        value = text[quote.end() : stop]
        return None if not value or is_said(value, name) else (quote.end(), stop, name)
    return _find_bare(text, at, start, tail, name, own=own)


def _find_header(text: str, at: int, name: str) -> Span | None:
    quote = _QUOTE.match(text, at)
    at = quote.end() if quote else at
    line = _LINE.match(text, at)
    if line is None:
        return None
    scheme = _SCHEME.match(text, at)
    if scheme is not None:
        value = text[scheme.end() : line.end()].split(maxsplit=1)[:1]
        return None if not value or is_said(value[0], name) else (scheme.end(), line.end(), name)
    if name != "authorization":
        return (at, line.end(), name) if _COOKIE_PAIR.match(text, at) else None
    return (at, line.end(), name) if quote or looks_random(line.group().split(maxsplit=1)[0]) else None


def _find_bare(text: str, at: int, start: int, tail: re.Match[str], name: str, *, own: bool) -> Span | None:
    before = text[max(0, start - 7) : start]
    opens_line = tail["sep"] == "=" and (start == 0 or before.endswith(("\n", "\\n", "export ")))
    bare = (_BARE_LINE if opens_line else _BARE).match(text, at)
    if bare is None:
        return None
    value = bare.group().rstrip(",.)}]:!?")
    if not value or is_said(value, name) or (tail["space"] and value.isupper() and value.isalpha()):
        return None
    weak = name in WEAK_NAMES
    tight = tail["sep"] in ("=", "%3D", "%3d") and not text[at - 1 : at].isspace()
    if not own and not looks_random(value):
        if weak and not tail["space"]:
            return None
        if not tight and not tail["space"] and not _ends_line(text, at + len(value)):
            return None
        if _CHAIN.fullmatch(value) and not tight and tail["sep"] != ":":
            return None  # name = other_name: program text
    return (at, at + len(value), name)


def _ends_line(text: str, at: int) -> bool:
    rest = text[at : at + 3].lstrip(" \t,;)}]\"'")
    return not rest or rest[0] in "\r\n#" or rest[:2] in ("\\n", "\\r", '\\"')


def _closing(text: str, at: int, slashes: str, quote: str) -> int:
    """Find where the quoted value ends; a missing end (the text was cut) gives the end of the line."""
    ceiling = min(len(text), at + _MAX_QUOTED_CHARACTERS)
    found = text.find(slashes + quote, at, ceiling)
    while found >= 0:
        run = found
        while run > at and text[run - 1] == "\\":
            run -= 1
        if (found - run) % 2 == 0 if not slashes else found == run:
            return found
        found = text.find(slashes + quote, found + 1, ceiling)
    line_end = text.find("\n", at)
    return len(text) if line_end < 0 else line_end


def is_said(value: str, name: str) -> bool:
    """Tell whether *value* is a placeholder, an ordinary word or program text rather than a secret."""
    if value.lower() in _SAID or _PLACEHOLDER.fullmatch(value) or _CODE.match(value):
        return True
    if _CHAIN.fullmatch(value):
        words = split_words(value)
        if words and ("".join(words) == name or (len(words) > 1 and words[-1] in _LAST_WORDS)):
            return True
        return "." in value and value.split(".", 1)[0] in _ROOTS
    return False


_LAST_WORDS = frozenset(
    "password passwd pwd pass secret token key apikey credential credentials cookie".split()
)


def looks_random(value: str) -> bool:
    """Tell whether *value* is written like a key: letters with digits or signs, or very long."""
    if len(value) < 6 or not any(map(str.isalpha, value)):
        return False
    if _CHAIN.fullmatch(value):
        return len(value) >= 20 and "_" not in value and "." not in value
    return len(value) >= 8 or any(map(str.isdigit, value))
