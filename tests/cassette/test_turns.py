"""Turns of models: found by agent, model and chat, and by their place where only words differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, model_turn, replay, tool_scope
from agenttrace.capture.context import PIPE
from agenttrace.capture.substitution import RecordedTurn
from agenttrace.cassette import Cassette, Player
from agenttrace.errors import ReplayError
from tests.cassette.recording import record, record_to_file

LONG = "You are a careful reader of pages. " * 60


class Slow(Exception):
    """What a model's client raises."""


def say(role: str, content: str) -> dict[str, str]:
    """Give one message."""
    return {"role": role, "content": content}


def converse(number: int, date: str = "today") -> None:
    """Ask two models in turn; the chat is resent whole, so that it is recorded by reference."""
    chat = [say("system", LONG + date), say("user", f"question {number}")]
    for round_ in range(3):
        with model_turn("big", provider="acme", input=list(chat), params={"temperature": 0}) as turn:
            answer = f"answer {number}.{round_}"
            turn.set_output(say("assistant", answer), finish_reason="stop", response_id=f"r{round_}")
            turn.set_usage(input_tokens=10 + round_, output_tokens=2)
        chat += [say("assistant", answer), say("user", "go on")]


def ask(agent: Player, model: str, chat: Any) -> RecordedTurn | None:
    """Ask a player where the program stands."""
    return agent.turn(None, model, "acme", chat, None)


def chat_of(number: int, rounds: int, date: str = "today") -> list[dict[str, str]]:
    """Give the chat as it is sent in a round, from 0."""
    chat = [say("system", LONG + date), say("user", f"question {number}")]
    for round_ in range(rounds):
        chat += [say("assistant", f"answer {number}.{round_}"), say("user", "go on")]
    return chat


@pytest.fixture
def cassette(tmp_path: Path) -> Cassette:
    """Record two readers with default settings, so that chats are named and cut as they are for people."""

    def program() -> None:
        with agent_scope("lead"):
            for number in (1, 2):
                with agent_scope("reader"):
                    converse(number)

    conversation_id, _ = record_to_file(tmp_path / "t.db", program)
    with agenttrace.TraceStore(tmp_path / "t.db") as store:
        return Cassette.of(store, conversation_id)


class TestTurn:
    """Is found by what is asked."""

    def test_by_its_whole_chat(self, cassette: Cassette) -> None:
        """Chats that were recorded by reference are whole again, and tell siblings apart."""
        player = Player(cassette)
        with agent_scope("lead"), agent_scope("reader"):
            for rounds in (2, 0, 1):
                found = ask(player, "big", chat_of(2, rounds))
                assert found is not None
                assert found.output == say("assistant", f"answer 2.{rounds}")
                assert (found.finish_reason, found.response_id) == ("stop", f"r{rounds}")
                assert found.counts == {"input_tokens": 10 + rounds, "output_tokens": 2}
                assert (found.model, found.status, found.exception) == ("big", "ok", None)
        assert player.replayed == 3 and player.notes == []
        assert len(player.unused()) == 3

    def test_by_its_place_where_only_words_differ(self, cassette: Cassette) -> None:
        """Another date in the system prompt: the next turn of as many messages, with a note."""
        player = Player(cassette)
        with agent_scope("lead"), agent_scope("reader"):
            for rounds in range(3):
                found = ask(player, "big", chat_of(1, rounds, "tomorrow"))
                assert found is not None and found.response_id == f"r{rounds}"
        assert player.notes == ["lead/reader: a turn of big was given by its place: its chat differs"]

    @pytest.mark.parametrize(
        ("model", "chat"),
        [("small", chat_of(1, 0)), ("big", [say("user", "only this")]), ("big", chat_of(1, 7))],
    )
    def test_is_refused_where_none_was_like_it(self, cassette: Cassette, model: str, chat: Any) -> None:
        """Another model, other roles or a longer chat were never recorded."""
        player = Player(cassette)
        with agent_scope("lead"), agent_scope("reader"):
            with pytest.raises(ReplayError, match=f"lead/reader asks for a turn of {model}"):
                ask(player, model, chat)
            assert ask(Player(cassette, "fill"), model, chat) is None
        assert len(player.refusals) == 1

    def test_brings_attempts_failures_and_pieces(self) -> None:
        """What failed before, what it ended with, and how it streamed in."""

        def program() -> None:
            with agent_scope("lead"):
                with model_turn("big", input="one") as turn:
                    turn.fail_attempt(Slow("first"), by="acme")
                    turn.begin_attempt()
                    for _ in range(3):
                        turn.delta("Hello " * 100)
                    turn.set_output("Hello " * 300)
                try:
                    with model_turn("big", input="two"):
                        raise Slow("gone")
                except Slow:
                    pass

        cassette, _ = record(program)
        player = Player(cassette)
        with agent_scope("lead"):
            first, second = ask(player, "big", "one"), ask(player, "big", "two")
        assert first is not None and second is not None
        assert [one["message"] for one in first.attempts] == ["first"]
        assert "".join(first.deltas) == first.output == "Hello " * 300 and len(first.deltas) > 1
        assert type(second.exception) is Slow and str(second.exception) == "gone"
        assert second.status == "error" and second.error is not None and second.error["type"] == "Slow"

    def test_is_redacted_on_both_sides(self, tmp_path: Path) -> None:
        """A key in a chat does not keep its turn from being found."""
        chat = [say("user", "use sk-proj-Zq8vN3xRt7LmK2pW9yB4cD6fG1hJ5sA0 for it")]

        def program() -> None:
            with agent_scope("lead"), model_turn("big", input=chat) as turn:
                turn.set_output("done")

        record_to_file(tmp_path / "t.db", program)
        with replay("last", database=tmp_path / "t.db") as playing, agent_scope("lead"):
            assert PIPE.substitute is not None
            found = PIPE.substitute.turn(None, "big", None, chat, None)
            assert found is not None and found.output == "done"
        assert playing.notes == []


