"""The bodies of a plain call: the same bytes from C, from Python, and from ``emit``."""

from __future__ import annotations

import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace import native
from agenttrace.capture import bodies
from agenttrace.events import H_DURATION_MS, H_EXTRA, H_SPAN_ID, H_STATUS, H_TOOL_NAME, H_TS_NS
from tests.ways import TWINS

_LONG = st.integers(-(2**63), 2**63 - 1)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_BODIES = {name: (in_use, in_python) for name, in_use, in_python in TWINS if name.endswith("_body")}


class TestBothWays:
    @given(_LONG, _TEXTS, _TEXTS, _TEXTS, _TEXTS, st.binary(max_size=80))
    def test_agree_on_a_call(
        self, ts_ns: int, identity: str, span: str, parent: str, name: str, arguments: bytes
    ) -> None:
        """Whatever the parts are, the bytes are the same."""
        first, second = (
            build(ts_ns, identity, span, parent, name, arguments) for build in _BODIES["tool_call_body"]
        )
        assert first == second

    @given(_LONG, _TEXTS, _TEXTS, _TEXTS, _TEXTS, _LONG, st.binary(max_size=80))
    def test_agree_on_a_result(
        self, ts_ns: int, identity: str, span: str, parent: str, name: str, took_ns: int, output: bytes
    ) -> None:
        """So they are for its end."""
        first, second = (
            build(ts_ns, identity, span, parent, name, took_ns, output)
            for build in _BODIES["tool_result_body"]
        )
        assert first == second


class TestABody:
    def test_has_the_header_s_columns(self) -> None:
        """Each part stands in its place, and the payload is an object."""
        identity, name = '"talk","lead-1","lead",null', '"look up"'
        call = bodies.tool_call_body(17, identity, "a" * 16, "b" * 16, name, b'{"q":1}')
        end = bodies.tool_result_body(20, identity, "a" * 16, "b" * 16, name, 1_500_000, b"[2]")
        for body, payload in (
            (call, {"arguments": {"q": 1}}),
            (end, {"is_error": False, "output": [2]}),
        ):
            line, _, rest = body.partition(b"\n")
            header = orjson.loads(line)
            assert len(header) == H_EXTRA + 1
            assert (header[H_SPAN_ID], header[H_TOOL_NAME]) == ("a" * 16, "look up")
            assert orjson.loads(rest) == payload
        header = orjson.loads(end.partition(b"\n")[0])
        assert (header[H_TS_NS], header[H_STATUS], header[H_DURATION_MS]) == (20, "ok", 1.5)


@pytest.mark.skipif(native.FUNCTIONS is None, reason="this installation has the Python way only")
class TestInC:
    @pytest.mark.parametrize("place", range(6))
    @pytest.mark.parametrize("wrong", [None, 1.5, object(), 2**64])
    def test_a_wrong_part_is_refused(self, place: int, wrong: Any) -> None:
        """A part of another type is an error of ours, never a wrong body."""
        parts: list[Any] = [17, "i", "s", "p", "n", b"{}"]
        parts[place] = wrong
        with pytest.raises((TypeError, OverflowError)):
            native.FUNCTIONS.tool_call_body(*parts)
        with pytest.raises(TypeError):
            native.FUNCTIONS.tool_call_body(*parts[:-1])

    def test_nothing_is_kept(self) -> None:
        """Reference counts are as before, also after a refusal."""
        parts = [10**12, "identity", "span" * 4, "parent" * 3, '"näme"', b"{}" * 9]
        before = [sys.getrefcount(part) for part in parts]
        for number in range(1000):
            native.FUNCTIONS.tool_call_body(*parts)
            native.FUNCTIONS.tool_result_body(*parts[:5], number, parts[5])
            with pytest.raises(TypeError):
                native.FUNCTIONS.tool_call_body(*parts[:5], None)
        assert [sys.getrefcount(part) for part in parts] == before

    def test_a_key_is_looked_for_without_asking_it(self) -> None:
        """Only a str among the first keys counts; other keys are neither hashed nor compared."""
        asked: list[str] = []

        class Key:
            def __hash__(self) -> int:
                asked.append("hash")
                return hash("error")

            def __eq__(self, other: object) -> bool:
                asked.append("eq")
                return True

        class Text(str):
            __slots__ = ()

        names = frozenset({"error"})
        has_key_of = native.FUNCTIONS.has_key_of
        members = {Key(): 1, Text("error"): 2, 5: 3}
        asked.clear()
        assert has_key_of(members, names, 64) is False
        assert asked == []
        assert has_key_of({"a": 1, "error": 2}, names, 2) is True
        assert has_key_of({"a": 1, "error": 2}, names, 1) is False
        assert has_key_of({}, names, 64) is False
        for wrong in (([], names, 1), ({}, {"error"}, 1), ({}, names), ({}, names, None)):
            with pytest.raises(TypeError):
                has_key_of(*wrong)
