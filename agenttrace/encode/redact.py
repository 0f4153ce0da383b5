"""
Take secrets out of a payload before anything reaches a disk.

Invariant: what comes out is valid JSON and quotes nothing of what was taken; on any
failure the whole payload becomes a mark. Rules are data, so that they can stand in
the ring's header and a recoverer uses the same. Cost: see ``redact_gate``; a payload
that opens the gate costs its parsing and about 1 µs a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from agenttrace.encode.marks import build_mark
from agenttrace.encode.redact_gate import Gate
from agenttrace.encode.redact_names import Names
from agenttrace.encode.redact_text import CustomPattern, TextRedactor
from agenttrace.encode.redact_walk import redact_value
from agenttrace.errors import ConfigError

__all__ = ["Rules"]

_VERSION = 1
_DATA_FIELDS = ("version", "enabled", "default", "keys", "patterns")
_FAILED = orjson.dumps(build_mark("redacted", rule="failure"))
_FAILED_TEXT = "[redacted:failure]"
_NAME_LIKE = re.compile(r"[\w.\- ]+")
_MIN_SECRET_CHARACTERS = 4


class Rules:
    """
    What counts as a secret: the default rules, and the user's own names and patterns.

    Compiled on first use. A pattern of the user's runs in the writer thread, on at most
    8,192 characters at a time; a regular expression that takes exponential time cannot
    be interrupted there, so test one on long input before you configure it.
    """

    def __init__(
        self,
        keys: tuple[str, ...] = (),
        patterns: tuple[CustomPattern, ...] = (),
        *,
        default: bool = True,
        enabled: bool = True,
    ) -> None:
        self.keys = keys
        self.patterns = patterns
        self.default_rules = default
        self.enabled = enabled and (default or bool(keys) or bool(patterns))
        names = Names(keys, default=default)
        self._text = TextRedactor(names, patterns, default=default)
        self._opens = Gate(names, patterns, default=default).opens

    @classmethod
    def default(cls) -> Rules:
        """Give the rules that hold when nothing is configured."""
        return cls()

    @classmethod
    def build(cls, extra: Any = None) -> Rules:
        """
        Build the rules from what users give ``configure(redact=...)``.

        Args:
            extra: None or True: the default rules. False: none at all. A list: more key names
                (letters, digits, ``_ - .`` and spaces) and regular expressions (anything else).
                A dict ``{"keys": [...], "patterns": [...], "default": bool}`` says it exactly; a
                pattern there may also be ``{"name": ..., "pattern": ...}``. What ``to_data`` gave
                is understood too.

        Raises:
            ConfigError: A regular expression does not compile, or *extra* is none of these.
        """
        if extra is None or extra is True:
            return cls()
        if extra is False:
            return cls(enabled=False)
        if isinstance(extra, Rules):
            return extra
        if isinstance(extra, (str, re.Pattern)):
            extra = [extra]
        if isinstance(extra, Mapping):
            return cls._from_mapping(extra)
        if isinstance(extra, (list, tuple, set, frozenset)):
            keys = [entry for entry in extra if isinstance(entry, str) and _NAME_LIKE.fullmatch(entry)]
            patterns = [entry for entry in extra if entry not in keys]
            return cls._from_mapping({"keys": keys, "patterns": patterns})
        raise ConfigError(
            f"redact is a {type(extra).__name__}; allowed are True, False, a list of key names and "
            'regular expressions, or a dict with "keys", "patterns" and "default"'
        )

    @classmethod
    def from_data(cls, data: Any) -> Rules:
        """
        Read what ``to_data`` gave.

        Raises:
            ConfigError: It is something else.
        """
        return cls.build(data)

    def to_data(self) -> dict[str, Any]:
        """Give the rules as a JSON value; the default ones by reference."""
        return {
            "version": _VERSION,
            "enabled": self.enabled,
            "default": self.default_rules,
            "keys": list(self.keys),
            "patterns": [
                {"name": name, "pattern": pattern.pattern, "flags": int(pattern.flags)}
                for name, pattern in self.patterns
            ],
        }

    @classmethod
    def _from_mapping(cls, data: Mapping[Any, Any]) -> Rules:
        unknown = sorted(str(name) for name in data if name not in _DATA_FIELDS)
        keys, patterns = data.get("keys") or [], data.get("patterns") or []
        if unknown or not isinstance(keys, (list, tuple)) or not isinstance(patterns, (list, tuple)):
            raise ConfigError(
                f"redact has {', '.join(unknown) or 'no lists'}; "
                'allowed are "keys" and "patterns" (lists) and "default"'
            )
        if not all(isinstance(key, str) for key in keys):
            raise ConfigError("redact: keys must be texts")
        compiled = tuple(_compile(entry, number) for number, entry in enumerate(patterns, 1))
        return cls(
            tuple(keys),
            compiled,
            default=bool(data.get("default", True)),
            enabled=bool(data.get("enabled", True)),
        )

    def redact_payload(self, payload: bytes) -> bytes:
        """
        Take the secrets out of a JSON payload.

        Returns:
            *payload* itself when nothing was found; a mark for the whole when it cannot be read.
        """
        try:
            if not self.enabled or not self._opens(payload):
                return payload
            value = orjson.loads(payload)
            redacted = redact_value(value, self._text)
            return payload if redacted is value else orjson.dumps(redacted)
        except Exception:  # never let through what could not be looked at
            return _FAILED

    def redact_text(self, text: str) -> str:
        """Take the secrets out of a text column; never raises."""
        try:
            if not self.enabled or len(text) < _MIN_SECRET_CHARACTERS:
                return text
            return self._text.redact(text)
        except Exception:  # never let through what could not be looked at
            return _FAILED_TEXT


def _compile(entry: Any, number: int) -> CustomPattern:
    name, flags = f"custom-{number}", 0
    if isinstance(entry, Mapping):
        name = str(entry.get("name", name))
        flags = entry.get("flags", 0)
        entry = entry.get("pattern")
    if isinstance(entry, re.Pattern):
        flags, entry = entry.flags, entry.pattern
    if not isinstance(entry, str) or not isinstance(flags, int):
        raise ConfigError(f"redact: pattern {number} is {entry!r:.100}, not the text of a regular expression")
    try:
        return name[:64], re.compile(entry, flags)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"redact: pattern {entry!r:.200} is no regular expression: {error}") from error
