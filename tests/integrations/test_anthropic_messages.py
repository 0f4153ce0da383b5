"""Anthropic's messages as they are read: in one piece, in events, cut anywhere, and as nonsense."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.integrations.anthropic_messages import Message, ask_message
from tests.clients import provider_messages
from tests.clients.provider_replies import Call, Reply, Usage
from tests.clients.provider_wire import Answer

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(Call, WORDS.filter(bool), st.dictionaries(WORDS, JSON, max_size=3), WORDS)
COUNTS = st.integers(0, 10**9)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    fresh, read, written, spoken, thought = (draw(COUNTS) for _ in range(5))
    return Usage(fresh + read + written, spoken + thought, read, written, thought)


REPLIES = st.builds(
    Reply,
    text=WORDS,
    calls=st.lists(CALLS, max_size=3).map(tuple),
    thinking=WORDS,
    stop=st.sampled_from(["end", "tools", "length", "refusal"]),
    usage=usages(),
)
EVENTS = st.sampled_from(
    "message_start content_block_start content_block_delta message_delta message_stop error".split()
)
DELTAS = st.sampled_from("text_delta input_json_delta citations_delta thinking_delta signature_delta".split())


def or_nonsense(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What belongs in a place, or anything else."""
    return st.one_of(*strategies, JSON)


def wire(kinds: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object of the wire, of which any field may be absent or hold something else."""
    return or_nonsense(st.fixed_dictionaries({"type": or_nonsense(kinds)}, optional=fields))


PLACES = or_nonsense(st.integers(0, 2), st.lists(st.integers(), max_size=1))
DELTA = wire(
    DELTAS,
    **{name: or_nonsense(WORDS) for name in "text partial_json thinking signature citation".split()},
    stop_reason=or_nonsense(WORDS),
)
BLOCK = wire(st.sampled_from(["text", "tool_use", "thinking"]), text=JSON, input=JSON, citations=JSON)
MESSAGE = wire(st.just("message"), id=JSON, model=JSON, content=JSON, usage=JSON, stop_reason=JSON)
NONSENSE = wire(
    EVENTS, index=PLACES, delta=DELTA, content_block=BLOCK, message=MESSAGE, usage=JSON, error=JSON
)


class Told:
    """What a message says to a turn."""

    def __init__(self, message: Message) -> None:
        self.said: dict[str, Any] = {}
        message.tell(self)  # type: ignore[arg-type]

    def set_answered(self, model: Any) -> None:
        self.said["model"] = model

    def set_output(self, value: Any, **ending: Any) -> None:
        self.said["output"] = value
        self.said.update(ending)

    def set_usage(self, usage: Any) -> None:
        self.said["usage"] = usage

    def fail(self, failure: Any) -> None:
        self.said["failure"] = failure


def answer_of(reply: Reply) -> Answer:
    return Answer(reply, "claude-answered", "msg_1", "req_1", {})


def events_of(reply: Reply) -> list[Any]:
    """Give the events as a program gets them that reads the stream itself."""
    frames = [frame.data.decode() for frame in provider_messages.iter_frames(answer_of(reply))]
    return [json.loads(frame.split("data: ", 1)[1]) for frame in frames]


class TestMessage:
    """An answer."""

    @given(REPLIES)
    def test_says_the_same_in_events_as_in_one_piece(self, reply: Reply) -> None:
        """Blocks, reason, id, model; and of the usage every count that both forms have."""
        whole, streamed = Message(), Message()
        whole.read(json.loads(json.dumps(provider_messages.build_plain(answer_of(reply)))))
        texts = [streamed.add(event) for event in events_of(reply)]
        assert whole.is_complete and streamed.is_complete
        first, second = Told(whole).said, Told(streamed).said
        usage, later = first.pop("usage"), second.pop("usage")
        assert first == second
        assert {name: later[name] for name in usage} == usage
        assert "".join(text for text in texts if text) == reply.text

    @given(REPLIES, st.data())
    def test_has_what_had_come_wherever_it_is_cut(self, reply: Reply, data: st.DataObject) -> None:
        """Each block is a beginning of what it would have been."""
        events = events_of(reply)
        count = data.draw(st.integers(1, len(events)))
        cut = Message()
        for event in events[:count]:
            cut.add(event)
        whole = Message()
        whole.read(json.loads(json.dumps(provider_messages.build_plain(answer_of(reply)))))
        kept, all_blocks = Told(cut).said["output"], Told(whole).said["output"]
        assert len(kept) <= len(all_blocks)
        for block, full in zip(kept, all_blocks, strict=False):
            assert block["type"] == full["type"]
            for name in {"text", "thinking", "id", "name"} & full.keys():
                assert full[name].startswith(block.get(name, ""))

    @settings(max_examples=400)
    @given(st.lists(NONSENSE, max_size=12), MESSAGE)
    def test_takes_anything(self, events: list[Any], body: Any) -> None:
        """Whatever a provider, or a proxy before it, sends: nothing is raised."""
        message = Message()
        message.add({"type": "message_start", "message": {"id": "m", "model": "c"}})
        for event in events:
            message.add(event)
        Told(message)
        if isinstance(body, dict):
            whole = Message()
            whole.read(body)
            Told(whole)
            ask_message(body)

    def test_is_bounded(self) -> None:
        """Of a stream that never ends, a million characters and four thousand blocks are kept."""
        message = Message()
        message.add({"type": "message_start", "message": {"id": "m", "model": "c"}})
        for index in range(5_000):
            message.add({"type": "content_block_start", "index": index, "content_block": {"type": "text"}})
        for _ in range(30):
            delta = {"type": "text_delta", "text": "x" * 100_000}
            message.add({"type": "content_block_delta", "index": 0, "delta": delta})
        blocks = Told(message).said["output"]
        assert len(blocks) == 4_096
        assert len(blocks[0]["text"]) == 1_048_576

    def test_without_an_end_is_not_complete(self) -> None:
        """Only what says why it ends is whole."""
        events = events_of(replace(Reply(), text="a b"))
        message = Message()
        seen = []
        for event in events:
            message.add(event)
            seen.append((event["type"], message.is_complete))
        assert [kind for kind, is_complete in seen if is_complete] == ["message_delta", "message_stop"]
