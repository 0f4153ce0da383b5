"""Span ids: the same in C and in Python, and never twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace import native
from agenttrace.capture.span_ids import span_id, span_id_in_python

_NUMBERS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 2**32 - 1, 2**32, 2**36 - 1, 2**64 - 1]))


class TestSpanId:
    @given(st.text(st.characters(max_codepoint=127), max_size=12), _NUMBERS)
    def test_is_the_same_both_ways(self, prefix: str, number: int) -> None:
        """The prefix as it is, and the number in at least eight digits."""
        assert span_id(prefix, number) == span_id_in_python(prefix, number) == "%s%08x" % (prefix, number)  # noqa: UP031

    def test_has_sixteen_digits(self) -> None:
        """As W3C has them, up to four billion operations of a process."""
        assert span_id("0123abcd", 1) == "0123abcd00000001"
        assert span_id("0123abcd", 2**32 - 1) == "0123abcdffffffff"
        assert span_id("0123abcd", 2**32) == "0123abcd100000000"


@pytest.mark.skipif(native.FUNCTIONS is None, reason="this installation has the Python way only")
class TestInC:
    @pytest.mark.parametrize(
        "wrong",
        [(), ("a",), ("a", 1, 2), (b"a", 1), ("ä", 1), ("a", "1"), ("a", -1), ("a", 2**64), (None, 1)],
    )
    def test_refuses_other_parts(self, wrong: Any) -> None:
        """An error of ours, never a wrong id."""
        with pytest.raises((TypeError, OverflowError)):
            native.FUNCTIONS.span_id(*wrong)
