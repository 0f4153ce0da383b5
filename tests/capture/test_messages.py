"""What is read in the providers' messages: calls that an answer asks for, and results handed back."""

from __future__ import annotations

import random
from typing import Any

import anthropic.types
import openai.types.chat
import openai.types.responses
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_to_dict

from agenttrace.capture.message_parts import messages_of, text_of
from agenttrace.capture.messages import (
    RequestedCall,
    ReturnedResult,
    read_history,
    read_offer,
    read_requests,
)

WANTED = [RequestedCall("c1", "look", {"at": "a"}), RequestedCall("c2", "send", {})]

ANTHROPIC = [
    {"type": "thinking", "thinking": "…", "signature": "s"},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "a"}},
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
    {"type": "tool_use", "id": "c2", "name": "send", "input": {}},
]
CHAT = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "a"}'}},
        {"id": "c2", "type": "function", "function": {"name": "send", "arguments": ""}},
    ],
}
RESPONSES = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "look",
        "arguments": '{"at": "a"}',
        "status": "completed",
    },
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "send", "arguments": "{}"},
]
LANGCHAIN = AIMessage(
    content="",
    tool_calls=[{"name": "look", "args": {"at": "a"}, "id": "c1"}, {"name": "send", "args": {}, "id": "c2"}],
)
USAGE = {"input_tokens": 1, "output_tokens": 1}

ANSWERS: dict[str, Any] = {
    "anthropic blocks": ANTHROPIC,
    "anthropic message": {"role": "assistant", "content": ANTHROPIC},
    "anthropic object": anthropic.types.Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": ANTHROPIC,
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": USAGE,
        }
    ),
    "chat message": CHAT,
    "chat object": openai.types.chat.ChatCompletionMessage.model_validate(CHAT),
    "chat response": {"choices": [{"index": 0, "message": CHAT, "finish_reason": "tool_calls"}]},
    "responses items": RESPONSES,
    "responses objects": [
        RESPONSES[0],
        openai.types.responses.ResponseFunctionToolCall.model_validate(RESPONSES[1]),
        RESPONSES[2],
        openai.types.responses.ResponseFunctionToolCall.model_validate(RESPONSES[3]),
    ],
    "responses response": {"object": "response", "output": RESPONSES},
    "langchain object": LANGCHAIN,
    "langchain as data": LANGCHAIN.model_dump(),
    "langchain as kept": messages_to_dict([LANGCHAIN])[0],
}


class TestRequests:
    """``read_requests``."""

    @pytest.mark.parametrize("form", ANSWERS)
    def test_are_read_in_every_form(self, form: str) -> None:
        """The same two calls in whatever form and class; what the provider runs itself is none."""
        assert read_requests(ANSWERS[form]) == WANTED

    def test_are_read_in_the_oldest_form(self) -> None:
        """``function_call`` of a chat message has no id."""
        answer = {"role": "assistant", "function_call": {"name": "look", "arguments": '{"at": 1}'}}
        assert read_requests(answer) == [RequestedCall(None, "look", {"at": 1})]

    def test_of_custom_tools_have_a_text_for_arguments(self) -> None:
        """What a custom tool is given is no JSON, and need not be."""
        chat = {"tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "run", "input": "{1 + 1"}}]}
        item = {"type": "custom_tool_call", "call_id": "c1", "name": "run", "input": "{1 + 1"}
        assert read_requests(chat) == read_requests([item]) == [RequestedCall("c1", "run", "{1 + 1")]

    @pytest.mark.parametrize("text", ['{"at": "a"', "at=a", "{'at': 'a'}", '{"at": "a"} thanks'])
    def test_say_when_their_arguments_are_no_json(self, text: str) -> None:
        """The text itself is kept then."""
        chat = {"tool_calls": [{"id": "c", "function": {"name": "look", "arguments": text}}]}
        item = {"type": "function_call", "call_id": "c", "name": "look", "arguments": text}
        lang = AIMessage(
            content="", invalid_tool_calls=[{"name": "look", "args": text, "id": "c", "error": "no"}]
        )
        for answer in (chat, [item], lang):
            assert read_requests(answer) == [RequestedCall("c", "look", text, is_json_valid=False)]

    @pytest.mark.parametrize("text", ["", "  ", "{}"])
    def test_without_arguments_are_no_mistake(self, text: str) -> None:
        """Nothing at all stands for no arguments, as programs take it."""
        item = {"type": "function_call", "call_id": "c", "name": "look", "arguments": text}
        assert read_requests([item]) == [RequestedCall("c", "look", {})]

    def test_come_once_per_id(self) -> None:
        """A message that holds a call in two forms asks for it once."""
        blocks = [{"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "a"}}]
        both = AIMessage(content=blocks, tool_calls=[{"name": "look", "args": {"at": "a"}, "id": "c1"}])
        assert read_requests(both) == [WANTED[0]]

    @pytest.mark.parametrize("answer", ["text", None, 3, [], {}, b"x", {"content": "tool_use"}, [None, "x"]])
    def test_are_none_in_anything_else(self, answer: Any) -> None:
        """Text asks for nothing."""
        assert read_requests(answer) == []

    def test_are_bounded(self) -> None:
        """Of a million calls 256 are read, of arguments too long to judge the text."""
        many = [{"type": "tool_use", "id": f"c{n}", "name": "look", "input": {}} for n in range(20_000)]
        assert len(read_requests(many)) == 256
        item = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "[" * 2_000_000}
        assert read_requests([item])[0].is_json_valid


RESULTS: dict[str, list[Any]] = {
    "anthropic": [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "a"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "no", "is_error": True},
            ],
        }
    ],
    "langchain": [
        ToolMessage("a", tool_call_id="c1"),
        ToolMessage("no", tool_call_id="c2", status="error"),
    ],
    "langchain as data": [
        ToolMessage("a", tool_call_id="c1").model_dump(),
        ToolMessage("no", tool_call_id="c2", status="error").model_dump(),
    ],
    "langchain as kept": messages_to_dict(
        [ToolMessage("a", tool_call_id="c1"), ToolMessage("no", tool_call_id="c2", status="error")]
    ),
}
SILENT: dict[str, list[Any]] = {
    "chat": [
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        {"role": "tool", "tool_call_id": "c2", "content": "no"},
    ],
    "responses": [
        {"type": "function_call_output", "call_id": "c1", "output": "a"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "no"},
    ],
}


