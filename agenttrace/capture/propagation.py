"""
Carry the scope to where contextvars do not: a callback, a thread, another process.

Invariant: what is carried is ids only, as short plain text; a carrier that cannot be
read leaves the program where it stands.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

from agenttrace.capture.context import CURRENT, Agent, Operation, real_of, standing
from agenttrace.errors import contained, count_loss

__all__ = [
    "HERITAGE",
    "SCOPE_VARIABLE",
    "Heritage",
    "bind",
    "extract",
    "inject",
    "pack_scope",
    "parse_scope",
    "render_scope",
    "run_in_scope",
    "unpack_scope",
]

F = TypeVar("F", bound=Callable[..., Any])

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_FIELDS = ("conversation_id", "agent_id", "agent_name", "parent_agent_id", "span_id")
_ID_LIMIT = 512
_SPAN = re.compile(r"[0-9a-f]{16}")

SCOPE_VARIABLE = "AGENTTRACE_SCOPE"
"""In the environment of a child process: the scope it was started in."""


class Heritage:
    """What a child process is given besides its scope; ``runtime`` sets its field."""

    __slots__ = ("settings",)

    def __init__(self) -> None:
        self.settings: Callable[[], dict[str, str]] = dict
        """Gives the environment variables that make a process record as this one does; {} for none."""


HERITAGE = Heritage()


def run_in_scope(scope: Operation | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call *function* with *scope* as the current operation, and put the former one back."""
    previous = CURRENT.get()
    CURRENT.set(scope)
    try:
        return function(*args, **kwargs)
    finally:
        CURRENT.set(previous)


def bind(fn: F) -> F:
    """
    Give a callable that runs *fn* in the scope of this moment, in whatever thread or task.

    A coroutine function stays one.
    """
    scope = CURRENT.get()
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            previous = CURRENT.get()
            CURRENT.set(scope)
            try:
                return await fn(*args, **kwargs)
            finally:
                CURRENT.set(previous)

        return run_async  # type: ignore[return-value]

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        return run_in_scope(scope, fn, *args, **kwargs)

    return run  # type: ignore[return-value]


def inject(carrier: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """
    Write the current scope into *carrier* (HTTP headers, say): ``traceparent`` and ``agenttrace``.

    Returns:
        The headers alone, as a dict; empty outside any scope.
    """
    headers: dict[str, str] = {}
    with contained("capture.inject"):
        operation = standing()
        if operation is not None:
            import hashlib  # late, as urllib below: few programs carry a scope, and both cost 2 ms of import

            trace_id = hashlib.sha256(operation.conversation_id.encode("utf-8", "replace")).hexdigest()[:32]
            headers["traceparent"] = f"00-{trace_id}-{operation.span_id}-01"
            headers["agenttrace"] = render_scope(_ids_of(operation))
    if carrier is not None:
        carrier.update(headers)
    return headers


def _ids_of(operation: Operation) -> dict[str, str]:
    ids = {"conversation_id": operation.conversation_id, "span_id": operation.span_id}
    agent = operation.agent
    if agent is not None:
        ids.update(agent_id=agent.agent_id, agent_name=agent.name)
        if agent.parent_agent_id is not None:
            ids["parent_agent_id"] = agent.parent_agent_id
    return ids


@contextmanager
def extract(carrier: Mapping[str, str]) -> Iterator[None]:
    """
    Make the block part of the scope that ``inject`` wrote into *carrier*.

    Header names are compared without case. A carrier with none, or with rubbish, changes nothing.
    """
    operation = None
    with contained("capture.extract"):
        operation = _operation_from(carrier)
    if operation is None:
        yield
        return
    previous = CURRENT.get()
    CURRENT.set(operation)
    try:
        yield
    finally:
        if CURRENT.get() is operation:
            CURRENT.set(previous)


def _operation_from(carrier: Mapping[str, str]) -> Operation | None:
    headers = {str(name).lower(): value for name, value in carrier.items()}
    ids = parse_scope(str(headers.get("agenttrace", ""))[:4096])
    traceparent = _TRACEPARENT.match(str(headers.get("traceparent", "")))
    if "conversation_id" not in ids:
        if traceparent is None:
            return None
        ids = {"conversation_id": traceparent.group(1), "span_id": traceparent.group(2)}
    return unpack_scope(ids)


def pack_scope(scope: Operation | None) -> dict[str, str]:
    """
    Describe *scope* for another process: its ids, and in ``spans`` those of the operations around it.

    Returns:
        Short strings only; {} for None, and for ids that are too long to carry.
    """
    scope = real_of(scope)
    if scope is None:
        return {}
    ids = {name: str(value) for name, value in _ids_of(scope).items()}
    ids["agent_name"] = ids.get("agent_name", "")[:_ID_LIMIT]
    if any(len(value) > _ID_LIMIT for value in ids.values()):
        count_loss("capture.scope_too_long")
        return {}
    ids["spans"] = ".".join(scope.span_chain()[1:])
    return {name: value for name, value in ids.items() if value}


def unpack_scope(ids: Mapping[str, str]) -> Operation | None:
    """
    Make an operation that stands for the one `pack_scope` described; None where that is none.

    It never ends here. The operations around it come back as mere spans, so that an exception
    which leaves the process is known to have left them too.
    """
    if not ids.get("conversation_id"):
        return None
    ids = {name: value[:_ID_LIMIT] if name in _FIELDS else value for name, value in ids.items()}
    conversation_id = ids["conversation_id"]
    agent = None
    if "agent_id" in ids:
        agent = Agent(
            conversation_id,
            ids["agent_id"],
            ids.get("agent_name", ids["agent_id"]),
            ids.get("parent_agent_id"),
        )
    parent: Operation | None = None
    for span_id in reversed(ids.get("spans", "").split(".")[:64]):
        if _SPAN.fullmatch(span_id):
            parent = Operation("conversation", "", conversation_id, None, parent)
            parent.span_id = span_id
    operation = Operation("conversation" if agent is None else "agent", "", conversation_id, agent, parent)
    if _SPAN.fullmatch(ids.get("span_id", "")):
        operation.span_id = ids["span_id"]
    return operation


def render_scope(ids: Mapping[str, str]) -> str:
    """Write what `pack_scope` gave as one line of ASCII."""
    from urllib.parse import urlencode

    return urlencode(ids, errors="replace")


def parse_scope(text: str) -> dict[str, str]:
    """Read what `render_scope` wrote; {} for anything else."""
    from urllib.parse import parse_qsl

    return {name: value for name, value in parse_qsl(text[:16_384]) if name in (*_FIELDS, "spans")}
