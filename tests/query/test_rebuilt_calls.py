"""Rebuilt calls and dropped results, as a tree shows them."""

from __future__ import annotations

from agenttrace import agent_scope, model_turn, traced_tool
from agenttrace.testing import memory_recorder
from tests.capture.loops import FORMS, Chat, Request, Result


@traced_tool
def send(text: str, rebuilt: bool) -> str:
    return text


class TestRebuiltCalls:
    def test_say_what_they_are_and_no_duration(self) -> None:
        """Nobody saw how long they took; a user's own word ``rebuilt`` is no mark."""
        with memory_recorder() as recorder, agent_scope("bot"):
            chat = Chat(model_turn, FORMS["anthropic"], ["look", "send"])
            chat.ask(
                Request("c1", "look", {"at": "x"}), Request("c2", "send", {"text": "hi", "rebuilt": True})
            )
            chat.tell(Result("c1", "Error: no", True), Result("c2", send("hi", True)))
            chat.ask()
        nodes = {node.call_id: node for tree in recorder.trees() for node in tree.nodes if node.call_id}
        assert (nodes["c1"].notes, nodes["c1"].duration_ms) == (("rebuilt",), None)
        assert nodes["c2"].notes == ()
        assert nodes["c2"].duration_ms is not None
        text = recorder.format_tree(80)
        assert 'look(at="x") ✘ · rebuilt · returned a failure: Error: no · reported' in text

    def test_stand_in_one_line_when_there_are_many(self) -> None:
        """Like other calls that are alike."""
        with memory_recorder() as recorder, agent_scope("bot"):
            chat = Chat(model_turn, FORMS["chat"])
            chat.ask(*(Request(f"c{n}", "look", {"at": n}) for n in range(12)))
            chat.tell(*(Result(f"c{n}", "seen") for n in range(12)))
            chat.ask()
        assert "… 10 more look ✔" in recorder.format_tree(80)


class TestDroppedResults:
    def test_name_their_call(self) -> None:
        """By its id, in a line of 80 characters."""
        with memory_recorder() as recorder, agent_scope("bot"):
            chat = Chat(model_turn, FORMS["chat"])
            chat.ask(Request("c1", "send", {"text": "a", "rebuilt": False}), Request("c2", "look", {}))
            send("a", False)
            chat.tell(Result("c2", "seen"))
            chat.ask()
        assert "result_dropped c1 · not in the next model input" in recorder.format_tree(80)