class TestResults:
    """``read_history``."""

    @pytest.mark.parametrize("form", [*RESULTS, *SILENT])
    def test_are_read_in_every_form(self, form: str) -> None:
        """Content, and where the form can say so whether it is an error."""
        history = read_history({**RESULTS, **SILENT}[form], ["c1", "c2", "c3"])
        assert history.results == {
            "c1": ReturnedResult("c1", None, "a", None),
            "c2": ReturnedResult("c2", None, "no", True if form in RESULTS else None),
        }

    def test_of_the_oldest_form_are_known_by_name(self) -> None:
        """Role ``function`` has no id."""
        history = read_history([{"role": "function", "name": "look", "content": "a"}], ["look"])
        assert history.results == {"look": ReturnedResult(None, "look", "a", None)}

    def test_count_behind_their_request_only(self) -> None:
        """A provider that begins its ids anew: the old result does not answer the new request."""
        old = [*RESPONSES[1:2], SILENT["responses"][0]]
        history = read_history([*old, *RESPONSES[1:2]], ["c1"])
        assert (history.results, history.requested) == ({}, {"c1"})
        new = {**SILENT["responses"][0], "output": "new"}
        assert read_history([*old, *RESPONSES[1:2], new], ["c1"]).results["c1"].content == "new"

    def test_that_say_they_are_no_error_are_believed(self) -> None:
        """``is_error: false`` is another thing than nothing."""
        block = {"type": "tool_result", "tool_use_id": "c1", "content": "Error: x", "is_error": False}
        assert read_history([{"role": "user", "content": [block]}], ["c1"]).results["c1"].is_error is False

    def test_are_not_those_of_the_provider(self) -> None:
        """A ``web_search_tool_result`` belongs to a call that the provider made."""
        block = {"type": "web_search_tool_result", "tool_use_id": "c1", "content": []}
        assert read_history([{"role": "user", "content": [block]}], ["c1"]).results == {}

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            ("a", "a"),
            ([{"type": "text", "text": "a"}, {"type": "image", "source": {}}, {"text": "b"}], "a\nb"),
            (["a", "b"], "a\nb"),
            (None, ""),
            ({"a": 1}, ""),
            ("x" * 100_000, "x" * 65_536),
        ],
    )
    def test_have_a_text(self, content: Any, text: str) -> None:
        """Of text, or of blocks; bounded."""
        assert text_of(content) == text


class TestInput:
    """``messages_of``."""

    def test_is_a_list_or_has_one(self) -> None:
        """As a request has it, or a framework's state, or a batch of one."""
        messages = [{"role": "user", "content": "hi"}]
        for given in (messages, tuple(messages), {"messages": messages}, {"input": messages}, [messages]):
            assert messages_of(given) == messages
        human = [HumanMessage("hi")]
        assert messages_of({"messages": human}) == human

    @pytest.mark.parametrize("given", [None, "hi", 3, {}, {"messages": "hi"}, object()])
    def test_is_nothing_where_there_are_no_messages(self, given: Any) -> None:
        """Text says nothing of calls."""
        assert messages_of(given) is None

    def test_is_bounded(self) -> None:
        """Of a long one, the end is read."""
        found = messages_of([{"n": n} for n in range(50_000)])
        assert found is not None
        assert (len(found), found[-1]) == (10_000, {"n": 49_999})


