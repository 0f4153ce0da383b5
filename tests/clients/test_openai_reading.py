"""Reading OpenAI's answers: from events as from one piece, whatever comes, and never without bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.encode import codec
from agenttrace.errors import LOSSES
from agenttrace.integrations import sdk_bytes
from agenttrace.integrations.openai_chat import Chat, ask_chat
from agenttrace.integrations.openai_responses import Response, ask_response
from agenttrace.integrations.sdk_bytes import BodyBytes
from tests.clients import provider_chat, provider_responses
from tests.clients.provider_replies import Call, Reply, Usage, max_tokens, refusal, text, tool_calls
from tests.clients.provider_wire import Answer


class Told:
    """Takes what an answer tells, in the place of a turn."""

    def __init__(self, answer: Any) -> None:
        self.said: dict[str, Any] = {}
        answer.tell(self)

    def set_answered(self, model: Any, **more: Any) -> None:
        self.said.update(model=model, **more)

    def set_output(self, value: Any, **more: Any) -> None:
        self.said.update(output=value, **more)

    def set_usage(self, usage: Any) -> None:
        self.said["usage"] = usage

    def fail(self, failure: Any) -> None:
        self.said["failure"] = failure


WORDS = st.text(st.characters(codec="utf-8"), max_size=40)
USAGES = st.builds(
    Usage, input_tokens=st.integers(100, 9_000), output_tokens=st.integers(50, 900),
    cache_read_tokens=st.integers(0, 99), reasoning_tokens=st.integers(0, 49),
)  # fmt: skip
ARGUMENTS = st.dictionaries(WORDS, st.one_of(st.integers(), WORDS, st.lists(WORDS, max_size=3)), max_size=4)
CALLS = st.lists(
    st.builds(Call, st.sampled_from(["add", "look_up", "x"]), ARGUMENTS, st.uuids().map(str)),
    min_size=1,
    max_size=4,
)
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.builds(text, WORDS.filter(bool), usage=USAGES),
    st.builds(max_tokens, WORDS.filter(bool), usage=USAGES),
    st.builds(refusal, WORDS.filter(bool), usage=USAGES),
    st.builds(tool_calls, CALLS, content=WORDS, usage=USAGES),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)
WIRES: dict[str, tuple[Any, Any]] = {
    "chat": (provider_chat, Chat),
    "responses": (provider_responses, Response),
}


def answer_of(reply: Reply) -> Answer:
    body = {"model": "gpt-x", "stream": True, "stream_options": {"include_usage": True}}
    return Answer(reply, "gpt-x-2026", "id-1", "req-1", body)


def events_of(wire: Any, reply: Reply) -> Iterator[Any]:
    """Give the events of a stream, as JSON."""
    for frame in wire.iter_frames(answer_of(reply)):
        for line in frame.data.decode().splitlines():
            if line.startswith("data: {"):
                yield json.loads(line[6:])


def without_none(value: Any) -> Any:
    """Give a message without what it says nothing about, which a stream leaves out."""
    if isinstance(value, dict):
        return {name: without_none(one) for name, one in value.items() if one not in (None, [], "")}
    return [without_none(one) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("api", WIRES)
class TestAnAnswerInEvents:
    @given(reply=REPLIES)
    def test_is_read_as_the_one_in_one_piece(self, api: str, reply: Reply) -> None:
        """Put together from its events, it says what the whole says: output, reason, id, model, usage."""
        wire, kind = WIRES[api]
        whole, parts = kind(), kind()
        whole.read(wire.build_plain(answer_of(reply)))
        texts = [parts.add(event) for event in events_of(wire, reply)]
        assert without_none(Told(parts).said) == without_none(Told(whole).said)
        assert parts.is_complete
        assert "".join(filter(None, texts)) == reply.text

    @given(reply=REPLIES, data=st.data())
    def test_that_breaks_off_says_what_had_come(self, api: str, reply: Reply, data: st.DataObject) -> None:
        """At every place, the text so far is the text of the pieces so far."""
        wire, kind = WIRES[api]
        events = list(events_of(wire, reply))
        kept = events[: data.draw(st.integers(0, len(events)))]
        parts = kind()
        texts = "".join(filter(None, [parts.add(event) for event in kept]))
        output = Told(parts).said.get("output")
        assert texts in json.dumps(output, ensure_ascii=False) or json.dumps(texts)[1:-1] in json.dumps(
            output
        )
        assert parts.is_complete == (len(kept) >= len(events) - (api == "chat"))

    @given(events=st.lists(JSON, max_size=6), body=st.dictionaries(WORDS, JSON, max_size=5))
    def test_of_any_other_form_raises_nothing(
        self, api: str, events: list[Any], body: dict[str, Any]
    ) -> None:
        """What is no event and no answer says nothing."""
        kind = WIRES[api][1]
        parts, whole = kind(), kind()
        for event in events:
            parts.add(event)
        Told(parts)
        whole.read(body)
        Told(whole)

    @given(data=st.data(), reply=REPLIES)
    def test_with_a_field_of_another_type_raises_nothing(
        self, api: str, data: st.DataObject, reply: Reply
    ) -> None:
        """An event in which one value has been replaced by any other is taken as far as it goes."""
        wire, kind = WIRES[api]
        parts = kind()
        for event in events_of(wire, reply):
            parts.add(_with_another(event, data))
        codec.encode(Told(parts).said, 100_000)

    def test_is_kept_within_bounds(self, api: str) -> None:
        """A stream without end, in text, calls, items and choices, is kept as far as 2 MiB."""
        parts = WIRES[api][1]()
        for number in range(20_000):
            for event in _endless(api, number):
                parts.add(event)
        assert len(json.dumps(Told(parts).said)) < 2 * 1024 * 1024


def _with_another(event: Any, data: st.DataObject) -> Any:
    """Replace one value somewhere in *event*."""
    if isinstance(event, dict) and event and data.draw(st.integers(0, 3)):
        name = data.draw(st.sampled_from(sorted(event)))
        return {**event, name: _with_another(event[name], data)}
    if isinstance(event, list) and event and data.draw(st.integers(0, 3)):
        return [_with_another(event[0], data), *event[1:]]
    return data.draw(JSON)


def _endless(api: str, number: int) -> Iterator[dict[str, Any]]:
    if api == "chat":
        call = {"index": number, "id": "c" * 50, "function": {"name": "n" * 50, "arguments": "a" * 200}}
        delta = {"content": "x" * 200, "tool_calls": [call]}
        yield {"id": "1", "choices": [{"index": 0, "delta": delta}, {"index": number, "delta": delta}]}
    else:
        item = {"type": "message", "content": []}
        yield {"type": "response.output_item.added", "output_index": number, "item": item}
        at = {"output_index": number, "content_index": number % 7, "delta": "x" * 200}
        yield {"type": "response.output_text.delta", **at}
        yield {"type": "response.function_call_arguments.delta", **at}


class TestOtherProvidersOfThisFormat:
    def test_may_send_reasoning_and_calls_without_an_index(self) -> None:
        """What DeepSeek, Groq and others add to the format is kept as they send it."""
        chat = Chat()
        chat.add({"choices": [{"delta": {"role": "assistant", "reasoning_content": "hm, "}}]})
        chat.add({"choices": [{"delta": {"reasoning_content": "yes"}}]})
        call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        chat.add({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
        assert Told(chat).said["output"] == {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm, yes",
            "tool_calls": [call],
        }

    def test_may_say_an_error_instead_of_an_answer(self) -> None:
        """Status 200 with an ``error`` and no choices is a failure."""
        chat = Chat()
        chat.read({"error": {"message": "no credits", "code": 402}})
        assert Told(chat).said["failure"] == {"message": "no credits", "code": 402}

    def test_several_choices_are_a_list(self) -> None:
        """``n=2`` gives two messages; the reason is the first one's."""
        chat = Chat()
        for index, word in enumerate(("one", "two")):
            chat.add({"choices": [{"index": index, "delta": {"content": word}, "finish_reason": "stop"}]})
        said = Told(chat).said
        assert [message["content"] for message in said["output"]] == ["one", "two"]
        assert said["finish_reason"] == "stop"


