"""
What is followed in other libraries: one table of patches, each with its way back.

Invariant: `install` may be called any number of times; `uninstall` puts back exactly
what stood there.
"""

from __future__ import annotations

import importlib

from agenttrace.errors import ConfigError

__all__ = ["INTEGRATIONS", "install", "installed", "uninstall"]

INTEGRATIONS = {
    "threads": "agenttrace.integrations.threads",
    "exceptions": "agenttrace.integrations.exceptions",
    "logging": "agenttrace.integrations.logging",
    "processes": "agenttrace.integrations.processes",
    "tenacity": "agenttrace.integrations.tenacity",
    "stamina": "agenttrace.integrations.stamina",
    "mcp": "agenttrace.integrations.mcp",
    "langgraph": "agenttrace.integrations.langgraph",
    "anthropic": "agenttrace.integrations.anthropic",
    "openai": "agenttrace.integrations.openai",
    "openai_agents": "agenttrace.integrations.openai_agents",
    "pydantic_ai": "agenttrace.integrations.pydantic_ai",
}
"""Name to the module that has ``install()`` and ``uninstall()``."""

_installed: list[str] = []


def install(*names: str) -> None:
    """
    Put the named patches in place; ``auto`` stands for all of them.

    Raises:
        ConfigError: A name is unknown.
    """
    for name in _expand(names):
        if name not in _installed:
            importlib.import_module(INTEGRATIONS[name]).install()
            _installed.append(name)


def uninstall(*names: str) -> None:
    """Take the named patches back; without names, all."""
    for name in _expand(names) if names else list(reversed(_installed)):
        if name in _installed:
            importlib.import_module(INTEGRATIONS[name]).uninstall()
            _installed.remove(name)


def installed() -> tuple[str, ...]:
    """Give the names in place now."""
    return tuple(_installed)


def _expand(names: tuple[str, ...]) -> list[str]:
    expanded: list[str] = []
    for name in names:
        if name == "auto":
            expanded.extend(INTEGRATIONS)
        elif name in INTEGRATIONS:
            expanded.append(name)
        else:
            known = ", ".join(["auto", *INTEGRATIONS])
            raise ConfigError(f"install({name!r}): there is no such integration; known: {known}")
    return expanded
