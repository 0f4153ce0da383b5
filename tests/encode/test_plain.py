"""Which values orjson may see: the same answer in C and in Python, and in time."""

from __future__ import annotations

import enum
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.encode.plain import encode_plain, encode_plain_in_python
from agenttrace.events import MARK
from tests.property.hostile import cook, recipes
from tests.ways import WAYS

_LIMITS = st.one_of(st.integers(0, 300), st.sampled_from([-1, 2**31, 2**70, -(2**70)]))
_DEPTHS = st.one_of(st.integers(-1, 6), st.sampled_from([64, 250, 300, 2**70]))


class _Text(str):
    pass


class _Count(int):
    pass


class _Ratio(float):
    pass


class _Pairs(dict):  # type: ignore[type-arg]
    pass


class _Row(list):  # type: ignore[type-arg]
    pass


class _Level(enum.IntEnum):
    HIGH = 3


class _Raising(enum.Enum):
    ONE = 1

    @property
    def value(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no value")


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(
        [
            _Text("x"),
            _Count(1),
            _Ratio(1.5),
            _Pairs(),
            _Row(),
            _Level.HIGH,
            _Raising.ONE,
            b"bytes",
            {1},
            "\ud800",
            MARK,
            "$agent",
            "$" * 40,
            2**63,
            2**64 - 1,
            2**64,
            -(2**63) - 1,
            float("nan"),
            float("-inf"),
            1e308,
            object(),
            orjson.Fragment(b"{"),
            int,
        ]
    ),
)
_keys = st.one_of(st.text(max_size=8), st.sampled_from([MARK, "$" + MARK, _Text("k"), 1, None, "\ud800"]))
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(_keys, inner, max_size=5),
    ),
    max_leaves=30,
)


@pytest.fixture(params=WAYS)
def encode(request: pytest.FixtureRequest) -> Any:
    """Either way of asking."""
    return encode_plain if request.param == "native" else encode_plain_in_python


class TestBothWays:
    @given(_values, _LIMITS, _DEPTHS)
    def test_agree(self, value: Any, limit_bytes: int, depth: int) -> None:
        """C and Python give the same bytes, or both None, for any value, limit and depth."""
        depth = min(depth, 300)
        assert encode_plain(value, limit_bytes, depth) == encode_plain_in_python(value, limit_bytes, depth)

    @given(recipes)
    def test_agree_on_hostile_values(self, recipe: Any) -> None:
        """So they do for values made to do harm; each has its own copy, as looking may use one up."""
        ways = [way(cook(recipe), 4096, 64) for way in (encode_plain, encode_plain_in_python)]
        assert ways[0] == ways[1]


class TestLimits:
    def test_bound_the_time_of_shared_lists(self, encode: Any) -> None:
        """A list that holds one list twice, forty levels deep, is given up at once."""
        value: list[Any] = ["x"]
        for _ in range(40):
            value = [value, value]
        assert encode(value, 262_144, 64) is None

    def test_end_a_cycle(self, encode: Any) -> None:
        """A container within itself is too deep."""
        ring: list[Any] = []
        ring.append(ring)
        table: dict[str, Any] = {}
        table["me"] = {"deeper": table}
        assert encode(ring, 4096, 64) is None
        assert encode(table, 4096, 64) is None

    def test_end_ten_thousand_levels(self, encode: Any) -> None:
        """Depth costs no more stack than the limit allows."""
        value: Any = 1
        for _ in range(10_000):
            value = [value]
        assert encode(value, 262_144, 250) is None

    def test_hold_at_the_last_byte(self, encode: Any) -> None:
        """JSON of exactly the limit is given, one byte more is not."""
        assert encode("xx", 4, 1) == b'"xx"'
        assert encode("xxx", 4, 1) is None
        assert encode({"a": [1, 2]}, 11, 2) == b'{"a":[1,2]}'
        assert encode({"a": [1, 2]}, 10, 2) is None
        assert encode({"a": [1, 2]}, 11, 1) is None


class TestNothing:
    def test_of_the_value_s_own_runs(self, encode: Any) -> None:
        """A subclass is refused by its type, without a call to it."""
        called: list[str] = []

        class Spy(dict):  # type: ignore[type-arg]
            def __len__(self) -> int:
                called.append("len")
                return 0

            def values(self) -> Any:
                called.append("values")
                return ()

        for value in (Spy(), [Spy()], {"a": (Spy(),)}):
            assert encode(value, 4096, 64) is None
        assert called == []

    def test_is_kept(self, encode: Any) -> None:
        """Reference counts are as before, whatever the answer was."""
        item = ["only here"]
        refused = object()
        for value in ([item] * 3, {"a": item, "b": [refused]}, [item, float("nan")], [item, "\ud800"]):
            before = [sys.getrefcount(held) for held in (item, refused, value, None)]
            for _ in range(1000):
                encode(value, 4096, 64)
            after = [sys.getrefcount(held) for held in (item, refused, value, None)]
            assert after[:3] == before[:3]
            assert abs(after[3] - before[3]) < 100

    def test_but_an_exception_of_the_user_s_leaves(
        self, encode: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """KeyboardInterrupt out of orjson is not taken for a value that it refuses."""

        def interrupted(value: Any) -> bytes:
            raise KeyboardInterrupt

        if encode is encode_plain_in_python:
            monkeypatch.setattr("agenttrace.encode.plain._dumps", interrupted)
        else:
            encode = lambda *asked: encode_plain.func(interrupted, *asked)  # type: ignore[attr-defined]
        with pytest.raises(KeyboardInterrupt):
            encode([1], 100, 2)
