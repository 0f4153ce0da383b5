"""What is published of a chat that is sent again and again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agenttrace import agent_scope, conversation_scope, model_turn
from agenttrace.capture import history
from agenttrace.capture.context import PIPE
from agenttrace.testing import memory_recorder
from tests.capture.conftest import Published

LONG = "word " * 150


def message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def ask(messages: Any, **given: Any) -> None:
    with model_turn("m", input=messages, **given):
        pass


def inputs(published: Published) -> list[Any]:
    return [event.payload["input"] for event in published("model_call")]


def reference(published: Published, at: int, items: int, pointer: str = "/input") -> dict[str, Any]:
    """Build the reference to the request at *at*."""
    span_id = published("model_call")[at].span_id
    return {"$agenttrace": "ref", "span_id": span_id, "pointer": pointer, "items": items}


class TestAResentChat:
    def test_names_the_request_before(self, published: Published) -> None:
        """What was sent before is named with its number, and what is new stands behind it."""
        messages = [message(LONG), message("a")]
        with agent_scope("chat"):
            ask(messages)
            messages.append(message("b"))
            ask(messages)
            ask(messages)
        assert inputs(published) == [
            messages[:2],
            [reference(published, 0, 2), message("b")],
            [reference(published, 1, 3)],
        ]

    def test_is_repeated_while_it_is_short(self, published: Published) -> None:
        """A few words are easier to read than a reference."""
        messages = [message("a")]
        with agent_scope("chat"):
            for text in ("b", "c"):
                ask(messages)
                messages.append(message(text))
            ask(messages)
        assert inputs(published) == [messages[:1], messages[:2], messages]

    def test_stands_in_an_object(self, published: Published) -> None:
        """The messages of ``{"messages": […], "system": …}`` are as good as a list."""
        messages = [message(LONG)]
        with agent_scope("chat"):
            ask({"system": "s", "messages": messages})
            messages.append(message("b"))
            ask({"system": "t", "messages": messages})
        assert inputs(published)[1] == {
            "messages": [reference(published, 0, 1, "/input/messages"), message("b")],
            "system": "t",
        }

    def test_notices_a_message_changed_in_place(self, published: Published) -> None:
        """Messages are compared by what they hold, not by which objects they are."""
        messages = [message(LONG), message(LONG)]
        with agent_scope("chat"):
            ask(messages)
            messages[1]["content"] += "!"
            ask(messages)
        assert inputs(published)[1] == [reference(published, 0, 1), message(LONG + "!")]

    def test_keeps_chats_apart_that_take_turns(self, published: Published) -> None:
        """A planner and its workers, all of one agent: each goes on from its own."""
        chats = [[message(f"{number} {LONG}")] for number in range(history._CHATS_LIMIT)]
        with agent_scope("all"):
            for _ in range(2):
                for chat in chats:
                    ask(chat)
                    chat.append(message("next"))
        later = inputs(published)[len(chats) :]
        assert later == [[reference(published, number, 1), message("next")] for number in range(len(chats))]

    def test_names_no_other_conversation(self, published: Published) -> None:
        """A conversation can be deleted, and must take nothing of another one with it."""
        for name in ("one", "two"):
            with conversation_scope(name), agent_scope("chat"):
                ask([message(LONG)])
        assert inputs(published) == [[message(LONG)], [message(LONG)]]

    def test_escapes_what_looks_like_a_reference(self, published: Published) -> None:
        """A message that holds our mark is the user's own."""
        forged = {"$agenttrace": "ref", "span_id": "0" * 16, "pointer": "/input", "items": 9}
        with agent_scope("chat"):
            ask([forged, message(LONG)], params={"tools": forged})
        (call,) = published("model_call")
        assert call.payload["input"][0] == {
            "$" + key if key[0] == "$" else key: forged[key] for key in forged
        }
        assert "$$agenttrace" in call.payload["params"]["tools"]

    @pytest.mark.parametrize(
        "value", [None, "text", 7, {"prompt": LONG}, {"messages": LONG}, [], {"messages": []}]
    )
    def test_may_be_no_list_at_all(self, published: Published, value: Any) -> None:
        """Whatever a model is given is recorded as it is."""
        with agent_scope("chat"):
            ask(value)
            ask(value)
        assert inputs(published) == [value, value]

    def test_survives_messages_that_cannot_be_read(self, published: Published) -> None:
        """A hostile message is marked, and the same mark is the same message."""

        class Hostile:
            def __iter__(self) -> Any:
                raise RuntimeError

            def __repr__(self) -> str:
                raise RuntimeError

        messages = [Hostile(), message(LONG), {"self": None}]
        messages[2]["self"] = messages  # type: ignore[index]
        with agent_scope("chat"):
            ask(messages)
            ask(messages)
        first, second = inputs(published)
        assert len(first) == 3
        assert second == [reference(published, 0, 3)]


