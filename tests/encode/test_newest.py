"""Cutting what a model was sent: the newest messages stay."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.encode.newest import cut_newest
from agenttrace.encode.truncate import cut_payload

REF = {"$agenttrace": "ref", "span_id": "1" * 16, "pointer": "/input", "items": 7}


def cut(payload: Any, limit_bytes: int = 1_000, sha256: str | None = None) -> Any:
    """Cut, and hold it to the limit."""
    encoded = json.dumps(payload).encode()
    found = cut_newest(encoded, limit_bytes, sha256)
    assert len(found) <= limit_bytes
    return json.loads(found)


def messages(count: int, size: int = 100) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{number} " + "x" * size} for number in range(count)]


class TestWhatFits:
    def test_stays_as_it_is(self) -> None:
        """Byte for byte."""
        payload = b'{"input" : ["a"]}'
        assert cut_newest(payload, 256, None) is payload


class TestMessages:
    @pytest.mark.parametrize("first", [[], [REF]])
    def test_go_from_the_oldest(self, first: list[Any]) -> None:
        """A mark counts those that are gone, behind the reference to those that were never there."""
        given_messages = messages(50)
        found = cut({"input": [*first, *given_messages], "params": {"a": 1}}, sha256="ab")
        shown = found["input"]
        assert shown[: len(first)] == first
        mark, *kept = shown[len(first) :]
        assert mark == {"$agenttrace": "cut", "items": 50 - len(kept)}
        assert kept[-1] == given_messages[-1]
        assert (found["params"], found["$agenttrace"], found["sha256"]) == ({"a": 1}, "cut", "ab")

    def test_that_are_missing_already_are_counted_too(self) -> None:
        """An earlier cut and this one are one."""
        found = cut({"input": [{"$agenttrace": "cut", "items": 30}, *messages(20)]})
        mark, *kept = found["input"]
        assert mark["items"] == 50 - len(kept)

    def test_take_half_of_what_is_left_at_most(self) -> None:
        """The newest is cut itself where it is a page long, and leaves the question readable."""
        found = cut({"input": [{"content": "the question"}, {"content": "x" * 9_000}]})
        question, page = found["input"]
        assert question == {"content": "the question"}
        assert page["content"]["$agenttrace"] == "cut"
        assert page["content"]["head"].startswith("xxx")

    def test_have_a_head_of_the_newest_in_whatever_room(self) -> None:
        """In the row of a long request something of what was new can be read."""
        ref = {"$agenttrace": "ref", "span_id": "1" * 16, "pointer": "/input", "items": 397}
        answer, question = (
            {"role": "assistant", "content": "a" * 3_000},
            {"role": "user", "content": "q" * 3_000},
        )
        found = cut({"input": [ref, answer, question], "params": {"model": "m"}}, 512, "ab" * 32)
        assert found["input"][:2] == [ref, {"$agenttrace": "cut", "items": 1}]
        assert found["input"][2]["content"]["head"].startswith("q" * 20)

    def test_in_an_object_are_messages_too(self) -> None:
        """With what stands beside them."""
        found = cut({"input": {"system": "s", "messages": messages(50)}})
        assert found["input"]["system"] == "s"
        assert found["input"]["messages"][-1] == messages(50)[-1]

    def test_have_three_quarters_of_the_room(self) -> None:
        """Parameters as long as a book do not push them out."""
        found = cut(
            {"input": {"system": "y" * 9_000, "messages": messages(5)}, "params": {"tools": "z" * 9_000}}
        )
        assert found["input"]["messages"][-1] == messages(5)[-1]
        assert found["params"]["tools"]["$agenttrace"] == "cut"
        assert found["input"]["system"]["$agenttrace"] == "cut"


class TestWhatIsNoListOfMessages:
    @pytest.mark.parametrize(
        "payload", [{"input": "x" * 5_000}, {"input": {"a": "x" * 5_000}}, {"o": "x" * 5_000}]
    )
    def test_is_cut_as_any_other_payload(self, payload: Any) -> None:
        """From its largest values."""
        encoded = json.dumps(payload).encode()
        assert cut_newest(encoded, 600, "ab") == cut_payload(encoded, 600, "ab")


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=40,
)


class TestAnything:
    @given(
        sent=st.lists(_JSON, max_size=30) | _JSON,
        params=_JSON,
        limit_bytes=st.integers(256, 3_000),
        sha256=st.none() | st.just("ab" * 32),
    )
    def test_is_valid_and_within_the_limit(
        self, sent: Any, params: Any, limit_bytes: int, sha256: str | None
    ) -> None:
        """Whatever it is made of."""
        found = cut({"input": sent, "params": params}, limit_bytes, sha256)
        assert isinstance(found, dict)
