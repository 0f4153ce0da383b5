"""Agent loops written by hand in each provider's form, for the tests of asked and rebuilt calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["FORMS", "Chat", "Form", "Request", "Result", "ask"]


class Request(NamedTuple):
    """A call that the model asks for; text for arguments stands for what is no JSON."""

    call_id: str
    name: str
    arguments: Any = None


class Result(NamedTuple):
    """What the loop hands back."""

    call_id: str
    text: str
    is_error: bool = False


class Form:
    """One provider's way to write an answer, results and an offer of tools."""

    name = ""
    says_errors = False
    """Its results can be marked as errors."""

    def answer(self, requests: Sequence[Request]) -> Any:
        raise NotImplementedError

    def kept(self, answer: Any) -> list[Any]:
        """Give the messages that keep an answer in the history."""
        return [answer]

    def results(self, results: Sequence[Result]) -> list[Any]:
        raise NotImplementedError

    def offer(self, names: Sequence[str]) -> Any:
        return {"tools": [{"type": "function", "function": {"name": name}} for name in names]}


class Anthropic(Form):
    name = "anthropic"
    says_errors = True

    def answer(self, requests: Sequence[Request]) -> Any:
        said = [{"type": "text", "text": "I will."}]
        return said + [
            {"type": "tool_use", "id": one.call_id, "name": one.name, "input": one.arguments or {}}
            for one in requests
        ]

    def kept(self, answer: Any) -> list[Any]:
        return [{"role": "assistant", "content": answer}]

    def results(self, results: Sequence[Result]) -> list[Any]:
        blocks = []
        for one in results:
            block = {"type": "tool_result", "tool_use_id": one.call_id, "content": one.text}
            blocks.append({**block, "is_error": True} if one.is_error else block)
        return [{"role": "user", "content": blocks}] if blocks else []

    def offer(self, names: Sequence[str]) -> Any:
        return {"tools": [{"name": name, "input_schema": {"type": "object"}} for name in names]}


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


class OpenAIChat(Form):
    name = "chat"

    def answer(self, requests: Sequence[Request]) -> Any:
        calls = [
            {
                "id": one.call_id,
                "type": "function",
                "function": {"name": one.name, "arguments": _text(one.arguments)},
            }
            for one in requests
        ]
        return {"role": "assistant", "content": None, "tool_calls": calls}

    def results(self, results: Sequence[Result]) -> list[Any]:
        return [{"role": "tool", "tool_call_id": one.call_id, "content": one.text} for one in results]


class OpenAIResponses(Form):
    name = "responses"

    def answer(self, requests: Sequence[Request]) -> Any:
        return [
            {
                "type": "function_call",
                "id": f"fc_{one.call_id}",
                "call_id": one.call_id,
                "name": one.name,
                "arguments": _text(one.arguments),
            }
            for one in requests
        ]

    def kept(self, answer: Any) -> list[Any]:
        return list(answer)

    def results(self, results: Sequence[Result]) -> list[Any]:
        return [
            {"type": "function_call_output", "call_id": one.call_id, "output": one.text} for one in results
        ]

    def offer(self, names: Sequence[str]) -> Any:
        return {"tools": [{"type": "function", "name": name, "parameters": {}} for name in names]}


class LangChain(Form):
    name = "langchain"
    says_errors = True

    def answer(self, requests: Sequence[Request]) -> Any:
        good = [one for one in requests if not isinstance(one.arguments, str)]
        bad = [one for one in requests if isinstance(one.arguments, str)]
        return {
            "type": "ai",
            "content": "",
            "tool_calls": [{"name": o.name, "args": o.arguments or {}, "id": o.call_id} for o in good],
            "invalid_tool_calls": [
                {"name": o.name, "args": o.arguments, "id": o.call_id, "error": "no JSON"} for o in bad
            ],
        }

    def results(self, results: Sequence[Result]) -> list[Any]:
        return [
            {
                "type": "tool",
                "content": one.text,
                "tool_call_id": one.call_id,
                "status": "error" if one.is_error else "success",
            }
            for one in results
        ]


FORMS = {form.name: form for form in (Anthropic(), OpenAIChat(), OpenAIResponses(), LangChain())}


def ask(
    model_turn: Any, form: Form, messages: list[Any], requests: Sequence[Request], tools: Sequence[str] = ()
) -> list[Any]:
    """
    Have the model asked for *requests* in a turn of its own.

    Returns:
        The messages that keep its answer.
    """
    with model_turn("m", input=list(messages), params=form.offer(tools) if tools else None) as turn:
        answer = form.answer(requests) if requests else "done"
        turn.set_output(answer)
    return form.kept(answer) if requests else [{"role": "assistant", "content": "done"}]


class Chat:
    """A conversation with a model whose answers are given."""

    def __init__(self, model_turn: Any, form: Form, tools: Sequence[str] = ()) -> None:
        self._model_turn = model_turn
        self._form = form
        self._tools = tools
        self.messages: list[Any] = [{"role": "user", "content": "go"}]

    def ask(self, *requests: Request) -> None:
        """Send the history; the answer asks for *requests*."""
        self.messages += ask(self._model_turn, self._form, self.messages, requests, self._tools)

    def tell(self, *results: Result) -> None:
        """Add results to the history."""
        self.messages += self._form.results(results)
