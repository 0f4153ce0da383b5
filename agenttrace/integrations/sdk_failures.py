"""
What a recorded failure of a model's SDK was on the wire: a status with its body, or a broken connection.

The SDK's exceptions say so in their texts (``Error code: 429 - {…}``), and by their names where they do
not. Invariant: pure; whatever the SDK makes of what is given here has the recorded type and message.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["Failure", "failure_of"]

_SAID = re.compile(r"Error code: (\d{3})(?: - (.*))?\Z", re.DOTALL)
_STATUS = {
    "AuthenticationError": 401,
    "BadRequestError": 400,
    "ConflictError": 409,
    "DeadlineExceededError": 504,
    "InternalServerError": 500,
    "NotFoundError": 404,
    "OverloadedError": 529,
    "PermissionDeniedError": 403,
    "RateLimitError": 429,
    "RequestTooLargeError": 413,
    "ServiceUnavailableError": 503,
    "UnprocessableEntityError": 422,
}
"""The classes that an SDK has for a status, where the text does not say which."""
_HTTP = ("httpx", "httpx2", "httpcore")
_LINKS_LIMIT_COUNT = 16


class Failure(NamedTuple):
    """One failure, as it came."""

    status: int
    """Of the answer; 0 where there was none."""
    body: bytes = b""
    kind: str = ""
    """The HTTP library's class for what happened to the connection."""
    message: str = ""
    event: Mapping[str, Any] | None = None
    """What the last event of a stream said, where that was the failure."""


def failure_of(described: Mapping[str, Any], name: str) -> Failure | None:
    """
    Give what a recorded failure was on the wire.

    Args:
        described: As the ``error`` row has it, with its causes.
        name: The SDK's package.

    Returns:
        None for a failure that is none of the SDK's or of a connection.
    """
    links = list(_chain_of(described))
    for link in links:
        root, kind = str(link.get("module") or "").partition(".")[0], str(link.get("type"))
        message = str(link.get("message") or "")
        if root in _HTTP:
            return Failure(0, kind=kind, message=message)
        said = _SAID.match(message)
        if root == name or said is not None:
            return _as_told(link, name) or _failure_of_sdk(kind, message, said, links)
    return None


def _as_told(link: Mapping[str, Any], name: str) -> Failure | None:
    """Give the failure from the status and the body that were kept beside its text."""
    told = link.get("response")
    body = told.get("body") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or body is None:
        return None
    said = _SAID.match(str(link.get("message") or ""))
    whole = _parsed(said[2] or "") if said is not None else None
    if not isinstance(whole, Mapping):  # OpenAI's SDK keeps of a body what is under ``error``
        whole = {"error": body} if name == "openai" and isinstance(body, Mapping) else body
    content = whole if isinstance(whole, str) else json.dumps(whole)
    event = body if name == "openai" else whole
    return Failure(
        told.get("status") or 500,
        content.encode("utf-8", "replace"),
        event=event if isinstance(event, Mapping) else {"message": str(link.get("message") or "")},
    )


def _failure_of_sdk(
    kind: str, message: str, said: re.Match[str] | None, links: list[Mapping[str, Any]]
) -> Failure | None:
    if said is not None:
        return Failure(int(said[1]), _body_of(said[2]), event=_parsed(said[2] or ""))
    if kind in ("APITimeoutError", "APIConnectionError"):
        return _connection_of(kind, links)
    if kind in _STATUS:
        return Failure(_STATUS[kind], message.encode("utf-8", "replace"), event=_event_of(message))
    if kind in ("APIError", "APIStatusError"):  # said amid a stream, which began with status 200
        return Failure(500, message.encode("utf-8", "replace"), event=_event_of(message))
    return None


def _connection_of(kind: str, links: list[Mapping[str, Any]]) -> Failure:
    for link in links:
        if str(link.get("module") or "").partition(".")[0] in _HTTP:
            return Failure(0, kind=str(link.get("type")), message=str(link.get("message") or ""))
    is_timeout = kind == "APITimeoutError"
    return Failure(0, kind="ReadTimeout" if is_timeout else "ConnectError", message="as recorded")


def _chain_of(described: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    link: Any = described
    for _ in range(_LINKS_LIMIT_COUNT):
        if not isinstance(link, Mapping):
            return
        yield link
        link = link.get("cause")


def _body_of(text: str | None) -> bytes:
    """Give the body that the SDK printed as Python does; a text that is no such thing, as it is."""
    if not text:
        return b""
    parsed = _parsed(text)
    return text.encode("utf-8", "replace") if parsed is None else json.dumps(parsed).encode()


def _parsed(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _event_of(message: str) -> Mapping[str, Any]:
    parsed = _parsed(message)
    return parsed if isinstance(parsed, Mapping) else {"message": message}
