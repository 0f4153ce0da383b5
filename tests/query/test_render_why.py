"""A verdict fits a terminal, whatever stands in the rows."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from agenttrace.query.diagnose import Diagnosis, Link
from agenttrace.query.findings import KINDS, Finding
from agenttrace.query.lines import ASCII, UNICODE, line_width, render_plain
from agenttrace.query.render_why import LINES_LIMIT_COUNT, render_why
from agenttrace.query.text import cell_width

_TEXTS = {
    "plain": "search",
    "long": "a_tool_with_a_name_that_goes_on_and_on_" * 12,
    "words": "the quick brown fox " * 60,
    "wide": "東京の検索ツール" * 30,
    "combining": "e\u0301" * 200,
    "emoji": "🧨" * 90,
    "hostile": "\x1b[2J\x1b]0;gone\x07\r\n\u202etxt\u2066\x00\x9b31m" * 20,
    "empty": "",
    "quoted": 'it\'s "so" $(touch /tmp/x) `id` \\',
}


def build_finding(text: str, number: int = 0) -> Finding:
    """Build one of which every text is *text*."""
    kind = list(KINDS)[number % len(KINDS)]
    return Finding(
        kind=kind,
        confidence=0.9,
        sentence=f"{text} failed with {text}: {text}",
        agent=text,
        span_id="1" * 16,
        error_id="e",
        rows=(10**12 + number, 2),
        raised_at=f"/home/{text}/agent.py:1234",
        handled_at=f"/home/{text}/other.py:17",
        fate="swallowed",
        ts_ns=number,
        is_told=False,
    )


def build(text: str, findings: int) -> Diagnosis:
    """Build a diagnosis of which every text is *text*."""
    return Diagnosis(
        conversation_id=text or "x",
        task=text,
        status="completed",
        verdict="completed, but not all is well: " + KINDS["truncated"],
        findings=tuple(build_finding(text, number) for number in range(findings)),
        chain=tuple(Link(text, "error", 1) for _ in range(30)) if findings else (),
        lost_events=1_234_567,
        row_id=1,
    )


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("findings", [0, 1, 2, 40])
@pytest.mark.parametrize("name", _TEXTS)
class TestAnyText:
    def test_fits(self, name: str, findings: int, glyphs: object) -> None:
        """At most twelve lines of 80 cells; only a place and a command may be wider, and count for more."""
        text = _TEXTS[name]
        diagnosis = build(text, findings)
        if findings == 0:  # its id is part of the command
            diagnosis = replace(diagnosis, conversation_id="x")
        lines = render_why(diagnosis, 80, glyphs)  # type: ignore[arg-type]
        height = sum(max(1, -(-line_width(line) // 80)) for line in lines)
        assert height <= LINES_LIMIT_COUNT, render_plain(lines)
        for line in lines:
            label = line[0].text.strip()
            if label not in ("caught", "raised", "proof"):
                assert line_width(line) <= 80, line

    def test_is_only_shown(self, name: str, findings: int, glyphs: object) -> None:
        """Nothing in it moves the cursor, colours, or turns the direction of text round."""
        lines = render_why(build(_TEXTS[name], findings), 80, glyphs)  # type: ignore[arg-type]
        shown = render_plain(lines)
        hostile = {"\x1b", "\x07", "\r", "\x00", "\x9b", "\u202e", "\u2066"}
        assert not hostile & set(shown)
        assert cell_width(shown) >= 0


class TestPlaces:
    def test_long_path(self) -> None:
        """A place is not cut, because it is clicked; what says less gives way to it."""
        finding = replace(build_finding("x"), handled_at=f"/{'d' * 400}/agent.py:7", raised_at=None)
        lines = render_why(replace(build("x", 20), findings=(finding,) * 20), 80)
        shown = render_plain(lines)
        assert f"/{'d' * 400}/agent.py:7" in shown
        assert sum(max(1, -(-line_width(line) // 80)) for line in lines) <= LINES_LIMIT_COUNT

    def test_longer_than_all_the_room(self) -> None:
        """Then its end is kept, which has the file and the line."""
        finding = replace(build_finding("x"), handled_at=f"/{'d' * 4000}/agent.py:7")
        lines = render_why(replace(build("x", 20), findings=(finding,) * 20), 80)
        assert "d/agent.py:7\n" in render_plain(lines)
        assert sum(max(1, -(-line_width(line) // 80)) for line in lines) <= LINES_LIMIT_COUNT

    def test_that_nobody_saw(self) -> None:
        """Where the line that swallowed an error is not known, that is said, and why."""
        finding = replace(build_finding("x"), kind="swallowed_error", handled_at=None)
        shown = render_plain(render_why(replace(build("x", 1), findings=(finding,)), 80))
        assert "caught  the line is not known: that takes Python 3.12 or later\n" in shown


class TestProofOfAGoodRun:
    @pytest.mark.parametrize("name", ["two words", "it's", "-rf", "$(id)", "a;b", "東京"])
    def test_can_be_typed(self, name: str) -> None:
        """An id is quoted as a shell wants it."""
        diagnosis = replace(build("x", 0), conversation_id=name)
        command = render_plain(render_why(diagnosis, 80)).rpartition("agenttrace show ")[2].strip()
        words = shlex.split(command)
        assert words[-1] == name
        assert words[:-1] == (["--"] if name.startswith("-") else [])

    def test_that_cannot_be_typed(self) -> None:
        """One with control characters is shown by its first row."""
        diagnosis = replace(build("x", 0), conversation_id="\x1b[2J")
        assert render_plain(render_why(diagnosis, 80)).strip().endswith("agenttrace show --event 1")
