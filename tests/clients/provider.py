"""
A model provider that answers as it is told: a real HTTP server on loopback, three wire formats.

    with Provider() as provider:
        provider.queue(tool_calls([("add", {"a": 1, "b": 2})]), rate_limited(), text("3"))
        client = Anthropic(base_url=provider.anthropic_url, api_key="k")
        client = OpenAI(base_url=provider.openai_url, api_key="k")
        ...
        assert [one.body["stream"] for one in provider.requests] == [True, True, True]

What it speaks: Anthropic ``/v1/messages`` (beta too, and as clouds have it), OpenAI
``/v1/chat/completions`` and ``/v1/responses``; each plain, or as server-sent events where the request says
``"stream": true``. The same reply does for all.

*Replies* (``provider_replies``): ``text(…)``, ``tool_calls([(name, arguments), …])``, ``max_tokens(…)``,
``refusal(…)``, each with ``usage=Usage(…)`` (ours: input has all input), ``model=`` (the one that answered),
``thinking=``; failures ``rate_limited()`` 429, ``overloaded()`` 529, ``server_error()`` 500 (each with
``retry-after-ms: 1``, so that an SDK that tries again does not sleep), ``bad_request()`` 400, ``dropped()``
(no answer at all); and of a stream ``broken_stream(reply, after=n)``, ``failed_stream(reply, after=n)``,
``held(reply, after=n, until=event)``: *n* counts deltas of the content (words of text, pieces of arguments).
``zipped(reply)`` comes compressed, ``raw(body)`` is no answer of a provider's.

*What is answered*: the replies of ``queue`` in their order, then what the function of ``answer`` says: called
with the `Request`, from a thread of the server, and may give None. A function may be queued too. What nobody
foresaw is answered 400, and fails the test when the block ends; so do replies that nobody fetched, unless
``Provider(strict=False)``.

*Other programs*: ``provider.environment`` has the base URLs and keys of both SDKs, for ``os.environ`` or
``subprocess.run(env=…)``. The fixture ``provider`` of ``tests/clients/conftest.py`` gives a started one.

Invariant: after the block no thread, socket or connection of it is left.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from tests.clients.provider_replies import Reply, bad_request
from tests.clients.provider_server import Server
from tests.clients.provider_wire import Answer

__all__ = ["Provider", "Request", "Rule"]

_ID_HEADS = {"messages": "msg_", "chat": "chatcmpl-", "responses": "resp_"}
_APIS = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}
_CLOUDS = re.compile(
    r"/projects/.*/publishers/anthropic/models/(.+):(?:rawPredict|streamRawPredict)|/model/(.+)/invoke"
)
"""Where Google's and Amazon's clouds serve Anthropic's models: the body lacks the model, which is here."""


@dataclass(frozen=True)
class Request:
    """One request that came in."""

    api: str
    """``messages``, ``chat``, ``responses``, or the path where it is none of them."""
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: dict[str, Any]
    gone: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)
    """Set when the client left before all was sent; seen while a reply is ``held``."""

    @property
    def messages(self) -> list[Any]:
        """The messages, or the items of the input, that were sent."""
        given = self.body.get("input") if self.api == "responses" else self.body.get("messages")
        return given if isinstance(given, list) else [{"role": "user", "content": given}]

    @property
    def last(self) -> dict[str, Any]:
        """The last of the messages."""
        return dict(self.messages[-1])

    @property
    def last_text(self) -> str:
        """All text in the last message, a tool result's too."""
        return _text_in(self.messages[-1])


def _text_in(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for text in map(_text_in, value) if text)
    if isinstance(value, dict):
        return "\n".join(text for key in ("text", "content", "output") if (text := _text_in(value.get(key))))
    return ""


Rule = Callable[[Request], Reply | None]
"""Decides by the request; None: it knows no answer."""


class Provider:
    """One server; see the module."""

    def __init__(self, *, strict: bool = True) -> None:
        """
        Start nothing yet.

        Args:
            strict: Fail at the end for a request without a reply, and for a reply without a request.
        """
        self._strict = strict
        self._lock = threading.Lock()  # what follows, which the server's threads read and write
        self._queue: deque[Reply | Rule] = deque()
        self._rule: Rule | None = None
        self._requests: list[Request] = []
        self._unforeseen: list[Request] = []
        self._errors: list[BaseException] = []
        self._numbers = itertools.count(1)
        self._server = Server(self._decide)

    # -------------------------------------------------------------- what to answer, what came

    def queue(self, *replies: Reply | Rule) -> None:
        """Answer the next requests with *replies*, one each."""
        with self._lock:
            self._queue.extend(replies)

    def answer(self, rule: Rule | None) -> None:
        """Ask *rule* whenever nothing is queued."""
        with self._lock:
            self._rule = rule

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What was sent, request by request."""
        return [request.body for request in self.requests]

    # -------------------------------------------------------------- where it is

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic's SDK, which adds ``/v1``."""
        return self.url

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's SDK."""
        return f"{self.url}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """What makes an unchanged program talk to this server."""
        return {
            "OPENAI_BASE_URL": self.openai_url,
            "OPENAI_API_KEY": "sk-not-a-key",
            "ANTHROPIC_BASE_URL": self.anthropic_url,
            "ANTHROPIC_API_KEY": "sk-ant-not-a-key",
            "NO_PROXY": "127.0.0.1",
        }

    # -------------------------------------------------------------- its life

    def __enter__(self) -> Self:
        """Listen."""
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection, and say what went otherwise than told."""
        self._server.stop()
        if exc is None:
            self.check()

    def check(self) -> None:
        """
        Say what went otherwise than told.

        Raises:
            AssertionError: A rule raised; or, if strict, a request had no reply or a reply no request.
        """
        with self._lock:
            for error in self._errors:
                raise AssertionError(f"a rule failed: {error!r}") from error
            if self._strict:
                left = [f"{one.path} {json.dumps(one.body)[:300]}" for one in self._unforeseen]
                assert not left, f"requests that nobody foresaw: {left}"
                assert not self._queue, f"replies that nobody fetched: {list(self._queue)}"

    # -------------------------------------------------------------- for the server

    def _decide(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[Request, Answer]:
        """Say what is answered; called from the server's threads."""
        cloud = _CLOUDS.fullmatch(path)
        asked = str(body.get("model", "")) if cloud is None else cloud[1] or cloud[2]
        request = Request("messages" if cloud else _APIS.get(path, path), path, headers, body)
        with self._lock:
            self._requests.append(request)
            number = next(self._numbers)
            chosen = self._queue.popleft() if self._queue else self._rule
        reply = self._choose(chosen, request)
        if reply is None:
            reply = bad_request(f"nothing is foreseen for {path}")
            with self._lock:
                self._unforeseen.append(request)
        head = "toolu_" if request.api == "messages" else "call_"
        calls = tuple(
            call if call.call_id else replace(call, call_id=f"{head}{number:04}_{at}")
            for at, call in enumerate(reply.calls)
        )
        return request, Answer(
            replace(reply, calls=calls),
            reply.model or asked,
            reply.response_id or f"{_ID_HEADS.get(request.api, '')}{number:04}",
            f"req_{number:04}",
            body,
        )

    def _choose(self, chosen: Reply | Rule | None, request: Request) -> Reply | None:
        if chosen is None or isinstance(chosen, Reply):
            return chosen
        try:
            return chosen(request)
        except Exception as exc:
            with self._lock:
                self._errors.append(exc)
            return bad_request(f"the rule failed: {exc!r}")
