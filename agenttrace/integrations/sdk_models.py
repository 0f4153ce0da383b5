"""
Which models of frameworks are asked through an SDK that is followed itself.

In a replay those get their answers beneath the SDK, so that the framework reads them as ever; all others
are answered in their own place. Invariant: a model whose SDK is not followed is one of the others.
"""

from __future__ import annotations

from typing import Any

from agenttrace.integrations.patching import count_patches

__all__ = ["is_asked_through_sdk"]

_MADE_ON = {
    "langchain_openai": "openai",
    "langchain_anthropic": "anthropic",
    "agents.models.openai_": "openai",
    "pydantic_ai.models.openai": "openai",
    "pydantic_ai.models.anthropic": "anthropic",
}
"""Beginnings of modules whose models are made on an SDK."""


def is_asked_through_sdk(model: Any) -> bool:
    """Tell whether *model* sends its requests through an SDK that is followed."""
    for base in type(model).__mro__:
        for beginning, sdk in _MADE_ON.items():
            if base.__module__.startswith(beginning):
                return count_patches(sdk) > 0
    return False
