"""
What the fake provider is told to answer, in words that no provider's wire format has.

Invariant: a reply is data and may be queued any number of times; what is unset is filled in by the
server as it answers. Counts are ours: ``input_tokens`` has all input, cached too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = [
    "Call",
    "Reply",
    "Usage",
    "bad_request",
    "broken_stream",
    "dropped",
    "failed_stream",
    "held",
    "max_tokens",
    "overloaded",
    "rate_limited",
    "raw",
    "refusal",
    "server_error",
    "text",
    "tool_calls",
    "zipped",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost."""

    input_tokens: int = 11
    """All input, cache reads and writes included."""
    output_tokens: int = 7
    """All output, reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One tool that the model wants to be called."""

    name: str
    arguments: Mapping[str, Any] | str
    """A str goes over the wire as it is, valid JSON or not; Anthropic's unstreamed form cannot hold that."""
    call_id: str | None = None
    """None: the server makes one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thinking: str = ""
    stop: str = "end"
    """``end``, ``tools``, ``length`` or ``refusal``."""
    usage: Usage = Usage()
    model: str | None = None
    """The model that answered; None: the one that was asked."""
    response_id: str | None = None
    status: int = 200
    error: str = ""
    """The provider's word for the kind of error, of Anthropic's; the other is made of it."""
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    after: int | None = None
    """How many deltas of the content are sent, before what ``then`` says happens."""
    then: str = ""
    """``break`` (the connection ends), ``error`` (an error event) or ``wait`` (for ``until``)."""
    until: threading.Event | None = field(default=None, compare=False)
    raw: str | None = None
    """What is sent instead of anything that the wire format knows, also where a stream was asked for."""
    is_zipped: bool = False
    """The body is compressed, as the real ones are for clients that allow it."""


def text(content: str, *, thinking: str = "", **more: Any) -> Reply:
    """Answer with *content*; *more*: ``usage``, ``model``, ``response_id``, ``headers``."""
    return Reply(text=content, thinking=thinking, **more)


def tool_calls(
    calls: Iterable[Call | tuple[str, Mapping[str, Any] | str]],
    *,
    content: str = "",
    thinking: str = "",
    **more: Any,
) -> Reply:
    """Ask for *calls*, all at once; ``(name, arguments)`` stands for a `Call`."""
    made = tuple(one if isinstance(one, Call) else Call(*one) for one in calls)
    return Reply(text=content, calls=made, thinking=thinking, stop="tools", **more)


def max_tokens(content: str, **more: Any) -> Reply:
    """Answer with *content*, cut off by the limit of tokens."""
    return Reply(text=content, stop="length", **more)


def refusal(content: str, **more: Any) -> Reply:
    """Refuse, with *content* as the words."""
    return Reply(text=content, stop="refusal", **more)


def _failure(status: int, error: str, message: str, retry_after_ms: float | None, more: Any) -> Reply:
    headers = tuple(more.pop("headers", ()))
    if retry_after_ms is not None:
        # ``retry-after: 0`` is not obeyed by either SDK; the header in milliseconds is, and wins.
        headers += (("retry-after-ms", f"{retry_after_ms:g}"),)
    return Reply(status=status, error=error, message=message, headers=headers, **more)


def rate_limited(message: str = "slow down", *, retry_after_ms: float = 1, **more: Any) -> Reply:
    """Answer 429; the SDKs try again after *retry_after_ms*."""
    return _failure(429, "rate_limit_error", message, retry_after_ms, more)


def overloaded(message: str = "Overloaded", *, retry_after_ms: float = 1, **more: Any) -> Reply:
    """Answer 529, which is Anthropic's own (OpenAI has 503); the SDKs try again."""
    return _failure(529, "overloaded_error", message, retry_after_ms, more)


def server_error(message: str = "it broke", *, retry_after_ms: float = 1, **more: Any) -> Reply:
    """Answer 500; the SDKs try again."""
    return _failure(500, "api_error", message, retry_after_ms, more)


def bad_request(message: str = "no such parameter", **more: Any) -> Reply:
    """Answer 400; nobody tries again."""
    return _failure(400, "invalid_request_error", message, None, more)


def raw(body: str, *, content_type: str = "text/html") -> Reply:
    """Answer 200 with *body*, as a proxy or a server of another kind may."""
    return Reply(raw=body, headers=(("Content-Type", content_type),))


def zipped(reply: Reply) -> Reply:
    """Send *reply* compressed with gzip, event by event where it is streamed."""
    return replace(reply, is_zipped=True)


def dropped() -> Reply:
    """Close the connection without a word; the SDKs see a connection error and try again after 0.5 s."""
    return Reply(status=0)


def broken_stream(reply: Reply, *, after: int) -> Reply:
    """Send *reply* as far as *after* deltas of its content, then close the connection."""
    return replace(reply, after=after, then="break")


def failed_stream(reply: Reply, *, after: int, error: str = "overloaded_error") -> Reply:
    """Send *reply* as far as *after* deltas of its content, then an error event instead of the rest."""
    return replace(reply, after=after, then="error", error=error, message="Overloaded")


def held(reply: Reply, *, after: int = 0, until: threading.Event | None = None) -> Reply:
    """
    Send *reply* as far as *after* deltas of its content, and the rest when *until* is set.

    Without *until*, never: the server waits till the client leaves. Unstreamed, it waits before it answers.
    """
    return replace(reply, after=after, then="wait", until=until)
