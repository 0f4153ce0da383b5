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

from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.marks import mark_of, remember
from agenttrace.capture.turns import ModelTurn
from agenttrace.errors import contained
from agenttrace.integrations.langgraph_asked import note_asked
from agenttrace.integrations.langgraph_messages import describe_message, describe_messages, is_message
from agenttrace.integrations.langgraph_streams import trace_stream
from agenttrace.integrations.patching import Patch

__all__ = ["describe_models"]

_OWN_PARAMS = frozenset(("run_manager", "config", "input", "messages", "stream"))
_NAMES = ("model", "model_name", "model_id", "deployment_name")
_CACHE_WRITES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


# ------------------------------------------------------------------ what is asked, what came


def _open_turn(model: Any, messages: Any, options: Mapping[str, Any]) -> ModelTurn:
    """Open a turn; *options* are those of the call: tools, stop words, and whatever was bound."""
    params = {name: value for name, value in _without_own(options).items() if value is not None}
    said = _said_of(model, options)
    for name in ("temperature", "max_tokens"):
        if said.get(f"ls_{name}") is not None:
            params.setdefault(name, said[f"ls_{name}"])
    asked = said.get("ls_model_name") or _name_of(model)
    provider = said.get("ls_provider")
    return ModelTurn(
        str(asked),
        provider if isinstance(provider, str) else None,
        describe_messages(messages),
        None,
        params or None,
    ).open()


def _without_own(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a call's arguments is for the model, and not LangChain's own."""
    return {name: value for name, value in options.items() if name not in _OWN_PARAMS}


def _said_of(model: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what a model says of itself to tracers: ``ls_provider``, ``ls_model_name`` and the like."""
    try:
        said = model._get_ls_params(**_without_own(options))
    except Exception:  # a model's own method; LangChain will hear of it too
        return {}
    return said if isinstance(said, Mapping) else {}


def _name_of(model: Any) -> str:
    for name in _NAMES:
        value = getattr(model, name, None)
        if isinstance(value, str) and value:
            return value
    return type(model).__name__


def _tell(turn: ModelTurn, operation: Operation | None, message: Any) -> None:
    """Tell *turn* what the model answered."""
    metadata = getattr(message, "response_metadata", None)
    metadata = metadata if isinstance(metadata, Mapping) else {}
    answer_id = metadata.get("id") or getattr(message, "id", None)
    if isinstance(answer_id, str) and answer_id.startswith(("run-", "lc_", "lc-")):
        answer_id = None  # LangChain's own
    reason = next(
        (metadata[name] for name in ("finish_reason", "stop_reason", "done_reason") if metadata.get(name)),
        None,
    )
    turn.set_output(
        describe_message(message),
        finish_reason=reason if isinstance(reason, str) else None,
        response_id=answer_id if isinstance(answer_id, str) else None,
    )
    answered = metadata.get("model_name") or metadata.get("model")
    if isinstance(answered, str):
        turn.set_answered(answered)
    usage = getattr(message, "usage_metadata", None)
    if isinstance(usage, Mapping) and not _is_from_cache(usage):
        turn.set_usage(
            metadata.get("token_usage") or metadata.get("usage") or dict(usage), **_counts_of(usage)
        )
    note_asked(operation, getattr(message, "tool_calls", None) or ())


def _is_from_cache(usage: Mapping[str, Any]) -> bool:
    """Tell an answer out of LangChain's own cache, for which nothing was paid."""
    return usage.get("total_cost") == 0


def _counts_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Give our counts; LangChain's ``input_tokens`` are all input, as ours are."""
    details = usage.get("input_token_details"), usage.get("output_token_details")
    read, written = (one if isinstance(one, Mapping) else {} for one in details)
    # Of Anthropic's cache what lives for five minutes and for an hour stands apart, and not in the first.
    written_to = [read[name] for name in _CACHE_WRITES if isinstance(read.get(name), int)]
    return {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cache_read_tokens": read.get("cache_read"),
        "cache_write_tokens": sum(written_to) if written_to else None,
        "reasoning_tokens": written.get("reasoning"),
    }


def _fail(turn: ModelTurn | None, exc: BaseException) -> None:
    """End *turn* with *exc*; an SDK's error that LangChain raises as a class of its own stays one failure."""
    if turn is None:
        return
    with contained("integrations.langgraph.model"):
        cause = exc.__cause__
        mark = None if cause is None else mark_of(cause)
        if mark is not None and isinstance(exc, type(cause)) and mark_of(exc) is None:
            remember(exc, *mark)
    turn.close(exc)


# ------------------------------------------------------------------ invoke


class _Turn:
    """The turn of one ``_generate_with_cache``."""

    def __init__(self, model: Any, messages: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._turn: ModelTurn | None = None
        self._operation: Operation | None = None
        with contained("integrations.langgraph.model"):
            if args:
                options = {**options, "stop": args[0]}
            self._turn = _open_turn(model, messages, options)
            self._operation = CURRENT.get()

    def end(self, result: Any) -> None:
        """Close it with a ``ChatResult``."""
        turn = self._turn
        if turn is not None:
            with contained("integrations.langgraph.model"):
                _tell(turn, self._operation, result.generations[0].message)
            turn.close()

    def fail(self, exc: BaseException) -> None:
        """Close it with what left it."""
        _fail(self._turn, exc)


def _build_generate(generate: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(generate)
    def generate_traced(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        if not SWITCH:
            return generate(self, messages, *args, **kwargs)
        turn = _Turn(self, messages, args, kwargs)
        try:
            result = generate(self, messages, *args, **kwargs)
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
            result = await generate(self, messages, *args, **kwargs)
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
            turn = _open_turn(args[0], _messages_of(asked), kwargs)
            self._operation = CURRENT.get()
            turn.leave()
            self._turn = turn
            return self._operation
        return None

    def finish(self, call: Operation, value: Any, extra: bytes = b"") -> None:
        """Close it with what the pieces make together."""
        self._end()

    def _end(self) -> None:
        turn = self._turn
        if turn is not None:
            with contained("integrations.langgraph.stream"):
                answer = self._answer()
                if answer is not None:
                    _tell(turn, self._operation, answer)
            turn.close()

    def _answer(self) -> Any:
        chunks = self._chunks
        return (chunks[0] if len(chunks) == 1 else chunks[0] + chunks[1:]) if chunks else None

    def fail(self, call: Operation, exc: BaseException, extra: bytes = b"") -> None:
        """Close it with what left it; what had come is kept as its pieces."""
        _fail(self._turn, exc)


class _EventTurn(_StreamedTurn):
    """The turn of a stream of events (``version="v3"``), whose pieces and whole come apart."""

    def __init__(self) -> None:
        super().__init__()
        self._whole: Any = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        """Open the turn as the first event is asked for."""
        self._whole = kwargs.get("stream")
        return super().begin(args, {"stop": kwargs.get("stop"), **_without_own(kwargs)})

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
