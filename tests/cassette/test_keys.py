"""Keys that a replay lends: where there is none, for who answered, and not beyond it."""

from __future__ import annotations

import os

import pytest

from agenttrace.cassette.keys import LENT_KEY, LentKeys


class TestLentKeys:
    def test_are_there_while_the_replay_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only for providers that have answered in the recorded run."""
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
        keys = LentKeys(["openai", "openai", "groq", None])
        keys.lend()
        assert os.environ["OPENAI_API_KEY"] == LENT_KEY
        assert "ANTHROPIC_API_KEY" not in os.environ
        keys.take_back()
        assert "OPENAI_API_KEY" not in os.environ

    def test_leave_the_programs_own_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that was there stays, and so does one that the program sets meanwhile."""
        monkeypatch.setenv("OPENAI_API_KEY", "mine")
        monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
        keys = LentKeys(["openai", "anthropic"])
        keys.lend()
        monkeypatch.setenv("ANTHROPIC_API_KEY", "mine too")
        keys.take_back()
        assert (os.environ["OPENAI_API_KEY"], os.environ["ANTHROPIC_API_KEY"]) == ("mine", "mine too")
