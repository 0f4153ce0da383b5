"""Long texts that come again: named where they stand."""

from __future__ import annotations

import json
from typing import Any

from agenttrace.write import texts
from agenttrace.write.texts import Texts

LONG = "word " * 100
SPAN, NEXT = "1" * 16, "2" * 16


def shorten(known: Texts, kind: str, span_id: str, payload: Any, conversation: str = "talk") -> Any:
    """Shorten a payload, and learn from it."""
    shortened = known.shorten(kind, conversation, span_id, json.dumps(payload).encode())
    known.learn(shortened.learned)
    return json.loads(shortened.payload)


def reference(kind: str, pointer: str) -> dict[str, str]:
    return {"$agenttrace": "ref", "span_id": SPAN, "kind": kind, "pointer": pointer}


class TestAnAnswer:
    def test_is_named_when_it_is_sent_again(self) -> None:
        """In whatever form the program gives it back."""
        known = Texts()
        payload = {"output": [{"type": "text", "text": LONG}], "usage": {"note": LONG + "2"}}
        assert shorten(known, "model_turn", SPAN, payload) == payload
        sent = {"input": [{"role": "assistant", "content": LONG}, {"content": [LONG + "2"]}]}
        assert shorten(known, "model_call", NEXT, sent) == {
            "input": [
                {"role": "assistant", "content": reference("model_turn", "/output/0/text")},
                {"content": [LONG + "2"]},
            ]
        }, "only what was said is known, and not what stands beside it"

    def test_may_be_the_whole_output(self) -> None:
        """A plain text, under a key that needs escaping."""
        known = Texts()
        shorten(known, "model_turn", SPAN, {"output": LONG})
        found = shorten(known, "model_call", NEXT, {"input": {"a/b~c": LONG}})
        assert found == {"input": {"a/b~c": reference("model_turn", "/output")}}
        other = Texts()
        shorten(other, "model_call", SPAN, {"input": {"a/b~c": LONG}})
        assert shorten(other, "model_call", NEXT, {"input": [LONG]}) == {
            "input": [reference("model_call", "/input/a~1b~0c")]
        }


class TestAText:
    def test_is_named_where_it_stands_first(self) -> None:
        """Not where it was only named: a reader takes one step."""
        known = Texts()
        for span_id in (SPAN, NEXT, "3" * 16):
            found = shorten(known, "model_call", span_id, {"input": ["x", LONG]})
        assert found == {"input": ["x", reference("model_call", "/input/1")]}

    def test_is_known_in_its_own_conversation_alone(self) -> None:
        """Each can be deleted without the others."""
        known = Texts()
        shorten(known, "model_call", SPAN, {"input": [LONG]})
        assert shorten(known, "model_call", NEXT, {"input": [LONG]}, "other") == {"input": [LONG]}

    def test_stays_where_it_is_short_or_no_message(self) -> None:
        """A few words, parameters, and what is cut or redacted."""
        known = Texts()
        payload = {
            "input": ["short", {"$agenttrace": "cut", "bytes": 999, "head": LONG}],
            "params": {"tools": LONG},
        }
        shorten(known, "model_call", SPAN, payload)
        assert shorten(known, "model_call", NEXT, payload) == payload

    def test_is_not_named_before_it_was_learned(self) -> None:
        """What was not kept whole is never learned."""
        known = Texts()
        payload = json.dumps({"input": [LONG]}).encode()
        assert known.shorten("model_call", "talk", SPAN, payload).learned
        assert known.shorten("model_call", "talk", NEXT, payload).payload == payload

    def test_is_forgotten_when_it_has_not_come_for_long(self, monkeypatch: Any) -> None:
        """What is remembered has a bound; what is used stays."""
        monkeypatch.setattr(texts, "_TEXTS_LIMIT", 10)
        known = Texts()
        for number in range(30):
            shorten(known, "model_call", f"{number:016x}", {"input": [f"{number} {LONG}", LONG]})
        assert len(known._places) == 10
        found = shorten(known, "model_call", NEXT, {"input": [LONG, f"1 {LONG}"]})
        assert found["input"][0] == {**reference("model_call", "/input/1"), "span_id": "0" * 16}
        assert found["input"][1] == f"1 {LONG}"
        known.forget()
        assert shorten(known, "model_call", NEXT, {"input": [LONG]}) == {"input": [LONG]}


class TestOtherPayloads:
    def test_pass_unread(self) -> None:
        """Those of other kinds, and those that are not what they should be."""
        known = Texts()
        for kind, payload in (
            ("tool_call", b"{no json" + b" " * 300),
            ("model_call", json.dumps([LONG]).encode()),
            ("model_call", json.dumps({"output": LONG}).encode()),
            ("model_turn", json.dumps({"output": None, "usage": LONG}).encode()),
        ):
            assert known.shorten(kind, "talk", SPAN, payload) == (payload, [])
