"""Which model an agent asks, when it changes, and which one answered (S1.22, S1.23)."""

from __future__ import annotations

from typing import Any

from agenttrace import agent_scope, model_turn
from tests.capture.conftest import Published


def told(published: Published) -> list[tuple[str, str | None, str | None, Any]]:
    """Give each event that names the agent's model: kind, model, provider, payload."""
    return [
        (event.kind, event.model, event.provider, event.payload)
        for event in published.events
        if event.kind in ("model_selected", "model_switched")
    ]


class TestTheFirstTurn:
    def test_selects_the_model(self, published: Published) -> None:
        """A program that announces nothing has selected what it asks first; before it is asked."""
        with agent_scope("a"), model_turn("m", provider="p"):
            pass
        assert told(published) == [("model_selected", "m", "p", {"reason": None})]
        kinds = [kind for kind in published.kinds if kind.startswith("model")]
        assert kinds == ["model_selected", "model_call", "model_turn"]

    def test_selects_nothing_that_was_announced(self, published: Published) -> None:
        """By the scope, or by the program with its reason."""
        with agent_scope("a", model="m", provider="p"), model_turn("m"):
            pass
        assert told(published) == []
        with agent_scope("b") as agent:
            agent.set_model("m", provider="p", reason="cheap")
            with model_turn("m"):
                pass
        assert told(published) == [("model_selected", "m", "p", {"reason": "cheap"})]

    def test_is_each_agents_own(self, published: Published) -> None:
        """A subagent selects for itself, and its parent keeps its model."""
        with agent_scope("a"):
            with model_turn("m"):
                pass
            with agent_scope("b"), model_turn("n"):
                pass
            with model_turn("m"):
                pass
        assert [(kind, model) for kind, model, _, _ in told(published)] == [
            ("model_selected", "m"),
            ("model_selected", "n"),
        ]


class TestALaterTurn:
    def test_that_asks_another_model_switches(self, published: Published) -> None:
        """With both names; asking the same again is nothing new."""
        with agent_scope("a"):
            for model in ("m", "m", "n", "n", "m"):
                with model_turn(model, provider="p"):
                    pass
        switches = [payload for kind, _, _, payload in told(published) if kind == "model_switched"]
        assert switches == [
            {"from_model": "m", "to_model": "n", "reason": None},
            {"from_model": "n", "to_model": "m", "reason": None},
        ]

    def test_that_is_answered_by_a_dated_model_does_not(self, published: Published) -> None:
        """What is asked decides: an alias may be answered by another one each day."""
        with agent_scope("a"):
            for answered in ("m-2026-01-01", "m-2026-02-02"):
                with model_turn("m") as turn:
                    turn.set_answered(answered)
        assert [kind for kind, *_ in told(published)] == ["model_selected"]
        assert [event.model for event in published("model_call")] == ["m", "m"]
        assert [event.model for event in published("model_turn")] == ["m-2026-01-01", "m-2026-02-02"]

    def test_inside_a_frameworks_turn_does_not(self, published: Published) -> None:
        """The framework's name for a model and the SDK's are one turn, and no switch."""
        with agent_scope("a"):
            for _ in range(2):
                with model_turn("openai:m", provider="framework"), model_turn("m", provider="openai"):
                    pass
        assert [(kind, model) for kind, model, _, _ in told(published)] == [("model_selected", "openai:m")]

    def test_of_another_provider_is_remembered(self, published: Published) -> None:
        """The same model served by somebody else is the same model; a switch away from it says whose."""
        with agent_scope("a") as agent:
            for provider in ("p", "q"):
                with model_turn("m", provider=provider):
                    pass
            agent.set_model("n")
        assert [(kind, provider) for kind, _, provider, _ in told(published)] == [
            ("model_selected", "p"),
            ("model_switched", None),
        ]
