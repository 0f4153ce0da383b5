"""
What a tool takes: declared once, told to the client as JSON Schema, and checked here again.

Clients are programs that follow what a model wrote, so what is wrong is answered with what would be
right. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agenttrace.errors import ConfigError
from agenttrace.query.quoting import quote_name, quote_text

__all__ = ["Parameter", "build_schema", "check_arguments"]

_STRING_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a tool."""

    name: str
    type: str
    """``string``, ``integer`` or ``boolean``."""
    help: str
    default: str | int | bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    required: bool = False

    def to_schema(self) -> dict[str, Any]:
        """Give its JSON Schema."""
        schema: dict[str, Any] = {"type": self.type, "description": self.help}
        if self.default is not None:
            schema["default"] = self.default
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        if self.choices:
            schema["enum"] = list(self.choices)
        return schema


def build_schema(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Give the JSON Schema of a tool's arguments."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: each.to_schema() for each in parameters},
        "additionalProperties": False,
    }
    required = [each.name for each in parameters if each.required]
    if required:
        schema["required"] = required
    return schema


def check_arguments(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Give the value of every parameter, its default where none is given.

    A number written as text is taken as the number, and a number where a text is wanted as that text.

    Raises:
        ConfigError: One is unknown, missing, of another type or out of range; the message says what is right.
    """
    known = {each.name: each for each in parameters}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown argument {quote_name(name)}{hint} There are: {', '.join(known)}.")
    return {each.name: _check(each, given.get(each.name)) for each in parameters}


def _check(parameter: Parameter, value: Any) -> Any:
    if value is None or (value == "" and not parameter.required):
        if parameter.required:
            raise ConfigError(f"argument {parameter.name} is missing: {parameter.help}")
        return parameter.default
    if parameter.type == "integer":
        return _check_integer(parameter, value)
    if parameter.type == "boolean":
        named = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(named, bool):
            raise _refuse(parameter, value, "give true or false")
        return named
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _refuse(parameter, value, "give a text")
    if len(value) > _STRING_CHARACTERS:
        raise _refuse(parameter, value, f"give at most {_STRING_CHARACTERS:,} characters")
    if parameter.choices and value not in parameter.choices:
        raise _refuse(parameter, value, f"give one of {', '.join(parameter.choices)}")
    return value


def _check_integer(parameter: Parameter, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refuse(parameter, value, "give a whole number")
    if parameter.minimum is not None and value < parameter.minimum:
        raise _refuse(parameter, value, f"give {parameter.minimum:,} or more")
    if parameter.maximum is not None and value > parameter.maximum:
        raise _refuse(parameter, value, f"give {parameter.maximum:,} or less")
    return value


def _refuse(parameter: Parameter, value: Any, advice: str) -> ConfigError:
    return ConfigError(f"argument {parameter.name}={quote_text(repr(value), 60).text}: {advice}.")
