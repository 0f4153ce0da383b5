"""
Find values that a text gives to a telling name: ``password=...``, ``--token x``, ``"secret": "..."``.

Invariant: a name in prose is no assignment, a placeholder or a piece of program text
is no value. What is quoted is taken whole; what is not must look like a value. Cost:
one search for the names' rare letters, then a look at what follows each name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agenttrace.encode.redact_formats import Span
from agenttrace.encode.redact_names import Names, fold_name
from agenttrace.encode.redact_rules import WEAK_NAMES
from agenttrace.encode.redact_said import (
    is_code,
    is_metavariable,
    is_place,
    is_placeholder,
    is_variable,
    looks_random,
)

__all__ = ["iter_assigned"]

_MAX_NAME_CHARACTERS = 64
_MAX_QUOTED_CHARACTERS = 16_384
"""How far the end of a quoted value is sought where the value may yet turn out to be none."""
_MAX_PLAIN_CHARACTERS = 1024
"""A longer value without a space is neither a word nor program text."""
_MAX_LINE_CHARACTERS = 512
_MIN_NUMBER_DIGITS = 4
_MIN_WORD_CHARACTERS = 16

_COLOUR = r"(?:(?:\x1b|\\+(?:u001b|x1b|033|e))\[[0-9;]{0,12}m)?"
_QUOTES = r"\\*[\"'`]|&quot;|&\#3[49];"
_TYPE = r"(?P<type>[A-Za-z_][A-Za-z_.]{0,40}(?:\[[\w.,\ |\[\]]{0,60}\])?(?:[ ]?\|[ ]?[\w.]{1,40})?)"
_TAIL = re.compile(
    rf"""
    (?P<close>{_QUOTES})?\]?{_COLOUR}                                     # the name's own quote
    (?:
        [ \t]{{0,8}}(?P<sep>:=|=>|={{1,3}}|(?P<colon>:)|%3[DdAa]|\\+u003[DdAa])
        {_COLOUR}(?(close)(?:\s|\\+[nrt]){{0,16}}|[ \t]{{0,8}})(?P<value>)
        (?(close)|(?(colon)(?:{_TYPE}[ ]?=[ ]{{0,4}}(?=[bBrRuU]?["']))?))    # : str =
        (?:[|>][+-]?[ \t]*(?:\n|\\+n)\s*)?                              # YAML's block
      | (?P<xml>>)
      | [ \t](?:(?:is|was):?|for[ \t][^\s:]{{1,64}}:)[ \t](?P<said>)     # the password is x
      | (?P<space>[ \t]{{1,4}}|\\+t)                                     # --password x
      | (?<=["'`])\s{{0,4}},\s{{0,4}}(?=\\*["'`])(?P<comma>)             # "--password", "x"
    )
    (?:[A-Za-z.]{{0,40}}(?:Secret|secret)[A-Za-z]{{0,20}}\()?              # SecretStr(
    """,
    re.VERBOSE,
)
_QUOTE_SIGNS = frozenset("\"'`")
_AFTER_NAME = frozenset("\"'`\\]=:>%& \t\x1b")
_AFTER_SPACE = frozenset(":=\"'`")
_AFTER_STRING = frozenset(["", *" ,)]};+.\n\r\\"])
_QUOTE = re.compile(r"[bBrRuUfF]{0,2}(?P<slashes>\\*)(?P<quote>\"\"\"|'''|[\"'`]|&quot;|&#3[49];)")
_BARE = re.compile(r"(?:[^\s\"'`;&<>\\]|\\(?![nrtbfu\"'\\/]))+")
_BARE_LINE = re.compile(r"(?:[^\s\"'`\\]|\\(?![nrtbfu\"'\\/]))+")
_AFTER_BARE = ",.)}]:!?"
_XML_VALUE = re.compile(r"(?P<value>[^<>]{1,4096})</|(?P<cut>[^<>\s\"'`]{1,4096})<?\Z")
_LINE_ENDS = ("\n", "\r", "\\n", "\\r")
_FIRST_WORD = re.compile(r"[ \t]*([^\s\"'`]{1,1024})")
_PASSWORDS = frozenset({"password", "passwd", "passphrase", "passcode", "pwd"})
"""Names behind which a random-looking word is taken even without a sign: ``user bob password x7Kq2p``."""
_RANDOM_WORD = re.compile(r"\s{1,4}[^\s0-9!#$%^*+=~@?]{0,64}[0-9!#$%^*+=~@?]")
_HEADERS = frozenset({"authorization", "cookie", "cookies", "setcookie"})
_SCHEME = re.compile(
    r"(?i)(?:bearer|basic|token|digest|negotiate|ntlm|oauth|api-?key|hmac[\w-]*|aws4-hmac-sha256|key)[ \t]+"
)
_COOKIE_PAIR = re.compile(r"[\w.$-]{1,128}=[^\s=]")


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
            name = names.match(text[start:done]) if text[done : done + 1] in _AFTER_NAME else ""
            span = _find_value(text, start, done, name, own=name in names.own) if name else None
            if span is not None:
                done = max(done, span[1])
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


def _goes_on(text: str, start: int, end: int, name: str) -> bool:
    """Tell cheaply whether what follows a name and a space can be an assignment; most prose ends here."""
    if text[start] == "-" or text[end : end + 9].lstrip()[:1] in _AFTER_SPACE:
        return True
    if name in WEAK_NAMES:
        return False
    return text.startswith((" is", " was", " for"), end) or (
        name in _PASSWORDS and _RANDOM_WORD.match(text, end) is not None
    )


def _find_value(text: str, start: int, end: int, name: str, *, own: bool) -> Span | None:
    if text[end] in " \t" and not _goes_on(text, start, end, name):
        return None
    tail = _TAIL.match(text, end)
    if tail is None:
        return None
    full = text[start:end]
    at = tail.end()
    before = text[start - 1 : start]
    if tail["comma"] is not None and (
        before not in _QUOTE_SIGNS or name == "pwd" or not fold_name(full).endswith(name)
    ):
        return None
    if tail["xml"]:
        xml = _XML_VALUE.match(text, at) if before in ("<", ":") else None
        if xml is None or is_placeholder(xml["value"] or xml["cut"]):
            return None
        return (*xml.span("value" if xml["value"] else "cut"), name)
    if name in _HEADERS and tail["sep"]:
        return _find_header(text, start, tail.end("value"), name)
    quote = _QUOTE.match(text, at)
    if quote is not None:
        return _find_quoted(text, start, full, tail, quote, name, own=own)
    if tail["comma"] is not None or (tail["space"] and text[at : at + 1] == "-"):
        return None
    if tail["close"] and "\n" in tail.group():
        return None  # JSON puts quotes around its texts: this is the next line of a program
    return _find_bare(text, at, full, tail, name, own=own)


def _find_quoted(
    text: str, start: int, full: str, tail: re.Match[str], quote: re.Match[str], name: str, *, own: bool
) -> Span | None:
    if not tail["close"] and _ends_a_string(text, start, quote):
        return None
    is_sure = tail["sep"] is not None and name not in WEAK_NAMES
    ceiling = None if is_sure else quote.end() + _MAX_QUOTED_CHARACTERS
    stop = _closing(text, quote.end(), quote["slashes"], quote["quote"], ceiling)
    at = quote.end()
    delimiter = quote["slashes"] + quote["quote"]
    if tail["sep"] == ":" and len(quote["quote"]) == 3:  # class Token: \"\"\"...
        return None
    if stop == at and text.startswith(2 * delimiter, at):  # \"\"\"x\"\"\" within a quoted text
        at += 2 * len(delimiter)
        stop = text.find(3 * delimiter, at)
        stop = stop if stop >= 0 else len(text)
    value = text[at:stop]
    if not value or value == full or is_placeholder(value) or is_place(value, name):
        return None
    span = (at, stop, name)
    if own or full[0] == "-":
        return span
    is_random = looks_random(value)
    if tail["comma"] is not None:  # ("DB_PASSWORD", "x"), header("X-Api-Key", "x"); not a list of names
        is_setting = full.isupper() or ("-" in full and not full.islower())
        is_pair = text[:start].endswith(("('", '("')) and text[stop + 1 : stop + 2] == ")"
        return span if is_random or ((is_setting or is_pair) and not is_variable(value)) else None
    if tail["space"] is not None or tail["said"] is not None:  # PASSWORD 'x' in SQL, invalid password 'x'
        return span if full.isupper() or (is_random and name not in WEAK_NAMES) else None
    if name in WEAK_NAMES and not tail["close"] and not is_random:  # token == "L" is about words
        is_word = len(value) >= _MIN_WORD_CHARACTERS and not any(map(str.isspace, value))
        return span if is_word else None
    return span


def _find_bare(text: str, at: int, full: str, tail: re.Match[str], name: str, *, own: bool) -> Span | None:
    start = tail.start() - len(full)
    opens_line = tail["sep"] == "=" and text[max(0, start - 7) : start].endswith(("\n", "\\n", "export "))
    bare = (_BARE_LINE if opens_line or start == 0 else _BARE).match(text, at)
    if bare is None:
        return None
    if len(bare.group()) > _MAX_PLAIN_CHARACTERS:
        return (*bare.span(), name)
    value = bare.group().rstrip(_AFTER_BARE)
    if not value or value == full or any(map(is_placeholder, (value, bare.group()))):
        return None
    if is_code(bare.group(), name) or is_code(value, name) or is_place(value, name):
        return None
    span = (at, at + len(value), name)
    if own:
        return span
    weak = name in WEAK_NAMES
    if value.isdigit() and (weak or name.endswith("key") or len(value) < _MIN_NUMBER_DIGITS):
        return None  # counts, indices and codes
    if tail["space"]:
        taken = not is_metavariable(value) if full[0] == "-" else looks_random(value)
        return span if taken else None
    if looks_random(value):
        return None if weak and ("(" in value or tail["said"] is not None) else span
    tight = tail["sep"] in ("=", "%3D", "%3d") and not text[at - 1 : at].isspace()
    if weak or tail["said"] is not None or (not tight and not _ends_line(text, bare.end())):
        return None
    return span if tight or tail["sep"] == ":" or not is_variable(value) else None


def _ends_a_string(text: str, start: int, quote: re.Match[str]) -> bool:
    """Tell whether the quote ends the string that the name stands in, as in ``prompt='Password: '``."""
    opened = _slashes_of_open(text, start, quote["quote"])
    return opened == quote["slashes"] and text[quote.end() : quote.end() + 1] in _AFTER_STRING


def _slashes_of_open(text: str, start: int, sign: str) -> str | None:
    """Give the backslashes before the quote that is open at *start* of a name, None when none is."""
    line = text[max(text.rfind("\n", 0, start) + 1, start - _MAX_LINE_CHARACTERS, 0) : start]
    if line.count(sign) % 2 == 0:
        return None
    before = line[: line.rindex(sign)]
    return before[len(before.rstrip("\\")) :]


def _find_header(text: str, start: int, at: int, name: str) -> Span | None:
    """Take a header's value to the end of its line, or of the quotes that it stands in."""
    quote = _QUOTE.match(text, at)
    at = quote.end() if quote else at
    scheme = _SCHEME.match(text, at)
    word = _FIRST_WORD.match(text, scheme.end() if scheme else at)
    if word is None or is_placeholder(word[1]) or is_placeholder(word[1].rstrip(_AFTER_BARE)):
        return None
    if scheme is not None:
        at = scheme.end()
    elif name == "authorization":
        if not quote and not looks_random(word[1]):
            return None
    elif not quote and not _COOKIE_PAIR.match(text, at):
        return None
    stop = min((end for end in (text.find(sign, at) for sign in _LINE_ENDS) if end >= 0), default=len(text))
    if quote is not None:
        return (at, min(stop, _closing(text, at, quote["slashes"], quote["quote"])), name)
    for sign in "\"'`":
        slashes = _slashes_of_open(text, start, sign)
        if slashes is not None:
            stop = min(stop, _closing(text, at, slashes, sign))
    return (at, stop, name)


def _ends_line(text: str, at: int) -> bool:
    rest = text[at : at + 3].lstrip(" \t,;)}]\"'")
    return not rest or rest[0] in "\r\n#" or rest[:2] in ("\\n", "\\r", '\\"')


def _closing(text: str, at: int, slashes: str, quote: str, ceiling: int | None = None) -> int:
    """Find where the quoted value ends; a missing end (the text was cut) gives the end of the line."""
    ceiling = len(text) if ceiling is None else min(len(text), ceiling)
    found = text.find(slashes + quote, at, ceiling)
    while found >= 0:
        run = found
        while run > at and text[run - 1] == "\\":
            run -= 1
        if (found - run) % 2 == 0 if not slashes else found == run:
            return found
        found = text.find(slashes + quote, found + 1, ceiling)
    line_end = text.find("\n", at, ceiling)
    return ceiling if line_end < 0 else line_end