@pytest.mark.slow
class TestWhatIsAsked:
    @given(body=st.dictionaries(WORDS | st.sampled_from(["model", "messages", "input"]), JSON, max_size=5))
    def test_of_any_form_raises_nothing(self, body: dict[str, Any]) -> None:
        """Whatever a program puts in a request, there is a model's name and what was sent."""
        for ask, name in ((ask_chat, "messages"), (ask_response, "input")):
            asked = ask(body)
            assert isinstance(asked.model, str)
            assert asked.model
            assert asked.input == body.get(name)
            assert set(asked.params) == set(body) - {"model", "stream", name}


@pytest.mark.slow
class TestBytesOfABody:
    @given(reply=REPLIES, data=st.data())
    def test_are_the_same_events_however_they_are_cut(self, reply: Reply, data: st.DataObject) -> None:
        """Chunks may end anywhere: amid a line, a character, a line's end."""
        content = b"".join(frame.data for frame in provider_chat.iter_frames(answer_of(reply)))
        if data.draw(st.booleans()):
            content = content.replace(b"\n", b"\r\n")
        cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=12)))
        body, found = BodyBytes(True, None), []
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            found.extend(body.feed(content[start:end]))
        found.extend(body.rest())
        assert found == list(events_of(provider_chat, reply))

    @given(content=st.binary(max_size=200), is_events=st.booleans())
    def test_of_any_kind_raise_nothing(self, content: bytes, is_events: bool) -> None:
        """What is no JSON is text, and what is no event says nothing."""
        body = BodyBytes(is_events, None)
        list(body.feed(content))
        body.is_complete = True
        for value in body.rest():
            assert is_events or isinstance(value, str) or value == json.loads(content)

    def test_are_kept_within_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A body or a line that is too long is counted once, and the next line is read again."""
        monkeypatch.setattr(sdk_bytes, "_BODY_LIMIT_BYTES", 1_000)
        monkeypatch.setattr(sdk_bytes, "_LINE_LIMIT_BYTES", 100)
        whole, lines = BodyBytes(False, None), BodyBytes(True, None)
        for _ in range(100):
            assert list(whole.feed(b"x" * 50)) == []
            assert list(lines.feed(b"data: " + b"x" * 50)) == []
        assert list(whole.rest()) == []
        assert list(lines.feed(b'\ndata: {"a": 1}\n')) == [{"a": 1}]
        assert LOSSES == {"integrations.sdk.body_too_long": 2}


def test_the_sdks_own_objects_are_read_as_their_json() -> None:
    """A chunk of the SDK says what its JSON says."""
    from openai.types.chat import ChatCompletionChunk

    events = list(events_of(provider_chat, text("some words", usage=Usage(100, 60, 5, 0, 6))))
    of_json, of_objects = Chat(), Chat()
    for event in events:
        of_json.add(event)
        of_objects.add(ChatCompletionChunk.model_validate(event))
    assert Told(of_json).said == Told(of_objects).said
    assert openai.__version__
