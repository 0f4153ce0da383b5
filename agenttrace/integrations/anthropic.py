"""
Follow Anthropic's SDK: every request for a message, however it is made, is one model turn.

``messages.create``, plain or streamed, ``messages.stream``, ``parse``, the beta API, its tool runner, raw
responses and the clients for other clouds all go through the base client, which is what is followed; so
are the functions that the SDK's tool runner calls.
Invariant: what the SDK hands out is its own and behaves as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from agenttrace.integrations.anthropic_messages import Message, ask_message
from agenttrace.integrations.anthropic_tools import tool_library
from agenttrace.integrations.patching import Patch, note_problem
from agenttrace.integrations.sdk_reading import Api
from agenttrace.integrations.sdk_requests import ModelSdk

__all__ = ["install", "uninstall"]


_PROVIDERS = {
    "anthropic.lib.bedrock": "aws",
    "anthropic.lib.vertex": "google",
    "anthropic.lib.google_cloud": "google",
    "anthropic.lib.foundry": "azure",
}
"""Where the clients for other clouds stand in the SDK, to who serves the models there."""


def _provider_of(client: Any) -> str:
    """Say who serves the models of *client*, or of the SDK's client that it is made of."""
    for kind in type(client).__mro__:
        for place, provider in _PROVIDERS.items():
            if kind.__module__.startswith(place):
                return provider
    return "anthropic"


def _check(module: ModuleType) -> Iterator[Patch]:
    """Replace nothing of the package itself; say if it has not the client that is followed."""
    if not hasattr(module, "Anthropic") or find_spec(f"{module.__name__}._base_client") is None:
        try:
            installed = version("anthropic")
        except PackageNotFoundError:  # a module of the program's own
            return
        note_problem("anthropic", f"anthropic {installed} is not followed: it has not the client we know")
    yield from ()


_sdk = ModelSdk(
    "anthropic",
    {"/v1/messages": Api(ask_message, Message, "agenttrace.integrations.replies_messages")},
    _provider_of,
)
_libraries = (_sdk.library(_check), tool_library())


def install() -> None:
    """Follow the SDK, imported or yet to be."""
    for library in _libraries:
        library.install()


def uninstall() -> None:
    """Put the SDK back as it was."""
    for library in _libraries:
        library.uninstall()