class TestLongParameters:
    def test_are_named_one_by_one(self, published: Published) -> None:
        """What changes is there, and what stays is named where it stands."""
        params = {"tools": [{"name": LONG}], "temperature": 1}
        with agent_scope("chat"):
            for temperature in (1, 2):
                ask("q", params={**params, "temperature": temperature})
        first, second = (event.payload["params"] for event in published("model_call"))
        span_id = published("model_call")[0].span_id
        assert first == params
        assert second == {
            "tools": {"$agenttrace": "ref", "span_id": span_id, "pointer": "/params/tools"},
            "temperature": 2,
        }

    def test_of_several_agents_are_kept_apart(self, published: Published) -> None:
        """Each agent has tools of its own, and its turns come in between those of others."""
        with agent_scope("chat"):
            for _ in range(2):
                for name in "abc":
                    ask("q", params={"tools": name + LONG})
        calls = published("model_call")
        named = [event.payload["params"]["tools"]["span_id"] for event in calls[3:]]
        assert named == [event.span_id for event in calls[:3]]

    def test_with_names_that_are_no_names_stay_as_they_are(self, published: Published) -> None:
        """A pointer to ``a/b`` or ``é`` is more than this needs."""
        params = {"a/b": LONG, "é": LONG}
        with agent_scope("chat"):
            ask("q", params=params)
            ask("q", params=params)
        assert [event.payload["params"] for event in published("model_call")] == [params, params]

    def test_are_cut_where_they_are_too_long(
        self, published: Published, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All together have the room of one payload."""
        monkeypatch.setattr(PIPE, "limit_bytes", 4_096)
        with agent_scope("chat"):
            ask("q", params=dict.fromkeys("abcdef", LONG * 4))
        (call,) = published("model_call")
        assert len(json.dumps(call.payload["params"])) <= 4_096 + 600
        assert '"$agenttrace": "cut"' in json.dumps(call.payload["params"])


class TestWhatIsRemembered:
    def test_has_a_bound(self, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
        """Conversations that were left alone for longest are forgotten, hashes and all."""
        monkeypatch.setattr(history, "_CONVERSATIONS_LIMIT", 8)
        monkeypatch.setattr(history, "_HASHES_LIMIT", 100)
        history.forget_sent()
        for number in range(40):
            with conversation_scope(f"talk {number}"), agent_scope("chat"):
                for _ in range(number % 3 + 1):
                    ask([message(f"{each} {LONG}") for each in range(20)])
        state = history._state
        assert len(state.conversations) <= 8
        assert 0 < sum(history._count(known) for known in state.conversations.values()) <= 100
        assert "talk 39" in state.conversations

    def test_has_a_bound_in_one_conversation(self, published: Published) -> None:
        """Chats and parameters that never come again."""
        history.forget_sent()
        with conversation_scope("talk"), agent_scope("chat"):
            for number in range(100):
                ask([message(f"{number} {LONG}")], params={"tools": f"{number} {LONG}"})
        known = history._state.conversations["talk"]
        assert len(known.chats) == history._CHATS_LIMIT
        assert len(known.members) == history._MEMBERS_LIMIT

    def test_is_nothing_of_the_programs(self, published: Published) -> None:
        """Numbers only: neither a message nor its text is kept alive."""
        import gc
        import weakref

        class Held(dict[str, Any]):
            pass

        held = Held(message(LONG))
        gone = weakref.ref(held)
        with agent_scope("chat"):
            ask([held])
            del held
            gc.collect()
            assert gone() is None

    def test_is_not_for_who_records_in_memory(self) -> None:
        """A test reads payloads as they are: each request is there whole."""
        messages = [message(LONG)]
        with memory_recorder() as recorder, agent_scope("chat"):
            ask(messages, params={"tools": LONG})
            messages.append(message("b"))
            ask(messages, params={"tools": LONG})
        calls = [event.payload for event in recorder.events() if event.kind == "model_call"]
        assert [call["input"] for call in calls] == [messages[:1], messages]
        assert [call["params"] for call in calls] == [{"tools": LONG}] * 2
