"""
The models of the OpenAI Agents SDK: each answer is a turn of the agent in control.

The seam is the SDK's abstract ``Model``: what its own models do, and what a program's do, is a turn
alike; the turn of an SDK inside is that same turn. Invariants: what the run gets is what the model
gave, event by event; messages, tools and answer stand in the form of the Responses API, whatever
goes over the wire.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.tool_objects import parse_arguments
from agenttrace.capture.turns import ModelTurn, model_turn
from agenttrace.capture.usage import read_usage
from agenttrace.errors import contained
from agenttrace.integrations.openai_agents_runs import AgentRun, Wanted, run_here

__all__ = ["build_get_response", "build_stream_response"]

_SETTINGS = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "tool_choice",
    "parallel_tool_calls",
    "truncation",
    "max_tokens",
    "reasoning",
    "verbosity",
)
_CALL_KINDS = ("function_call", "custom_tool_call")


class _Request:
    """One call of a model: what it was given, and the turn that it is."""

    def __init__(self, model: Any, given: dict[str, Any]) -> None:
        self.is_answered = False
        """The whole answer has come."""
        self._run: AgentRun | None = None
        self._operation: Operation | None = None
        self._items: list[Any] = []
        self._tools = given.get("tools") or []
        self._handoffs = given.get("handoffs") or []
        name = getattr(model, "model", None)
        self.turn: ModelTurn = model_turn(
            str(name) if name else type(model).__name__,
            provider="openai" if type(model).__module__.startswith("agents.models.openai") else None,
            input=_messages_of(given.get("input")),
            params=self._params_of(given),
        )

    def _params_of(self, given: dict[str, Any]) -> dict[str, Any]:
        params: dict[str, Any] = {}
        if given.get("system_instructions"):
            params["instructions"] = given["system_instructions"]
        if self._tools or self._handoffs:
            params["tools"] = [*map(_describe_tool, self._tools), *map(_describe_handoff, self._handoffs)]
        settings = given.get("model_settings")
        params.update(
            (name, value) for name in _SETTINGS if (value := getattr(settings, name, None)) is not None
        )
        return params

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Stand in the turn; the first time, open it in the agent in control."""
        before = CURRENT.get()
        if self._operation is None:
            self._run = run_here()
            if self._run is not None:
                CURRENT.set(self._run.standing)
            self.turn.open()
            self._operation = CURRENT.get()
            leave = self.turn.leave
        else:
            CURRENT.set(self._operation)
            leave = _stay
        try:
            yield
        finally:
            leave()
            CURRENT.set(before)

    def look_at(self, event: Any) -> None:
        """Keep what an event of a stream tells."""
        kind = getattr(event, "type", None)
        if kind == "response.output_text.delta":
            self.turn.delta(str(event.delta))
            return
        self.turn.note_chunk()
        if kind == "response.output_item.done":
            self._items.append(event.item)
        elif kind == "response.completed":
            response = event.response
            self.is_answered = True
            # Some servers tell the items one by one, and none at the end.
            output = response.output or self._items
            self.answer(output, response.id, response.usage, getattr(response, "model", None))

    def answer(self, output: Any, response_id: Any, usage: Any, model: Any = None) -> None:
        """Keep the answer, and what it wants to be called."""
        with contained("integrations.openai_agents.answer"):
            items = [_plain(item) for item in (output if isinstance(output, list) else [])]
            self.turn.set_output(items, response_id=response_id if isinstance(response_id, str) else None)
            if isinstance(model, str):
                self.turn.set_answered(model)
            counts = {} if usage is None else read_usage(usage, {})
            if any(counts.values()):
                # As counts: the usage object is the SDK's own; that of the provider comes from below.
                self.turn.set_usage(**counts)
            if self._run is not None:
                self._run.want([self._wanted(item) for item in items if _is_call(item)])

    def _wanted(self, item: dict[str, Any]) -> Wanted:
        name = str(item.get("name"))
        kind = "unknown"
        if any(getattr(one, "tool_name", None) == name for one in self._handoffs):
            kind = "handoff"
        elif any(getattr(one, "name", None) == name for one in self._tools):
            kind = "tool"
        arguments = parse_arguments(item.get("arguments", item.get("input")))
        return Wanted(str(item.get("call_id")), name, arguments, kind)


def _stay() -> None:
    """Leave nothing: the turn was left before."""


def _messages_of(given: Any) -> Any:
    """Give the input as items of the Responses API."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [_plain(item) for item in given] if isinstance(given, list) else given


def _plain(item: Any) -> Any:
    """Give an item as a dict without what is not set; what is none already, as it is."""
    dump = getattr(item, "model_dump", None)
    return dump(exclude_unset=True) if callable(dump) else item


def _is_call(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") in _CALL_KINDS and bool(item.get("call_id"))


def _describe_tool(tool: Any) -> dict[str, Any]:
    name, schema = getattr(tool, "name", type(tool).__name__), getattr(tool, "params_json_schema", None)
    if schema is None:
        return {"type": str(name)}
    return {
        "type": "function",
        "name": str(name),
        "description": getattr(tool, "description", None),
        "parameters": schema,
        "strict": getattr(tool, "strict_json_schema", None),
    }


def _describe_handoff(handoff: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": str(getattr(handoff, "tool_name", None)),
        "description": getattr(handoff, "tool_description", None),
        "parameters": getattr(handoff, "input_json_schema", None),
    }


# ------------------------------------------------------------------ the two methods


def _open(model: Any, signature: inspect.Signature, args: Any, kwargs: Any) -> _Request | None:
    """Prepare the turn of a call; None while tracing is off."""
    if not SWITCH:
        return None
    with contained("integrations.openai_agents.model_call"):
        return _Request(model, signature.bind_partial(model, *args, **kwargs).arguments)
    return None


def build_get_response(signature: inspect.Signature, get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Make a turn of an answer that comes at once; *signature* is that of the abstract method."""

    @functools.wraps(get_response)
    async def get_response_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = _open(self, signature, args, kwargs)
        if request is None:
            return await get_response(self, *args, **kwargs)
        try:
            with request.inside():
                response = await get_response(self, *args, **kwargs)
        except BaseException as exc:
            request.turn.close(exc)
            raise
        request.answer(
            getattr(response, "output", None),
            getattr(response, "response_id", None),
            getattr(response, "usage", None),
        )
        request.turn.close()
        return response

    return get_response_in_turn


def build_stream_response(signature: inspect.Signature, stream_response: Callable[..., Any]) -> Any:
    """Make a turn of an answer that streams in, from the first wish for an event to the last one."""

    @functools.wraps(stream_response)
    def stream_response_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        stream = stream_response(self, *args, **kwargs)
        request = _open(self, signature, args, kwargs) if hasattr(stream, "__anext__") else None
        return stream if request is None else _follow(stream, request)

    return stream_response_in_turn


async def _follow(stream: AsyncIterator[Any], request: _Request) -> AsyncGenerator[Any, None]:
    """Pass the events on; the program stands in the turn only while the model runs."""
    turn = request.turn
    try:
        while True:
            try:
                with request.inside():
                    event = await anext(stream)
            except StopAsyncIteration:
                break
            with contained("integrations.openai_agents.event"):
                request.look_at(event)
            yield event
    except GeneratorExit as exc:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
        turn.close(None if request.is_answered else exc)
        raise
    except BaseException as exc:
        turn.close(exc)
        raise
    turn.close()
