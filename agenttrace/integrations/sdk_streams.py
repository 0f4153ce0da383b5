"""
What is put around a streamed answer: the iterator of the SDK's ``Stream``, and the body beneath it.

Invariants: the objects that the program holds are the SDK's own; items pass one by one, as they
come, and nothing is read ahead; closing goes on to what is closed.
"""

from __future__ import annotations

from typing import Any

from agenttrace.integrations.sdk_bytes import BodyBytes
from agenttrace.integrations.sdk_exchange import Exchange

__all__ = ["exchange_of", "follow_stream", "is_stream", "watch_body"]


class _Items:
    """In the place of the iterator of a ``Stream``."""

    __slots__ = ("_exchange", "_inner")

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __iter__(self) -> _Items:
        return self

    def __next__(self) -> Any:
        exchange = self._exchange
        exchange.is_pulling = True
        try:
            item = self._inner.__next__()
        except StopIteration:
            exchange.finish(None)
            raise
        except BaseException as exc:
            exchange.finish(exc)
            raise
        finally:
            exchange.is_pulling = False
        exchange.take(item)
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _AsyncItems:
    """In the place of the iterator of an ``AsyncStream``."""

    __slots__ = ("_exchange", "_inner")

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __aiter__(self) -> _AsyncItems:
        return self

    async def __anext__(self) -> Any:
        exchange = self._exchange
        exchange.is_pulling = True
        try:
            item = await self._inner.__anext__()
        except StopAsyncIteration:
            exchange.finish(None)
            raise
        except BaseException as exc:
            exchange.finish(exc)
            raise
        finally:
            exchange.is_pulling = False
        exchange.take(item)
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def is_stream(value: Any) -> bool:
    """Tell whether *value* is a ``Stream`` or ``AsyncStream`` of an SDK, or of a class made from one."""
    return any(base.__name__ in ("Stream", "AsyncStream") for base in type(value).__mro__) and hasattr(
        type(value), "__stream__"
    )


def follow_stream(stream: Any, exchange: Exchange) -> None:
    """Take every item of *stream*, a ``Stream`` or ``AsyncStream`` of an SDK, as the program takes it."""
    inner = stream._iterator
    if isinstance(inner, (_Items, _AsyncItems)):
        return
    exchange.body = None  # its bytes are the SDK's to parse
    stream._iterator = (
        _AsyncItems(inner, exchange) if hasattr(inner, "__anext__") else _Items(inner, exchange)
    )


# ------------------------------------------------------------- the body beneath


class _Chunks:
    """Bytes of a body that the program reads itself."""

    __slots__ = ("_exchange", "_inner")

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __iter__(self) -> _Chunks:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        exchange.is_pulling = True
        try:
            chunk: bytes = self._inner.__next__()
        except StopIteration:
            _end_body(exchange)
            raise
        except BaseException as exc:
            exchange.finish(exc)
            raise
        finally:
            exchange.is_pulling = False
        exchange.take_bytes(chunk)
        return chunk


class _AsyncChunks:
    """The same of an async one."""

    __slots__ = ("_exchange", "_inner")

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __aiter__(self) -> _AsyncChunks:
        return self

    async def __anext__(self) -> bytes:
        exchange = self._exchange
        exchange.is_pulling = True
        try:
            chunk: bytes = await self._inner.__anext__()
        except StopAsyncIteration:
            _end_body(exchange)
            raise
        except BaseException as exc:
            exchange.finish(exc)
            raise
        finally:
            exchange.is_pulling = False
        exchange.take_bytes(chunk)
        return chunk


def _end_body(exchange: Exchange) -> None:
    """All bytes were read: with events, the answer says itself whether it is complete."""
    if exchange.body is not None and not exchange.is_streamed:
        exchange.body.is_complete = True
    exchange.finish(None)


class _Body:
    """In the place of ``response.stream``; what is asked of it is asked of that one."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._agenttrace_inner = inner
        self._agenttrace_exchange = exchange

    def __iter__(self) -> Any:
        chunks = iter(self._agenttrace_inner)
        exchange = self._agenttrace_exchange
        return chunks if exchange.body is None else _Chunks(chunks, exchange)

    def close(self) -> None:
        try:
            self._agenttrace_inner.close()
        finally:
            self._agenttrace_exchange.stop()

    def __aiter__(self) -> Any:
        chunks = self._agenttrace_inner.__aiter__()
        exchange = self._agenttrace_exchange
        return chunks if exchange.body is None else _AsyncChunks(chunks, exchange)

    async def aclose(self) -> None:
        try:
            await self._agenttrace_inner.aclose()
        finally:
            self._agenttrace_exchange.stop()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_agenttrace_"):
            raise AttributeError(name)  # not set yet: a copy that is being made
        return getattr(self._agenttrace_inner, name)


_bodies: dict[tuple[type, ...], type[_Body]] = {}
"""The class for each kind of body: httpx looks whether one is a sync or an async one."""
_KINDS = ("SyncByteStream", "AsyncByteStream")


def watch_body(response: Any, exchange: Exchange) -> bool:
    """
    See when the unread body of an HTTP *response* is closed, and what is read of it past the SDK.

    Returns:
        False where the body is of no known kind, and nothing was put around it.
    """
    inner = response.stream
    kinds = tuple(base for base in type(inner).__mro__ if base.__name__ in _KINDS)
    if not kinds:
        return False
    made = _bodies.get(kinds)
    if made is None:
        made = _bodies[kinds] = type("_Body", (_Body, *kinds), {})
    is_encoded = response.headers.get("content-encoding", "identity") != "identity"
    exchange.body = BodyBytes(exchange.is_streamed, _decoder(response) if is_encoded else None)
    response.stream = made(inner, exchange)
    return True


def _decoder(response: Any) -> Any:
    """Give what undoes the encoding of the whole body: another response of the same kind does."""
    kind, status, headers = type(response), response.status_code, response.headers

    def decode(content: bytes) -> bytes:
        return bytes(kind(status, headers=headers, content=content).content)

    return decode


def exchange_of(response: Any) -> Exchange | None:
    """Give what was put around the body of *response*; None where nothing was."""
    found = getattr(response, "stream", None)
    return found._agenttrace_exchange if isinstance(found, _Body) else None
