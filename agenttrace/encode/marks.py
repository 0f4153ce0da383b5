"""
The one mark that stands for anything not stored as it was, and the edge of a cut.

Invariant: a mark is the only object with a bare ``$agenttrace`` key; a user's own
key of that name carries one more ``$``. Cost: one look at the text's end per cut.
"""

from __future__ import annotations

import re
import string
from typing import Any

from agenttrace.events import MARK

__all__ = ["RUN_CHARACTERS", "Mark", "build_mark", "escape_key", "is_cut_mark", "safe_head", "strip_edge"]

RUN_CHARACTERS = string.ascii_letters + string.digits + "_+/=.-"
"""What keys and tokens are written in; a run of these that touches a cut goes with it."""

_OWN_KEY = re.compile(r"\$+" + re.escape(MARK[1:]))
_URL_TAIL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:\\*/){2}(?:[^\s/?#\"'<>]*|[^\s/?#@\"'<>]*:(?!\d{1,5}/)[^\s@\"'<>]*)\Z"
)
_URL_LOOK_BACK = 512
_PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_PEM_END = "PRIVATE KEY"


class Mark:
    """
    Ask the encoder to write a mark, where a plain dict would be escaped as the user's own.

    Capture puts ``Mark("redacted", rule="argument")`` in the place of an argument
    that must not be recorded.
    """

    __slots__ = ("fields",)

    def __init__(self, kind: str, **fields: Any) -> None:
        self.fields: dict[str, Any] = build_mark(kind, **fields)


def build_mark(kind: str, **fields: Any) -> dict[str, Any]:
    """Build ``{"$agenttrace": kind, ...}``; fields that are None are left out."""
    return {MARK: kind, **{name: value for name, value in fields.items() if value is not None}}


def is_cut_mark(value: Any) -> bool:
    """Tell whether *value* is a cut mark that only counts dropped items."""
    return type(value) is dict and len(value) == 2 and value.get(MARK) == "cut" and "items" in value


def escape_key(key: str) -> str:
    """Give a user's own ``$agenttrace`` (with any number of ``$``) one more ``$``."""
    return "$" + key if key.endswith(MARK[1:]) and _OWN_KEY.fullmatch(key) else key


def safe_head(text: str, limit_characters: int) -> str:
    """
    Cut *text* so that no part of a secret stays at the cut.

    Args:
        text: Any exact str.
        limit_characters: Budget, >= 0.

    Returns:
        *text* itself when it fits; otherwise a prefix that ends as ``strip_edge`` says.
    """
    if len(text) <= limit_characters:
        return text
    return strip_edge(text[:limit_characters])


def strip_edge(head: str) -> str:
    """
    Take off what a cut at the end of *head* may have left of a secret.

    That is the whole run of ``RUN_CHARACTERS``, the user part of a URL, and a
    private key without its end.
    """
    head = head.rstrip(RUN_CHARACTERS)
    tail_from = max(0, len(head) - _URL_LOOK_BACK)
    url = _URL_TAIL.search(head, tail_from) if ":" in head[tail_from:] else None
    if url is not None:
        head = head[: url.start()]
    if "-----BEGIN" in head:
        for begin in _PEM_BEGIN.finditer(head):
            if head.find(_PEM_END, begin.end()) < 0:
                return head[: begin.start()]
    return head
