"""
The pieces in which LangChain's models answer, told to the turn around them.

Invariant: they are read where every model hands them on to callbacks, ``on_llm_new_token``, whether the
program streams or LangGraph does it for itself; the callbacks are told what they were told before.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from types import ModuleType
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH, real_of
from agenttrace.capture.turns import ModelTurn
from agenttrace.errors import contained
from agenttrace.integrations.patching import Patch

__all__ = ["describe_callbacks"]


def _note_token(token: Any) -> None:
    operation = real_of(CURRENT.get())
    turn = None if operation is None else operation.__dict__.get("turn")
    if isinstance(turn, ModelTurn):
        with contained("integrations.langgraph.token"):
            text = _text_of(token)
            if text:
                turn.delta(text)
            else:
                turn.note_chunk()


def _text_of(token: Any) -> str:
    if isinstance(token, str):
        return token
    parts = token if isinstance(token, list) else ()
    texts = [
        one if isinstance(one, str) else one.get("text") for one in parts if isinstance(one, (str, dict))
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _build_token(on_token: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(on_token)
    def on_token_traced(self: Any, token: Any = "", *args: Any, **kwargs: Any) -> Any:
        if SWITCH:
            _note_token(token)
        return on_token(self, token, *args, **kwargs)

    return on_token_traced


def _build_async_token(on_token: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(on_token)
    async def on_token_traced(self: Any, token: Any = "", *args: Any, **kwargs: Any) -> Any:
        if SWITCH:
            _note_token(token)
        return await on_token(self, token, *args, **kwargs)

    return on_token_traced


def describe_callbacks(module: ModuleType) -> Iterable[Patch]:
    """List the patches of ``langchain_core.callbacks.manager``."""
    yield Patch(module.CallbackManagerForLLMRun, "on_llm_new_token", _build_token)
    yield Patch(module.AsyncCallbackManagerForLLMRun, "on_llm_new_token", _build_async_token)
