"""When a recorded value is what a test asked for, and what is said when it is not."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from agenttrace.testing.matching import explain_mismatch, render_wanted

_DAY = datetime.date(2026, 3, 1)


class TestMatches:
    @pytest.mark.parametrize(
        ("wanted", "value"),
        [
            ("a", "a"),
            (1, 1),
            (1.5, 1.5),
            (None, None),
            (..., {"any": "thing"}),
            (str, "text"),
            (int, 3),
            (re.compile("mus.um"), "the museums"),
            ({"a": 1}, {"a": 1, "b": 2}),
            ({"a": {"b": ...}}, {"a": {"b": [1], "c": 2}}),
            ({}, {"a": 1}),
            ([1, str], [1, "x"]),
            ((1, 2), [1, 2]),
            (lambda value: value > 3, 4),
            (_DAY, "2026-03-01"),
            (b"ab", None),
        ],
    )
    def test_what_is_asked_for(self, wanted: Any, value: Any) -> None:
        """Values, ``...``, types, patterns, parts of dicts, lists, functions, and what JSON makes of them."""
        if wanted == b"ab":
            from agenttrace.encode import codec

            value = codec.loads(codec.encode(wanted, 1_000))
        assert explain_mismatch(wanted, value) is None

    @pytest.mark.parametrize(
        ("wanted", "value", "reason"),
        [
            ("a", "b", 'q: "b" instead of "a"'),
            (1, True, "q: true instead of 1"),
            (True, 1, "q: 1 instead of true"),
            (int, "3", 'q: "3" instead of a int'),
            (re.compile("x+"), "abc", "q: \"abc\" instead of a text with 'x+' in it"),
            ({"a": 1}, {"b": 1}, "q.a is not there (there is b)"),
            ({"a": {"b": 2}}, {"a": {"b": 3}}, "q.a.b: 3 instead of 2"),
            ([1], [1, 2], "q has 2 items instead of 1"),
            ([1, 2], [1, 3], "q[1]: 3 instead of 2"),
            ({"a": 1}, [1], 'q: [1] instead of {"a": 1}'),
        ],
    )
    def test_what_is_not(self, wanted: Any, value: Any, reason: str) -> None:
        """The reason names the place, what is there and what was asked for."""
        assert explain_mismatch(wanted, value, name="q") == reason

    def test_a_function_says_its_name(self) -> None:
        """And what it raised counts as no, and is told."""

        def is_long(value: str) -> bool:
            return len(value) > 3

        assert explain_mismatch(is_long, "ab", name="q") == 'q: is_long is not true of "ab"'
        assert (
            explain_mismatch(is_long, None, name="q")
            == "q: null instead of is_long (it raised TypeError: object of type 'NoneType' has no len())"
        )

    def test_hostile_values_are_shown_harmless_and_short(self) -> None:
        """Neither an escape sequence nor a megabyte gets into the message."""
        reason = explain_mismatch("a", "\x1b[31m" + "x" * 1_000_000, name="q")
        assert reason is not None
        assert "\x1b" not in reason and len(reason) < 200

    def test_a_value_nested_deep_is_compared_as_a_whole(self) -> None:
        """No recursion without an end."""
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        assert explain_mismatch(deep, deep) is None

    def test_each_form_has_a_name(self) -> None:
        """As it stands in a headline."""
        shown = [render_wanted(each) for each in (..., str, re.compile("a"), "x", 3, {"a": 1}, max)]
        assert shown == ["...", "str", "re 'a'", '"x"', "3", '{"a": 1}', "max"]
