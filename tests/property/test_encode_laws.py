"""Laws of encoding: total, bounded, exact where nothing is cut, whatever is handed in."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.encode.codec import decode, decode_body, encode, encode_header
from agenttrace.encode.limits import Limits
from agenttrace.encode.normalize import normalize
from agenttrace.encode.truncate import cut_payload, truncate_utf8
from agenttrace.events import MARK
from tests.property.hostile import cook, recipes

_GENEROUS_BYTES = 8 << 20
_PATIENT = Limits(time_ms=60_000)


class _Colour(enum.Enum):
    RED = "red"
    PAIR = (1, "two")


class _Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass(frozen=True)
class _Point:
    x: Any
    y: Any


class _Text(str):
    pass


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.text(st.characters(categories=["Cs", "Ll"]), max_size=8),
    st.sampled_from([_Colour.RED, _Colour.PAIR, _Level.HIGH, _Text("text"), MARK, "$" + MARK]),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.fractions(),
    st.complex_numbers(),
)
_keys = st.one_of(
    st.text(max_size=10), st.integers(), st.none(), st.booleans(), st.sampled_from([MARK, "$" + MARK])
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner, inner),
        st.dictionaries(_keys, inner, max_size=5),
        st.builds(_Point, inner, inner),
    ),
    max_leaves=20,
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=30), st.dictionaries(st.text(max_size=20), inner, max_size=12)
    ),
    max_leaves=60,
)
_payloads = st.dictionaries(st.text(max_size=20), _json, max_size=10)


def _has_cut(value: Any) -> bool:
    if isinstance(value, dict):
        if value.get(MARK) == "unencodable" and "bytes" in value:
            return True  # its head was shortened
        return value.get(MARK) == "cut" or any(map(_has_cut, value.values()))
    return isinstance(value, list) and any(map(_has_cut, value))


class TestEncode:
    @given(recipes, st.integers(64, 20_000))
    @settings(max_examples=150, deadline=None)
    @pytest.mark.slow
    def test_gives_valid_bounded_json_for_anything(self, recipe: Any, limit_bytes: int) -> None:
        """encode is total: whatever it is given, valid JSON of at most the limit without a raw newline."""
        encoded = encode(cook(recipe), limit_bytes)
        assert len(encoded) <= limit_bytes
        assert b"\n" not in encoded
        orjson.loads(encoded)

    @given(_values)
    @settings(deadline=None)
    def test_agrees_with_normalize(self, value: Any) -> None:
        """decode(encode(x)) == normalize(x) for everything that is not cut."""
        encoded = decode(encode(value, _GENEROUS_BYTES))
        assert encoded == normalize(value, _PATIENT)

    @given(_json)
    @settings(deadline=None)
    def test_keeps_json_as_it_is(self, value: Any) -> None:
        """A JSON value without our own mark's key comes back equal."""
        if MARK.encode() not in orjson.dumps(value):
            assert decode(encode(value, _GENEROUS_BYTES)) == value

    @given(_values, st.integers(64, 600))
    @settings(deadline=None)
    def test_marks_what_it_cuts(self, value: Any, limit_bytes: int) -> None:
        """A result is either the whole or holds a mark that says that something is missing."""
        encoded = decode(encode(value, limit_bytes))
        whole = normalize(value, _PATIENT)
        assert encoded == whole or _has_cut(encoded) or encoded == {MARK: "unencodable", "type": "float"}

    @given(_values, st.integers(64, 600))
    @settings(deadline=None)
    def test_is_deterministic(self, value: Any, limit_bytes: int) -> None:
        """The same value and limit give the same bytes."""
        assert encode(value, limit_bytes) == encode(value, limit_bytes)


class TestNormalize:
    @given(recipes)
    @settings(max_examples=150, deadline=None)
    @pytest.mark.slow
    def test_is_total(self, recipe: Any) -> None:
        """normalize gives something that orjson writes, for anything."""
        orjson.dumps(normalize(cook(recipe), Limits(total_bytes=200_000, text_bytes=200_000)))

    @given(st.dictionaries(_keys, st.integers(0, 9), max_size=8))
    def test_loses_no_entry_to_equal_keys(self, value: dict[Any, int]) -> None:
        """1, "1" and True are different keys; each keeps its entry."""
        assert len(normalize(value)) == len(value)

    @given(st.lists(st.sampled_from([MARK, "$" + MARK, "$$" + MARK, "x"]), unique=True))
    def test_escapes_the_users_own_mark_keys_apart(self, keys: list[str]) -> None:
        """No key of the user's becomes a mark, and no two become the same."""
        normal = normalize(dict.fromkeys(keys, 1))
        assert MARK not in normal
        assert len(normal) == len(keys)


