"""
What LangChain says of one request to a chat model, told to its turn.

Invariants: nothing is asked of a model but what LangChain asks it too, and what its methods raise is
LangChain's to hear; an answer out of LangChain's cache costs nothing; an SDK's error that LangChain
raises as a class of its own is one failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agenttrace.capture.context import Operation
from agenttrace.capture.marks import mark_of, remember
from agenttrace.capture.turns import ModelTurn
from agenttrace.errors import contained
from agenttrace.integrations.langgraph_asked import note_asked
from agenttrace.integrations.langgraph_messages import describe_message, describe_messages

__all__ = ["fail_turn", "open_turn", "tell_answer", "without_own"]

_OWN_PARAMS = frozenset(("run_manager", "config", "input", "messages", "stream"))
_NAMES = ("model", "model_name", "model_id", "deployment_name")
_CACHE_WRITES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def open_turn(model: Any, messages: Any, options: Mapping[str, Any]) -> ModelTurn:
    """Open a turn; *options* are those of the call: tools, stop words, and whatever was bound."""
    params = {name: value for name, value in without_own(options).items() if value is not None}
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


def without_own(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a call's arguments is for the model, and not LangChain's own."""
    return {name: value for name, value in options.items() if name not in _OWN_PARAMS}


def _said_of(model: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what a model says of itself to tracers: ``ls_provider``, ``ls_model_name`` and the like."""
    try:
        said = model._get_ls_params(**without_own(options))
    except Exception:  # a model's own method; LangChain will hear of it too
        return {}
    return said if isinstance(said, Mapping) else {}


def _name_of(model: Any) -> str:
    for name in _NAMES:
        value = getattr(model, name, None)
        if isinstance(value, str) and value:
            return value
    return type(model).__name__


def tell_answer(turn: ModelTurn, operation: Operation | None, message: Any) -> None:
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


def fail_turn(turn: ModelTurn | None, exc: BaseException) -> None:
    """End *turn* with *exc*; an SDK's error that LangChain raises as a class of its own stays one failure."""
    if turn is None:
        return
    with contained("integrations.langgraph.model"):
        cause = exc.__cause__
        mark = None if cause is None else mark_of(cause)
        if mark is not None and isinstance(exc, type(cause)) and mark_of(exc) is None:
            remember(exc, *mark)
    turn.close(exc)