class TestOuter:
    """A tool around code that is not ours."""

    def test_gives_how_it_ended(self) -> None:
        """Its output, its failure, or a refusal."""

        def program() -> None:
            with agent_scope("lead"):
                with tool_scope("fetch", arguments={"url": "a"}) as call:
                    call.set_result({"text": "A"})
                try:
                    with tool_scope("fetch", arguments={"url": "b"}):
                        raise Slow("no")
                except Slow:
                    pass

        cassette, _ = record(program)
        player = Player(cassette)
        with agent_scope("lead"):
            good = player.outer(None, "fetch", {"url": "a"})
            bad = player.outer(None, "fetch", {"url": "b"})
            assert good is not None and bad is not None
            assert (good.output, good.is_error, good.exception) == ({"text": "A"}, False, None)
            assert bad.is_error and type(bad.exception) is Slow
            with pytest.raises(ReplayError, match="fetch"):
                player.outer(None, "fetch", {"url": "c"})
            assert Player(cassette, "fill").outer(None, "fetch", {"url": "c"}) is None


class TestOneAgent:
    """A cassette of one agent and what is below it."""

    def test_becomes_the_root(self, tmp_path: Path) -> None:
        """Its paths begin with it, and it can be run alone."""

        def program() -> None:
            with agent_scope("lead"), agent_scope("reader"):
                converse(1)
                with agent_scope("helper"):
                    converse(2)

        conversation_id, _ = record_to_file(tmp_path / "t.db", program)
        with agenttrace.TraceStore(tmp_path / "t.db") as store:
            alone = Cassette.of(store, conversation_id, "reader")
            assert [run.title for run in alone.runs] == ["reader", "reader/helper"]
            assert [run.parent for run in alone.runs] == [None, 0]
            with pytest.raises(agenttrace.errors.NotFound, match="reader, helper"):
                Cassette.of(store, conversation_id, "nobody")
        player = Player(alone)
        with agent_scope("reader"):
            assert ask(player, "big", chat_of(1, 0)) is not None


class TestOwnRecord:
    """With tracing on, a replay is a conversation of its own."""

    def test_keeps_out_of_the_recorded_one(self, tmp_path: Path) -> None:
        """Also where the program names its conversation; what it says of it stands beside the origin."""
        database = tmp_path / "t.db"

        def program() -> str:
            agenttrace.configure(database, max_payload_bytes=8_192)  # as a program does, also amid a replay
            with agenttrace.conversation_scope("order-17", metadata={"customer": 5}) as conversation:
                with agent_scope("lead") as agent:
                    converse(1)
                assert agent.conversation_id == "order-17"
                return conversation.conversation_id

        record_to_file(database, program)
        agenttrace.configure(database, enabled=True, max_payload_bytes=4_096)
        with agenttrace.TraceStore(database) as store:
            before = [event.id for event in store.events("order-17")]
            with replay("order-17", database=database) as playing:
                assert program() == "order-17"
            agenttrace.flush()
            assert [event.id for event in store.events("order-17")] == before
            own = playing.conversation_id
            assert own is not None and own != "order-17"
            conversation = store.conversation(own)
            assert conversation is not None
            assert conversation.metadata == {"customer": 5, "replay_of": "order-17"}
            assert len(list(store.events(own))) == len(before)
            kept = store.conversation("order-17")
            assert kept is not None and kept.metadata == {"customer": 5}