class TestEncodeHeader:
    @given(st.lists(_values, max_size=16))
    @settings(deadline=None)
    def test_is_one_line_for_anything(self, header: list[Any]) -> None:
        """A header never raises and never breaks the frame."""
        encoded = encode_header(header)
        assert b"\n" not in encoded
        assert len(orjson.loads(encoded)) == len(header)

    @given(
        st.lists(st.one_of(st.none(), st.text(max_size=20), st.integers(0, 2**60)), min_size=15, max_size=15)
    )
    def test_comes_back_from_the_body(self, header: list[Any]) -> None:
        """decode_body gives what encode_header and encode were given, with NUL as an escape."""
        payload = encode({"arguments": {}}, 4096)
        said = [value.replace("\0", "\\x00") if isinstance(value, str) else value for value in header]
        assert decode_body(encode_header(header) + b"\n" + payload) == (said, payload)

    @given(st.binary(max_size=60))
    def test_of_rubbish_raises_only_value_error(self, body: bytes) -> None:
        """What is no frame body is refused with ValueError."""
        try:
            header, payload = decode_body(body)
        except ValueError:
            return
        assert isinstance(header, list)
        assert payload.startswith(b"{")


class TestCutPayload:
    @given(_payloads, st.integers(256, 3000), st.sampled_from([None, "ab" * 32]))
    @settings(deadline=None)
    def test_is_valid_and_within_the_limit(
        self, payload: dict[str, Any], limit_bytes: int, sha256: str | None
    ) -> None:
        """A cut payload is a JSON object of at most the limit whose root says how long it was."""
        whole = orjson.dumps(payload)
        cut = cut_payload(whole, limit_bytes, sha256)
        assert len(cut) <= max(limit_bytes, 0)
        root = orjson.loads(cut)
        if len(whole) <= limit_bytes:
            assert cut is whole
        else:
            assert root[MARK] == "cut"
            assert root["bytes"] == len(whole)
            assert root.get("sha256") == sha256

    @given(_payloads, st.integers(0, 3000))
    @settings(deadline=None)
    def test_is_idempotent(self, payload: dict[str, Any], limit_bytes: int) -> None:
        """Cutting what was cut changes nothing."""
        cut = cut_payload(orjson.dumps(payload), limit_bytes, None)
        assert cut_payload(cut, max(limit_bytes, len(cut)), None) is cut

    @given(st.binary(max_size=100), st.integers(0, 99))
    def test_survives_rubbish(self, payload: bytes, limit_bytes: int) -> None:
        """What is no JSON becomes the bare mark, down to an empty object."""
        if len(payload) > limit_bytes:
            assert isinstance(orjson.loads(cut_payload(payload, limit_bytes, "ab" * 32)), dict)


class TestTruncateUtf8:
    @given(st.text(st.characters()), st.integers(0, 60))
    def test_keeps_the_longest_prefix_that_fits(self, text: str, limit_bytes: int) -> None:
        """The prefix fits, one character more would not, and the removed bytes add up."""
        kept, removed_bytes = truncate_utf8(text, limit_bytes)
        sizes = [len(character.encode("utf-8", "surrogatepass")) for character in text]
        assert text.startswith(kept)
        assert sum(sizes[: len(kept)]) <= limit_bytes
        assert sum(sizes[len(kept) :]) == removed_bytes
        assert not removed_bytes or sum(sizes[: len(kept) + 1]) > limit_bytes

    def test_refuses_a_negative_limit(self) -> None:
        """A negative budget is the caller's mistake."""
        with pytest.raises(ValueError, match="-1"):
            truncate_utf8("a", -1)


def test_the_law_covers_dates() -> None:
    """A guard for the strategies above: they do hold values that orjson would write in its own way."""
    assert normalize(datetime.datetime(2026, 1, 2)) == "2026-01-02T00:00:00"
