"""
Where a process comes from: the settings and the place that another one gave it.

Invariant: ``os.environ`` is read and never changed; what a parent process handed over
counts more. What this process hands on to its own children is made here too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from agenttrace import config
from agenttrace.capture.context import CURRENT, PIPE, Operation, implicit_roots
from agenttrace.capture.propagation import SCOPE_VARIABLE, parse_scope, unpack_scope
from agenttrace.errors import ConfigError

__all__ = ["ORIGIN", "Origin", "build_rules", "load_settings", "settings_for_children"]


class Origin:
    """What this process was given by the one that started it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin as a process that nobody of ours has started, or has not looked yet."""
        self.inherited: dict[str, str] = {}
        """Environment variables that only we know of: a parent process gave them to this one."""
        self.operation: Operation | None = None
        """The operation, of another process, that this process was started in."""
        self._is_found = False

    def environment(self) -> dict[str, str]:
        """Give the environment with what was handed over."""
        return {**os.environ, **self.inherited}

    def find(self) -> None:
        """Let the process stand where its environment says it was started; only the first time."""
        if self._is_found:
            return
        self._is_found = True
        self.operation = unpack_scope(parse_scope(os.environ.get(SCOPE_VARIABLE, "")))
        self.place_lost_calls()
        self.stand()

    def stand(self) -> None:
        """Go there from outside any scope: a thread or context may not have inherited it."""
        if self.operation is not None and CURRENT.get() is None:
            CURRENT.set(self.operation)

    def place_lost_calls(self) -> None:
        """Let calls outside any scope belong to the agent that this process was started by."""
        if self.operation is not None and self.operation.agent is not None:
            implicit_roots[PIPE.epoch] = self.operation


ORIGIN = Origin()


def load_settings(given: Mapping[str, Any]) -> config.Settings:
    """Put the settings together; what cannot be used is logged, and a default takes its place."""
    environment = ORIGIN.environment()
    try:
        return config.load(given, environment)
    except ConfigError as exc:
        logging.getLogger("agenttrace").warning("%s; recording goes on with defaults", exc)
        try:
            return config.load(given, {"AGENTTRACE_DB": environment.get("AGENTTRACE_DB", "")})
        except ConfigError:
            return config.Settings(database=config.user_database())


def build_rules(settings: config.Settings) -> Any:
    """
    Make the redaction rules of *settings*.

    Raises:
        ConfigError: A pattern is none; the message names it.
    """
    from agenttrace.encode.redact import Rules  # late: its patterns are compiled with the first event

    return Rules.build(settings.redact)


def settings_for_children(settings: config.Settings, given: Mapping[str, Any]) -> dict[str, str]:
    """
    Give the environment variables that make a child record as this process does.

    Args:
        settings: Those in force.
        given: What the program itself has configured; it counts more than the environment.
    """
    variables = {name: value for name, value in ORIGIN.environment().items() if name.startswith("AGENTTRACE")}
    variables.pop(SCOPE_VARIABLE, None)
    rules = None if settings.redact is None else build_rules(settings).to_data()
    for name, value in config.render_environment(settings, rules).items():
        # What the environment says itself stays as it is written there; a relative path would mislead.
        if name not in variables or config.VARIABLES[name] in {*given, "database"}:
            variables[name] = value
    return {**variables, "AGENTTRACE": "1"}
