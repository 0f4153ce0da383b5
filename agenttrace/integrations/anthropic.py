"""
Follow Anthropic's SDK: every request for a message, however it is made, is one model turn.

``messages.create``, plain or streamed, ``messages.stream``, ``parse``, the beta API, its tool runner, raw
responses and the clients of other clouds all go through one method of the base client, which is what is
followed. Invariant: what the SDK hands out is its own and behaves as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from agenttrace.integrations.anthropic_messages import MessageParts, read_answer, read_question
from agenttrace.integrations.patching import Library
from agenttrace.integrations.sdk_requests import (
    Question,
    describe_client,
    describe_responses,
    describe_streams,
)
from agenttrace.integrations.sdk_streams import Answer, Parts

__all__ = ["install", "uninstall"]


class _Messages:
    """How Anthropic's requests and answers are read."""

    name = "anthropic"

    def read_question(self, path: str, body: Any) -> Question | None:
        """Read a request for a message; batches and token counts are none."""
        if path != "/v1/messages" or not isinstance(body, Mapping) or "messages" not in body:
            return None
        return read_question(body)

    def read_answer(self, path: str, value: Any) -> Answer:
        """Read a message."""
        return read_answer(value)

    def begin_parts(self, path: str) -> Parts:
        """Begin a message that arrives in events."""
        return MessageParts()


_library = Library(
    "anthropic",
    {
        "anthropic._base_client": partial(describe_client, _Messages()),
        "anthropic._streaming": describe_streams,
        "anthropic._response": describe_responses,
    },
)


def install() -> None:
    """Follow the SDK, imported or yet to be."""
    _library.install()


def uninstall() -> None:
    """Put the SDK back as it was."""
    _library.uninstall()
