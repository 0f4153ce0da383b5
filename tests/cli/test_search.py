"""``agenttrace search`` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


class TestSearch:
    """S1.11, S1.16."""

    def test_shows_what_fits(self, database: Path, invoke: Invoke) -> None:
        """Each hit as the timeline has it, under its conversation, within the width of the terminal."""
        done = invoke("search", "tool_call")
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith("conversation ")
        assert "#" in done.stdout and max(map(len, done.stdout.splitlines())) <= 80

    def test_as_json(self, database: Path, invoke: Invoke) -> None:
        """Programs get the events whole, with score and snippet."""
        hits = json.loads(invoke("search", "tool_call", "-n", "2", "--json").stdout)["hits"]
        assert 1 <= len(hits) <= 2
        assert {"event", "score", "snippet"} <= hits[0].keys()

    def test_keeps_to_options(self, database: Path, invoke: Invoke) -> None:
        """Kind, time and conversation."""
        done = invoke("search", "tool*", "--kind", "tool_call", "--in", "last", "--json")
        hits = json.loads(done.stdout)["hits"]
        assert hits and {hit["event"]["kind"] for hit in hits} == {"tool_call"}
        assert "nothing fits" in invoke("search", "tool_call", "--until", "900d").stderr

    @pytest.mark.parametrize("query", ["()", "AND", "*"])
    def test_needs_a_word(self, query: str, database: Path, invoke: Invoke) -> None:
        """What cannot be searched for is named, with exit code 2."""
        done = invoke("search", query)
        assert done.exit_code == 2 and "give a word" in done.output
