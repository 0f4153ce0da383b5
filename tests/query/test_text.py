"""Words for people: nothing hostile passes, nothing is wider than asked."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.query.text import (
    cell_width,
    fit,
    preview,
    preview_arguments,
    render_age,
    render_bytes,
    render_clock,
    render_duration,
    render_short_count,
    sanitize,
    sanitize_block,
)

__all__: list[str] = []

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class TestSanitize:
    @given(st.text())
    def test_leaves_no_character_that_a_terminal_obeys(self, text: str) -> None:
        """No control character, bidirectional override or lone surrogate is left."""
        for char in sanitize(text):
            assert unicodedata.category(char) not in ("Cc", "Cs")
            assert not "\u202a" <= char <= "\u202e"
            assert not "\u2066" <= char <= "\u2069"

    @given(st.text(st.characters(categories=("L", "N", "P", "Zs"))))
    def test_leaves_innocent_text_alone(self, text: str) -> None:
        """Letters, digits and punctuation of any script come through unchanged."""
        assert sanitize(text) == text

    def test_shows_what_it_replaced(self) -> None:
        """What was taken out stays visible, as people write it."""
        assert sanitize("\x1b[31mred\n\u202e") == "\\x1b[31mred\\n\\u202e"

    def test_keeps_lines_where_lines_are_wanted(self) -> None:
        """A block keeps newlines and tabs, and nothing else that moves the cursor."""
        assert sanitize_block("a\n\tb\r\x1b[2J") == "a\n\tb\\r\\x1b[2J"


class TestFit:
    @given(st.text(), st.integers(-1, 30))
    def test_never_exceeds_the_width(self, text: str, width: int) -> None:
        """What is given is at most as wide as asked, in cells and not in characters."""
        assert cell_width(fit(text, width)) <= max(width, 0)

    def test_counts_wide_and_combining_characters(self) -> None:
        """A Chinese character takes two cells, a combining accent none."""
        assert cell_width("漢字") == 4
        assert cell_width("e\u0301") == 1
        assert fit("漢字漢字", 5) == "漢字…"


class TestPreview:
    @given(json_values, st.integers(0, 60))
    def test_is_one_safe_line_of_the_width(self, value: object, width: int) -> None:
        """Any JSON value becomes one line that fits."""
        text = preview(value, width)
        assert cell_width(text) <= width
        assert text == sanitize(text)

    @given(json_values, st.integers(0, 60))
    def test_of_arguments_is_one_safe_line_of_the_width(self, value: object, width: int) -> None:
        """Arguments of any form become one line that fits."""
        text = preview_arguments(value, width)
        assert cell_width(text) <= width
        assert text == sanitize(text)

    def test_keeps_the_end_of_a_path(self) -> None:
        """Of a long path the file's name is what tells."""
        assert preview("/usr/lib/python3.11/json/decoder.py", 16) == '"…on/decoder.py"'

    def test_shortens_the_longest_first(self) -> None:
        """Every argument keeps its name as long as that is possible."""
        text = preview_arguments({"path": "a" * 100, "limit": 3}, 30)
        assert text.startswith('path="aaa')
        assert text.endswith("limit=3")

    @pytest.mark.parametrize(
        ("mark", "shown"),
        [
            ({"$agenttrace": "redacted", "rule": "password"}, "<redacted password>"),
            ({"$agenttrace": "unencodable", "type": "Socket"}, "<unencodable Socket>"),
            ({"$agenttrace": "cut", "bytes": 9000, "head": "abc"}, '"abc"'),
            ({"$agenttrace": "cycle"}, "<cycle>"),
        ],
    )
    def test_says_what_a_mark_stands_for(self, mark: dict[str, object], shown: str) -> None:
        """A value that was not stored as it was is told from one that was."""
        assert preview(mark, 40) == shown

    def test_shows_the_arguments_of_a_cut_object(self) -> None:
        """An object that lost some keys still shows those it kept."""
        cut = {"path": "a.py", "$agenttrace": "cut", "bytes": 5000}
        assert preview_arguments(cut, 40) == 'path="a.py"'

    def test_survives_depth(self) -> None:
        """A payload nested deeper than the interpreter's stack is shown by its size."""
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        assert preview(deep, 20) == "[…1]"


class TestNumbers:
    @pytest.mark.parametrize(
        ("duration_ms", "text"),
        [
            (None, "?"),
            (0, "0 ms"),
            (0.01, "<0.1 ms"),
            (0.42, "0.4 ms"),
            (12.4, "12 ms"),
            (949.4, "949 ms"),
            (950, "0.9 s"),
            (2100, "2.1 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min 00 s"),
            (185_000, "3 min 05 s"),
            (7_800_000, "2 h 10 min"),
            (3 * 86_400_000, "3 days"),
            (-12, "-12 ms"),
        ],
    )
    def test_carry_their_unit(self, duration_ms: float | None, text: str) -> None:
        """A duration is readable at every size, and never rounds up to the next unit's 60."""
        assert render_duration(duration_ms) == text

    def test_show_sizes_in_binary_units(self) -> None:
        """1024 bytes are one KiB."""
        assert [render_bytes(size) for size in (5, 1024, 3 * 1024**2, 5 * 1024**4)] == [
            "5 B",
            "1.0 KiB",
            "3.0 MiB",
            "5120.0 GiB",
        ]

    @given(st.integers())
    def test_give_a_clock_for_any_integer(self, ts_ms: int) -> None:
        """Whatever stands in ``ts_ms``, a time of day comes out."""
        assert len(render_clock(ts_ms)) == 12


class TestShortCount:
    @given(st.integers(0, 10**14))
    def test_is_at_most_five_characters(self, count: int) -> None:
        """However many, a column of five is enough."""
        assert len(render_short_count(count)) <= 5

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0"),
            (999, "999"),
            (1337, "1.3k"),
            (9949, "9.9k"),
            (9950, "10k"),
            (41_000_000, "41M"),
            (10**12, "1T"),
        ],
    )
    def test_keeps_two_digits(self, count: int, text: str) -> None:
        """Two digits and the unit."""
        assert render_short_count(count) == text


class TestAge:
    @pytest.mark.parametrize(
        ("age_ms", "text"),
        [
            (-5, "now"),
            (999, "now"),
            (42_000, "42 s"),
            (119_000, "1 min"),
            (3_600_000, "1 h"),
            (47 * 3_600_000, "47 h"),
            (48 * 3_600_000, "2 d"),
            (400 * 86_400_000, "1 y"),
        ],
    )
    def test_is_one_number(self, age_ms: int, text: str) -> None:
        """How long ago, in the unit that people would use; a clock that is ahead is now."""
        assert render_age(age_ms) == text