class TestOffer:
    """``read_offer``."""

    def test_has_the_names_of_every_form(self) -> None:
        """Anthropic's, OpenAI's two, a namespace, and the provider's own beside them."""
        tools = [
            {"name": "a", "input_schema": {}},
            {"type": "function", "function": {"name": "b"}},
            {"type": "function", "name": "c", "parameters": {}},
            {"type": "custom", "custom": {"name": "d"}},
            {"type": "web_search"},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "e"}]},
            {"type": "bash_20250124", "name": "bash"},
        ]
        assert read_offer({"tools": tools}) == {"a", "b", "c", "d", "e", "n", "bash"}
        assert read_offer({"functions": [{"name": "a"}]}) == {"a"}

    @pytest.mark.parametrize(
        "params",
        [None, {}, {"tools": []}, {"tools": [{"name": "a"}, object()]}, {"tools": [{"type": "function"}]}, 3],
    )
    def test_is_unknown_unless_all_of_it_is_read(self, params: Any) -> None:
        """In doubt no name is a wrong one."""
        assert read_offer(params) is None


class Hostile:
    """Runs when it is asked for anything."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was read")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    def __iter__(self) -> Any:
        raise AssertionError("iterated")


class HostileList(list[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("iterated")

    def __len__(self) -> int:
        raise AssertionError("measured")


class HostileDict(dict[Any, Any]):
    def get(self, *_: Any) -> Any:
        raise AssertionError("read")

    def items(self) -> Any:
        raise AssertionError("read")


def grow(rng: random.Random, depth: int = 0) -> Any:
    """Make something that looks like messages, with anything anywhere."""
    words = [
        *("tool_use", "function_call", "tool", "assistant", "tool_result", "c1", "look", "{", ""),
        *("function_call_output", "function", "content", "data"),
    ]
    leaves: list[Any] = [*words, None, 3, float("nan"), True, b"x", "\ud800", "x" * 999, Hostile(), object()]
    kind = rng.random()
    if depth > 4 or kind < 0.3:
        return rng.choice(leaves)
    if kind < 0.6:
        made = [grow(rng, depth + 1) for _ in range(rng.randrange(5))]
        return rng.choice([made, tuple(made), HostileList(made)])
    names = (
        "role type id call_id tool_use_id tool_call_id name input arguments args content output is_error "
        "status tool_calls invalid_tool_calls function_call function custom choices message data text tools"
    ).split()
    members: dict[Any, Any] = {rng.choice(names): grow(rng, depth + 1) for _ in range(rng.randrange(8))}
    return rng.choice([members, HostileDict(members)])


class TestHostile:
    @pytest.mark.parametrize("seed", range(300))
    def test_messages_raise_nothing_and_run_nothing(self, seed: int) -> None:
        """Whatever stands where, what is found has the right types."""
        print(f"seed {seed}")
        rng = random.Random(seed)
        value = grow(rng)
        for call in read_requests(value):
            assert type(call.name) is str and (call.call_id is None or type(call.call_id) is str)
        for result in read_history(messages_of(value) or [value], ["c1", "look"]).results.values():
            assert type(text_of(result.content)) is str
        offer = read_offer(value)
        assert offer is None or all(type(name) is str for name in offer)

    def test_depth_has_an_end(self) -> None:
        """A message in a message, ten thousand deep, and one that contains itself."""
        deep: Any = {"role": "assistant", "content": "x"}
        for _ in range(10_000):
            deep = {"message": deep}
        assert read_requests(deep) == []
        ring: dict[str, Any] = {"role": "assistant"}
        ring["content"] = [ring, {"type": "tool_use", "id": "c1", "name": "look", "input": {}}]
        assert {call.call_id for call in read_requests(ring)} == {"c1"}

    def test_what_changes_meanwhile_is_no_harm(self) -> None:
        """Another thread appends to the very list."""
        import threading

        messages: list[Any] = list(SILENT["chat"])
        stop = threading.Event()

        def grow_on() -> None:
            while not stop.is_set():
                messages.append({"role": "user", "content": "x"})
                if len(messages) > 2_000:
                    del messages[2:]

        thread = threading.Thread(target=grow_on)
        thread.start()
        try:
            for _ in range(200):
                found = messages_of(messages)
                assert found is not None
                assert set(read_history(found, ["c1"]).results) == {"c1"}
        finally:
            stop.set()
            thread.join()
