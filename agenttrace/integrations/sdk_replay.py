"""
A recorded turn as the HTTP answers that a model's SDK gets instead of asking.

Owns the place where requests would leave the process: the transport of the SDK's own HTTP client, for
requests of a replayed turn alone. The SDK, and the HTTP library above its transport, run as ever: they
parse, try again, raise. Invariants: no connection is opened and nothing is waited for between attempts;
a client is touched only once a replay has answered through it, and all its other requests take their
way. Nothing here is imported while no replay goes on.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from agenttrace.capture.turn_replay import Replayed
from agenttrace.errors import ReplayError
from agenttrace.integrations.replies_said import Answered
from agenttrace.integrations.sdk_failures import Failure, failure_of
from agenttrace.integrations.sdk_reading import Api

__all__ = ["prepare_answer", "refuse_unanswerable", "wait_as_recorded"]

_KEY = "agenttrace_reply"
_IDS = {"request-id": "replayed", "x-request-id": "replayed"}
"""The provider's own id of a request is not recorded; SDKs have one name each for it."""
_CANCELLED_WAIT_S = 30.0
_LEFT = (
    "the recorded program left this stream of {model} here, so what came after it was never recorded; "
    'a replay with mode="fill" asks the model anew only for turns that were not recorded at all'
)


class Reply(NamedTuple):
    """What one attempt gets."""

    status: int
    headers: dict[str, str]
    chunks: tuple[bytes, ...]
    ending: BaseException | Failure | None = None
    """What ends the body, or comes in the place of an answer that has no chunks and no status."""


def refuse_unanswerable(replayed: Replayed, is_async: bool) -> None:
    """
    Say of a turn that has no end which could be given again that it has none.

    Raises:
        ReplayError: The recorded process died before the answer, or the wait for it was given up.
    """
    recorded = replayed.recorded
    if recorded.status == "interrupted":
        raise ReplayError(f"the recorded process died before {recorded.model} had answered")
    if recorded.status == "cancelled" and not is_async:
        raise ReplayError(f"the recorded program was stopped before {recorded.model} had answered")


async def wait_as_recorded(replayed: Replayed, is_streamed: bool) -> None:
    """
    Wait to be cancelled, where the recorded request was; a stream that had begun is given first.

    Raises:
        ReplayError: Nobody cancels it.
    """
    recorded = replayed.recorded
    if recorded.status != "cancelled" or (is_streamed and recorded.output is not None):
        return
    import anyio  # late: every client has it

    await anyio.sleep(_CANCELLED_WAIT_S)
    raise ReplayError(f"the recorded request to {recorded.model} was cancelled; this one was not")


# ------------------------------------------------------------- where requests would leave


def prepare_answer(
    client: Any, request: Any, replayed: Replayed, api: Api, body: Any, is_streamed: bool
) -> None:
    """
    Have *request*, which the SDK is about to send, answered with what was recorded.

    Args:
        client: The SDK's.
        request: The HTTP library's.
        replayed: The course of the turn, of which the next attempt is taken.
        api: Whose form the answer has.
        body: Of the request, as data.
        is_streamed: Events are asked for.

    Raises:
        ReplayError: What was recorded cannot be given in this form, or through this client.
    """
    name = type(client).__module__.partition(".")[0]
    reply = _build_reply(replayed, api, body, is_streamed, name)
    if is_streamed and "bedrock" in type(client).__module__:
        raise ReplayError("streams of Bedrock have a form of their own, which cannot be replayed yet")
    http = client._client
    if not hasattr(http, "_transport_for_url"):
        raise ReplayError(f"requests through a {type(http).__qualname__} cannot be replayed: it is no httpx")
    request.extensions[_KEY] = reply
    if not isinstance(vars(http).get("_transport_for_url"), _Choice):
        http._transport_for_url = _Choice(http)


class _Choice:
    """In the place of a client's choice of a transport: ours for a request that is answered here."""

    def __init__(self, http: Any) -> None:
        self._choose = http._transport_for_url
        self._library = _library_of(http)

    def __call__(self, url: Any) -> _Transport:
        return _Transport(self._choose(url), self._library)


def _library_of(http: Any) -> ModuleType:
    """Give the HTTP library that a client is of: ``httpx``, or what stands in its place."""
    for base in type(http).__mro__:
        if base.__name__ in ("Client", "AsyncClient"):
            return sys.modules[base.__module__.partition(".")[0]]
    raise ReplayError(f"requests through a {type(http).__qualname__} cannot be replayed: it is no httpx")


