"""A turn made by hand, in a replay: its program is told the answer and need not ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace.capture.context import PIPE
from agenttrace.capture.substitution import RecordedTurn
from agenttrace.errors import ReplayError
from tests.frameworks.conftest import Rows


class _Answers:
    """A substitute that has one answer, or none."""

    def __init__(self, answer: RecordedTurn | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def turn(self, operation: Any, *asked: Any) -> RecordedTurn | None:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def agent(self, operation: Any, input_json: bytes) -> None:
        pass


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    agenttrace.configure(database=tmp_path / "t.db", install=())
    yield Rows(tmp_path / "t.db")
    PIPE.substitute = None


def _answer(answers: _Answers) -> Any:
    PIPE.substitute = answers  # type: ignore[assignment]
    with agenttrace.model_turn("gpt-x", provider="openai", input=["hi"], params={"top_k": 1}) as turn:
        answer = turn.recorded or "asked"
        turn.set_output(answer)
        return answer


class TestRecorded:
    def test_is_none_while_no_replay_goes_on(self, rows: Rows) -> None:
        """The program asks, as ever; the same while tracing is off."""
        with agenttrace.model_turn("gpt-x") as turn:
            assert turn.recorded is None
        agenttrace.disable()
        with agenttrace.model_turn("gpt-x") as turn:
            assert turn.recorded is None

    def test_is_the_answer_and_what_was_said_of_it(self, rows: Rows) -> None:
        """Tokens, the model that answered and why it stopped are taken over; they count once."""
        recorded = RecordedTurn("gpt-x-1", "hello", "stop", "r-1", {"prompt_tokens": 5}, {"input_tokens": 5})
        answers = _Answers(recorded)
        assert _answer(answers) == "hello"
        assert answers.asked == [("gpt-x", "openai", ["hi"], {"top_k": 1})]
        ((model, tokens, payload),) = rows(
            "SELECT model, input_tokens, payload FROM trajectory_events WHERE kind = 'model_turn'"
        )
        assert (model, tokens) == ("gpt-x-1", 5)
        assert '"finish_reason":"stop"' in payload.replace(" ", "")

    def test_raises_what_the_turn_ended_with(self, rows: Rows) -> None:
        """The very exception, at the place of the request."""
        failure = TimeoutError("no answer")
        with pytest.raises(TimeoutError) as caught:
            _answer(_Answers(RecordedTurn("gpt-x", exception=failure, status="error")))
        assert caught.value is failure

    def test_is_none_for_a_turn_that_is_asked_anew(self, rows: Rows) -> None:
        """A replay that fills gaps lets the program ask."""
        assert _answer(_Answers(None)) == "asked"

    def test_is_refused_as_the_block_begins(self, rows: Rows) -> None:
        """Nothing of the block runs, and the turn is recorded with the refusal."""
        PIPE.substitute = _Answers(ReplayError("never recorded"))  # type: ignore[assignment]
        with pytest.raises(ReplayError, match="never recorded"), agenttrace.model_turn("gpt-x"):
            pytest.fail("the block ran")
        found = rows("SELECT status, error_type FROM trajectory_events WHERE kind = 'model_turn'")
        assert found == [("error", "ReplayError")]

    def test_asks_once(self, rows: Rows) -> None:
        """However often it is read, and however many turns are this same one."""
        answers = _Answers(RecordedTurn("gpt-x", "hello", counts={"input_tokens": 5}))
        PIPE.substitute = answers  # type: ignore[assignment]
        with agenttrace.model_turn("gpt-x") as outer:
            with agenttrace.model_turn("gpt-x") as inner:
                assert inner.recorded == inner.recorded == outer.recorded == "hello"
            assert outer.recorded == "hello"
        assert len(answers.asked) == 1
        assert rows("SELECT input_tokens FROM trajectory_events WHERE kind = 'model_turn'") == [(5,)]
