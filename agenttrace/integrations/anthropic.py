"""
Follow Anthropic's SDK: every request for a message, however it is made, is one model turn.

``messages.create``, plain or streamed, ``messages.stream``, ``parse``, the beta API, its tool runner, raw
responses and the clients for other clouds all go through the base client, which is what is followed.
Invariant: what the SDK hands out is its own and behaves as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from agenttrace.integrations.anthropic_messages import Message, ask_message
from agenttrace.integrations.patching import Patch
from agenttrace.integrations.sdk_exchange import Api
from agenttrace.integrations.sdk_requests import ModelSdk

__all__ = ["install", "uninstall"]


def _provider_of(client: Any) -> str:
    """Say ``anthropic``, whose models they are, whichever cloud serves them."""
    return "anthropic"


def _check(module: ModuleType) -> Iterator[Patch]:
    """Replace nothing of the package itself."""
    yield from ()


_sdk = ModelSdk("anthropic", {"/v1/messages": Api(ask_message, Message)}, _provider_of)
_library = _sdk.library(_check)


def install() -> None:
    """Follow the SDK, imported or yet to be."""
    _library.install()


def uninstall() -> None:
    """Put the SDK back as it was."""
    _library.uninstall()
