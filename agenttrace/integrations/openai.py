"""
Follow OpenAI's SDK: every request to a chat model, however it is made, is one model turn.

``chat.completions`` and ``responses``, with ``create``, ``parse`` and ``stream``, plain or streamed, sync
or async, raw responses, Azure's clients and those of other providers of this format all go through the
base client, which is what is followed. Invariant: what the SDK hands out is its own and behaves as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from agenttrace.integrations.openai_chat import Chat, ask_chat
from agenttrace.integrations.openai_responses import Response, ask_response
from agenttrace.integrations.patching import Patch, note_problem
from agenttrace.integrations.sdk_reading import Api
from agenttrace.integrations.sdk_requests import ModelSdk

__all__ = ["install", "provider_of", "uninstall"]

_PROVIDERS = {
    "openai.azure.com": "azure",
    "azure-api.net": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "generativelanguage.googleapis.com": "google",
    "openrouter.ai": "openrouter",
}
"""Ends of host names, to the providers that serve other models in this format."""


def provider_of(client: Any) -> str:
    """Say who serves the models of *client*; an unknown host, a gateway say, counts as OpenAI's."""
    host = str(getattr(getattr(client, "base_url", None), "host", "")).lower()
    for end, provider in _PROVIDERS.items():
        if host == end or host.endswith(f".{end}"):
            return provider
    return "openai"


def _check(module: ModuleType) -> Iterator[Patch]:
    """Replace nothing of the package itself; say if it is of the time before it had clients."""
    if not hasattr(module, "OpenAI"):
        version = getattr(module, "__version__", None) or getattr(module, "VERSION", "of unknown version")
        note_problem("openai", f"openai {version} is not followed: this needs 1.0 or later")
    yield from ()


_sdk = ModelSdk(
    "openai",
    {
        "/chat/completions": Api(ask_chat, Chat, "agenttrace.integrations.replies_chat"),
        "/responses": Api(ask_response, Response, "agenttrace.integrations.replies_responses"),
    },
    provider_of,
)
_library = _sdk.library(_check)


def install() -> None:
    """Follow the SDK, imported or yet to be."""
    _library.install()


def uninstall() -> None:
    """Put the SDK back as it was."""
    _library.uninstall()