class _Transport:
    """Answers a request that has a reply; hands any other on."""

    def __init__(self, transport: Any, library: ModuleType) -> None:
        self._transport = transport
        self._library = library

    def handle_request(self, request: Any) -> Any:
        reply = request.extensions.get(_KEY)
        return self._transport.handle_request(request) if reply is None else self._answer(reply, request)

    async def handle_async_request(self, request: Any) -> Any:
        reply = request.extensions.get(_KEY)
        if reply is None:
            return await self._transport.handle_async_request(request)
        return self._answer(reply, request)

    def _answer(self, reply: Reply, request: Any) -> Any:
        ending = self._ending_of(reply, request)
        if not reply.status and ending is not None:
            raise ending
        body = _body_class(self._library)(reply.chunks, ending)
        return self._library.Response(reply.status, headers=reply.headers, stream=body)

    def _ending_of(self, reply: Reply, request: Any) -> BaseException | None:
        """Give what a connection failed with, as the HTTP library's own exception."""
        if not isinstance(reply.ending, Failure):
            return reply.ending
        kind = getattr(self._library, reply.ending.kind, None) or self._library.ConnectError
        made: BaseException = kind(reply.ending.message, request=request)
        return made


class _Body:
    """A body that is given chunk by chunk, and may break off."""

    def __init__(self, chunks: tuple[bytes, ...], ending: BaseException | None) -> None:
        self._chunks = chunks
        self._ending = ending

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._ending is not None:
            raise self._ending

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._ending is not None:
            raise self._ending


_bodies: dict[str, type[_Body]] = {}


def _body_class(library: ModuleType) -> type[_Body]:
    """Give the class of bodies that *library* takes, whether its client waits or not."""
    made = _bodies.get(library.__name__)
    if made is None:
        bases = (_Body, library.SyncByteStream, library.AsyncByteStream)
        made = _bodies[library.__name__] = type("_ReplayedBody", bases, {})
    return made


# ------------------------------------------------------------- what the recorded turn comes to


def _build_reply(replayed: Replayed, api: Api, body: Any, is_streamed: bool, name: str) -> Reply:
    described = replayed.next_failure()
    if described is not None:
        failure = failure_of(described, name)
        if failure is None:
            raise ReplayError(
                f"an attempt failed with {described.get('type')}, which is no failure of {name}: "
                "it cannot be given again through this client"
            )
        return _failed(failure, is_last=False)
    recorded = replayed.recorded
    failure = None if recorded.error is None else failure_of(recorded.error, name)
    has_begun = is_streamed and recorded.output is not None
    if failure is not None and not has_begun:
        return _failed(failure, is_last=True)
    if failure is None and recorded.exception is not None and recorded.output is None:
        raise recorded.exception
    return _answered(replayed, api, body, is_streamed, failure)


def _failed(failure: Failure, *, is_last: bool) -> Reply:
    if not failure.status:
        return Reply(0, {}, (), failure)
    headers = {"content-type": "application/json", **_IDS}
    # What the SDK decides by the status stands, unless it would now decide otherwise than it did.
    if is_last:
        headers["x-should-retry"] = "false"
    elif failure.status < 500 and failure.status not in (408, 409, 429):
        headers["x-should-retry"] = "true"
    return Reply(failure.status, headers, (failure.body,))


def _answered(replayed: Replayed, api: Api, body: Any, is_streamed: bool, failure: Failure | None) -> Reply:
    recorded = replayed.recorded
    wire = importlib.import_module(api.wire)  # late: the forms of the answers are a replay's alone
    is_left = recorded.status in ("stopped_early", "cancelled")
    says_failure = (recorded.error or {}).get("type") == "ReturnedFailure"
    answered = Answered(
        recorded.output,
        recorded.model or "unknown",
        recorded.finish_reason,
        recorded.response_id,
        recorded.usage,
        recorded.counts,
        failure=str((recorded.error or {}).get("message")) if says_failure else None,
        is_cut=is_streamed and (is_left or failure is not None),
    )
    try:
        if not is_streamed:
            content = wire.build_body(answered, body)
            return Reply(200, {"content-type": "application/json", **_IDS}, (_encode(content),))
        chunks = tuple(wire.iter_events(answered, body))
    except Exception as exc:
        raise ReplayError(f"the recorded answer of {recorded.model} cannot be given again: {exc}") from exc
    ending: BaseException | Failure | None = None
    if failure is not None and failure.event is not None:
        chunks = (*chunks, wire.build_failure_event(answered, failure.event))
    elif failure is not None:
        ending = failure
    elif is_left:
        ending = ReplayError(_LEFT.format(model=recorded.model))
    return Reply(200, {"content-type": "text/event-stream; charset=utf-8", **_IDS}, chunks, ending)


def _encode(content: Any) -> bytes:
    import json  # late: as the rest

    return json.dumps(content).encode()
