"""Search by words: what people type, what is found, and the words around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.errors import ConfigError, NotFound
from agenttrace.query.find import build_match, build_snippet, split_match
from agenttrace.query.viewer import TraceViewer
from agenttrace.store import fulltext


class TestMatch:
    """What a person types becomes a query that means the same, or a clear refusal."""

    @pytest.mark.parametrize(
        ("query", "match"),
        [
            ("apples pears", '"apples" "pears"'),
            ('"two words"', '"two words"'),
            ("time*", '"time"*'),
            ('"did not ans"*', '"did not ans"*'),
            ("a OR b", '"a" OR "b"'),
            ("(a OR b) NOT c", '( "a" OR "b" ) NOT "c"'),
            ("don't", '"don\'t"'),
            ("src/a_b.py:12", '"src/a_b.py:12"'),
            ("text:x", '"text:x"'),
            ("AND a", '"a"'),
            ("a OR", '"a"'),
            ("and", '"and"'),
            ("a AND NOT b", '"a" NOT "b"'),
            ("NEAR(a b)", '"NEAR" ( "a" "b" )'),
        ],
    )
    def test_is_built(self, query: str, match: str) -> None:
        """Only quotes, stars, parentheses and the three words in capitals mean anything."""
        assert build_match(query) == match

    def test_is_taken_apart_into_words(self) -> None:
        """Each is counted by itself, so that one that stands everywhere is known."""
        assert split_match(build_match('a "b c" OR (tim* NOT d"e)')) == [
            '"a"',
            '"b c"',
            '"tim"*',
            '"d"',
            '"e"',
        ]

    @pytest.mark.parametrize("query", ["", "   ", "()", "* -", '""', "AND OR"])
    def test_needs_a_word(self, query: str) -> None:
        """The error says so."""
        with pytest.raises(ConfigError, match="give a word"):
            build_match(query)

    @given(st.text(max_size=60))
    def test_never_fails_otherwise(self, query: str) -> None:
        """Whatever is typed makes a query, or is refused as one without a word."""
        try:
            assert build_match(query)
        except ConfigError as exc:
            assert "give a word" in str(exc)


class TestSnippet:
    """The words around the first that was found."""

    @pytest.mark.parametrize(
        ("payload", "query", "snippet"),
        [
            ('{"text":"the index did not answer"}', "answer", "the index did not answer"),
            ('{"a":1,"b":{"c":["x","needle here"]}}', "needle", "needle here"),
            ('{"needle":"x"}', "needle", "needle"),
            ('{"text":"Café am See"}', "cafe", "Café am See"),
            ('{"text":"one\\n\\ntwo"}', '"one two"', "one two"),
            ('{"text":"timeouts"}', "time*", "timeouts"),
            ('{"text":"timeouts"}', "time", ""),
            ('{"text":"apples"}', "NOT apples", ""),
            ("no json: needle", "needle", "no json: needle"),
            ('{"n":12345}', "12345", "12345"),
        ],
    )
    def test_is_cut_out(self, payload: str, query: str, snippet: str) -> None:
        """In one line, of a value or a name, whatever the case and accents."""
        assert build_snippet(payload, query) == snippet

    def test_says_what_it_leaves_out(self) -> None:
        """An ellipsis stands where a long text goes on."""
        snippet = build_snippet('{"text":"' + "x " * 500 + "needle " + "y " * 500 + '"}', "needle")
        assert snippet.startswith("…") and snippet.endswith("…") and "needle" in snippet
        assert len(snippet) < 200

    @given(st.text(max_size=80), st.text(max_size=20))
    def test_never_fails(self, payload: str, query: str) -> None:
        """Payloads and queries are anybody's."""
        assert "\n" not in build_snippet(payload, query)


class TestFind:
    """``TraceViewer.find``."""

    def test_ranks_and_limits(self, audited: TraceViewer) -> None:
        """The best comes first, and no more than asked for."""
        hits = audited.find("SyntaxError", limit=3)
        assert hits and len(hits) <= 3
        assert [hit.score for hit in hits] == sorted(hit.score for hit in hits)
        assert any("invalid syntax" in hit.event.payload_json for hit in hits)

    def test_gives_the_newest_where_too_much_fits(
        self, audited: TraceViewer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A word that stands in most events tells nothing, and ranking by it would read them all."""
        monkeypatch.setattr(fulltext, "_RANKED_LIMIT_COUNT", 3)
        hits = audited.find("read_file", limit=4)
        rows = [hit.event.id for hit in hits]
        assert len(rows) == 4 and rows == sorted(rows, reverse=True)
        assert {hit.score for hit in hits} == {0.0}
        assert [hit.event.id for hit in audited.find("read_file", limit=9)][:4] == rows
        assert all(hit.score < 0 for hit in audited.find("invalid"))

    @pytest.mark.parametrize("common_count", [0, 1_000_000])
    def test_looks_only_into_the_conversation(
        self, audited: TraceViewer, monkeypatch: pytest.MonkeyPatch, common_count: int
    ) -> None:
        """Ranked or not, what is found in one conversation is what is found in all, less the others."""
        monkeypatch.setattr(fulltext, "_RANKED_LIMIT_COUNT", common_count)
        everywhere = audited.find("read_file", limit=1000)
        assert everywhere
        for conversation in audited.conversations().items:
            found = audited.find("read_file", conversation.conversation_id, limit=1000)
            expected = {
                hit.event.id
                for hit in everywhere
                if hit.event.conversation_id == conversation.conversation_id
            }
            assert {hit.event.id for hit in found} == expected

    def test_filters(self, audited: TraceViewer) -> None:
        """By agent, tool, kind, status and time."""
        assert {hit.event.agent_name for hit in audited.find("module*", agent_id="reader")} == {"reader"}
        assert {hit.event.tool_name for hit in audited.find("read_file", tool_name="read_file")} == {
            "read_file"
        }
        assert {hit.event.kind for hit in audited.find("read_file", kinds=["tool_call"])} == {"tool_call"}
        failed = audited.find("syntax", status="error")
        assert failed and all(hit.event.status == "error" or hit.event.kind == "error" for hit in failed)
        assert audited.find("syntax", until=0) == ()

    def test_of_no_conversation_is_refused(self, audited: TraceViewer) -> None:
        """As everywhere."""
        with pytest.raises(NotFound):
            audited.find("syntax", "nothing")
        with pytest.raises(ConfigError, match="1 to 1000"):
            audited.find("syntax", limit=0)
