"""
Take secrets out of a JSON value: by the names of its keys, and in each of its texts.

Invariant: what holds no secret comes back as the same object. Under a telling name
every text below it goes; numbers, booleans and null stay, unless the user named the key.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from agenttrace.encode.marks import build_mark
from agenttrace.encode.redact_names import fold_name
from agenttrace.encode.redact_said import is_place, looks_random
from agenttrace.encode.redact_text import TextRedactor, iter_windows
from agenttrace.events import MARK

__all__ = ["redact_value"]

_NAME_FIELDS = ("name", "key", "header", "field", "Name", "Key")
_VALUE_FIELDS = ("value", "Value", "val", "content")
_HEADER_NAMES = frozenset({"authorization", "cookie", "cookies", "setcookie"})
_NAME = re.compile(r"[A-Za-z][\w-]*")
_PLAIN_WORD = re.compile(r"[A-Za-z_-]*")
_PEM_BEGIN, _PEM_END, _PEM_WORDS = "-----BEGIN ", "-----END ", "PRIVATE KEY"

_OPTION = re.compile(r"--?[A-Za-z][\w-]*")

_SCHEMA_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_SCHEMA_WORDS = frozenset(
    """
    type title description default enum const examples format minLength maxLength pattern anyOf oneOf allOf
    properties required items additionalProperties nullable readOnly writeOnly deprecated minimum maximum $ref
    """.split()
)
_SCHEMA_VALUES = frozenset({"default", "enum", "const", "examples"})


def redact_value(value: Any, text: TextRedactor) -> Any:
    """Give *value* without its secrets; *value* itself when there are none."""
    cls = type(value)
    if cls is str:
        return _redact_string(value, text)
    if cls is dict:
        return _redact_dict(value, text)
    if cls is list:
        return _redact_list(value, text)
    if text.custom and (cls is int or cls is float):
        return _redact_number(value, text)
    return value


def _redact_number(value: float, text: TextRedactor) -> Any:
    """Hold a number against the user's own patterns: a card number may be one."""
    digits = orjson.dumps(value).decode()
    spans = [span for rule, pattern in text.custom for span in iter_windows(digits, rule, pattern)]
    return build_mark("redacted", rule=spans[0][2]) if spans else value


def _redact_string(value: str, text: TextRedactor) -> Any:
    redacted = text.redact(value)
    if redacted is value:
        return value
    rule = redacted[len("[redacted:") : -1]
    whole = redacted == f"[redacted:{rule}]" and "]" not in rule
    return build_mark("redacted", rule=rule) if whole else redacted


def _redact_dict(value: dict[str, Any], text: TextRedactor) -> dict[str, Any]:
    if value.get(MARK) == "ref":
        return value  # ours, for a user's own key of that name is escaped: it holds a place and no text
    names = text.names
    named = _named_field(value, text)
    result: dict[str, Any] = {}
    changed = False
    for key, item in value.items():
        new_key = text.redact(key) if len(key) > 6 else key
        rule = names.match(key) or (named if key in _VALUE_FIELDS else "")
        if rule and not (type(item) is str and is_place(item, rule)):
            new_item = _hide(item, rule, rule in names.own)
        elif key == "head" and MARK in value and type(item) is str:
            new_item = text.redact(item)  # stays a text: it is part of a mark
        else:
            new_item = redact_value(item, text)
        if new_key is not key:
            new_key = _free_key(new_key, result)
        changed = changed or new_key is not key or new_item is not item
        result[new_key] = new_item
    return result if changed else value


def _named_field(value: dict[str, Any], text: TextRedactor) -> str:
    """Give what a ``{"name": "password", "value": ...}`` names, "" for any other object."""
    for field in _NAME_FIELDS:
        name = value.get(field)
        if type(name) is str:
            return text.names.match(name)
    return ""


def _free_key(key: str, taken: dict[str, Any]) -> str:
    number, free = 2, key
    while free in taken:
        free, number = f"{key}~{number}", number + 1
    return free


def _redact_list(value: list[Any], text: TextRedactor) -> list[Any]:
    result: list[Any] = []
    option = header = ""
    in_key = False
    if len(value) == 2 and all(type(item) is str for item in value):
        header = _name_of_pair(value[0], value[1], text)
    for index, item in enumerate(value):
        if type(item) is not str:
            result.append(redact_value(item, text))
            option = ""
            continue
        if in_key:
            in_key = _PEM_END not in item
            result.append(build_mark("redacted", rule="private_key"))
        elif header and index:
            result.append(_hide(item, header, own=False))
        elif option and not item.startswith("-"):
            result.append(_hide(item, option, own=False))
            option = ""
        else:
            result.append(_redact_string(item, text))
            in_key = _PEM_BEGIN in item and _PEM_WORDS in item and _PEM_END not in item
            option = text.names.match(item) if _OPTION.fullmatch(item) else ""
    return result if any(new is not old for new, old in zip(result, value, strict=True)) else value


def _name_of_pair(name: str, value: str, text: TextRedactor) -> str:
    """Give what ``["Authorization", "Basic ..."]`` names; "" for two words that are no name and value."""
    found = text.names.match(name) if _NAME.fullmatch(name) else ""
    if not found or found == "pwd" or not fold_name(name).endswith(found) or text.names.match(value):
        return ""
    is_value = looks_random(value) or (found in _HEADER_NAMES and not _PLAIN_WORD.fullmatch(value))
    return found if is_value else ""


def _hide(value: Any, rule: str, own: bool) -> Any:
    """Put a mark for every text below a telling key; *own*: for every number too."""
    cls = type(value)
    if cls is str:
        return build_mark("redacted", rule=rule) if value else value
    if cls is dict:
        return _hide_dict(value, rule, own)
    if cls is list:
        hidden = [_hide(item, rule, own) for item in value]
        return hidden if any(new is not old for new, old in zip(hidden, value, strict=True)) else value
    if own and cls is not bool and value is not None:
        return build_mark("redacted", rule=rule)
    return value


def _hide_dict(value: dict[str, Any], rule: str, own: bool) -> Any:
    if MARK in value:
        return value if value[MARK] in ("redacted", "cycle") else build_mark("redacted", rule=rule)
    is_schema = value.keys() <= _SCHEMA_WORDS and (
        value.get("type") in _SCHEMA_TYPES or "anyOf" in value or "$ref" in value
    )
    hidden = {
        key: item if is_schema and key not in _SCHEMA_VALUES else _hide(item, rule, own)
        for key, item in value.items()
    }
    return hidden if any(hidden[key] is not value[key] for key in value) else value
