"""
LangChain's chat models: each request and its answer as one turn of the agent around it.

Invariants: messages, chunks and exceptions reach the program as the model gave them, and a stream
stays as lazy as it was; where the model's own SDK is followed too, its turn inside is this same
turn. Followed are ``invoke`` and what is built on it (``_generate_with_cache``, once per list of
messages), ``stream``, and ``stream_events`` in its third form.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.turns import ModelTurn
from agenttrace.errors import contained
from agenttrace.integrations.langgraph_messages import is_message
from agenttrace.integrations.langgraph_streams import trace_stream
from agenttrace.integrations.langgraph_turns import fail_turn, open_turn, tell_answer, without_own
from agenttrace.integrations.patching import Patch
from agenttrace.integrations.sdk_models import is_asked_through_sdk

__all__ = ["describe_models"]


# ------------------------------------------------------------------ invoke


class _Turn:
    """The turn of one ``_generate_with_cache``."""

    def __init__(self, model: Any, messages: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._turn: ModelTurn | None = None
        self._operation: Operation | None = None
        with contained("integrations.langgraph.model"):
            if args:
                options = {**options, "stop": args[0]}
            self._turn = open_turn(model, messages, options)
            self._operation = CURRENT.get()

    def standing_for(self, model: Any) -> Any:
        """Give *model* itself, or in a replay what answers in its place."""
        return _standing_for(model, self._turn)

    def end(self, result: Any) -> None:
        """Close it with a ``ChatResult``."""
        turn = self._turn
        if turn is not None:
            with contained("integrations.langgraph.model"):
                tell_answer(turn, self._operation, result.generations[0].message)
            turn.close()

    def fail(self, exc: BaseException) -> None:
        """Close it with what left it."""
        fail_turn(self._turn, exc)


def _standing_for(model: Any, turn: ModelTurn | None) -> Any:
    if PIPE.substitute is None or turn is None or is_asked_through_sdk(model):
        return model
    replayed = turn.ask()
    if replayed is None:
        return model
    from agenttrace.integrations.langgraph_replay import answering_model  # late: a replay's alone

    return answering_model(model, replayed.recorded)


def _build_generate(generate: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(generate)
    def generate_traced(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return generate(self, messages, *args, **kwargs)
        turn = _Turn(self, messages, args, kwargs)
        try:
            result = generate(turn.standing_for(self), messages, *args, **kwargs)
        except BaseException as exc:
            turn.fail(exc)
            raise
        turn.end(result)
        return result

    return generate_traced


def _build_async_generate(generate: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(generate)
    async def generate_traced(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return await generate(self, messages, *args, **kwargs)
        turn = _Turn(self, messages, args, kwargs)
        try:
            result = await generate(turn.standing_for(self), messages, *args, **kwargs)
        except BaseException as exc:
            turn.fail(exc)
            raise
        turn.end(result)
        return result

    return generate_traced


# ------------------------------------------------------------------ stream


class _StreamedTurn:
    """The turn of one ``stream``: what ``shapes`` calls around its generator."""

    keeps_items = False

    def __init__(self) -> None:
        self._turn: ModelTurn | None = None
        self._operation: Operation | None = None
        self._chunks: list[Any] = []

    def add(self, item: Any) -> None:
        """Keep a piece of the answer, as LangChain does until the end."""
        if self._turn is not None:
            self._chunks.append(item)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        """Open the turn as the first piece is asked for."""
        with contained("integrations.langgraph.stream"):
            asked = args[1] if len(args) > 1 else kwargs.get("input")
            turn = open_turn(args[0], _messages_of(asked), kwargs)
            self._operation = CURRENT.get()
            turn.leave()
            self._turn = turn
            return self._operation
        return None

    def standing_for(self, model: Any) -> Any:
        """Give *model* itself, or in a replay what answers in its place."""
        return _standing_for(model, self._turn)

    def finish(self, call: Operation, value: Any, extra: bytes = b"") -> None:
        """Close it with what the pieces make together."""
        self._end()

    def _end(self) -> None:
        turn = self._turn
        if turn is not None:
            with contained("integrations.langgraph.stream"):
                answer = self._answer()
                if answer is not None:
                    tell_answer(turn, self._operation, answer)
            turn.close()

    def _answer(self) -> Any:
        chunks = self._chunks
        return (chunks[0] if len(chunks) == 1 else chunks[0] + chunks[1:]) if chunks else None

    def fail(self, call: Operation, exc: BaseException, extra: bytes = b"") -> None:
        """Close it with what left it; what had come is kept as its pieces."""
        fail_turn(self._turn, exc)


class _EventTurn(_StreamedTurn):
    """The turn of a stream of events (``version="v3"``), whose pieces and whole come apart."""

    def __init__(self) -> None:
        super().__init__()
        self._whole: Any = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        """Open the turn as the first event is asked for."""
        self._whole = kwargs.get("stream")
        return super().begin(args, {"stop": kwargs.get("stop"), **without_own(kwargs)})

    def add(self, item: Any) -> None:
        """Tell the turn of a piece of text; the last event ends it, for nobody may ask for more."""
        if self._turn is None or not isinstance(item, Mapping):
            return
        delta = item.get("delta")
        text = delta.get("text") if isinstance(delta, Mapping) else None
        if isinstance(text, str):
            self._turn.delta(text)
        if item.get("event") == "message-finish":
            self._end()

    def _answer(self) -> Any:
        return getattr(self._whole, "output_message", None)


def _messages_of(asked: Any) -> Any:
    """Give the messages in what a model is asked with: a prompt, a text, or what can be made messages."""
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    if hasattr(asked, "to_messages"):
        return asked.to_messages()
    if isinstance(asked, list) and not all(map(is_message, asked)):
        from langchain_core.messages import convert_to_messages  # late: only programs that use it have it

        return convert_to_messages(asked)
    return asked


def _trace_stream(stream: Any) -> Any:
    return trace_stream(stream, _StreamedTurn)


# ------------------------------------------------------------------ the table


def describe_models(module: ModuleType) -> Iterable[Patch]:
    """List the patches of ``langchain_core.language_models.chat_models``."""
    model = module.BaseChatModel
    yield Patch(model, "_generate_with_cache", _build_generate)
    yield Patch(model, "_agenerate_with_cache", _build_async_generate)
    yield Patch(model, "stream", _trace_stream)
    yield Patch(model, "astream", _trace_stream)
    for name in ("_iter_v2_events", "_aiter_v2_events"):
        if hasattr(model, name):  # since langchain-core 1.4, and not settled yet
            yield Patch(model, name, lambda events: trace_stream(events, _EventTurn))
