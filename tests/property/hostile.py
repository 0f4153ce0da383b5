"""Values that models and web pages could hand to a tool, and worse."""

from __future__ import annotations

import datetime
import decimal
import enum
import io
import threading
import uuid
from collections import OrderedDict, defaultdict, deque
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any

from hypothesis import strategies as st

__all__ = ["cook", "recipes"]


class RaisingEverything:
    """Raises from every special method that a recorder could call."""

    def _raise(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("do not look at me")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = _raise  # type: ignore[assignment]
    __getattr__ = __contains__ = __getitem__ = __reduce__ = __format__ = _raise


class LyingClass:
    """Says that it is something else."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no class")


class EndlessIterator:
    def __iter__(self) -> Any:
        return self

    def __next__(self) -> int:
        return 1

    def __len__(self) -> int:
        return 1 << 62


class EndlessMapping(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return EndlessIterator()

    def keys(self) -> Any:
        return EndlessIterator()


class HostileStr(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def encode(self, *args: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError("no bytes")

    def __getitem__(self, key: Any) -> str:
        raise RuntimeError("no slice")


class HostileInt(int):
    def __repr__(self) -> str:
        raise RuntimeError("no digits")

    __str__ = __repr__


class RaisingEnum(enum.Enum):
    ONE = 1

    @property
    def value(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no value")


class HugeRepr:
    def __repr__(self) -> str:
        return "x" * 50_000_000


def _cycle() -> Any:
    items: list[Any] = [1]
    items.append({"again": items})
    return items


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _wide() -> Any:
    return {f"key {number}": [number] * 3 for number in range(20_000)}


_MAKERS = (
    RaisingEverything,
    LyingClass,
    EndlessIterator,
    lambda: EndlessMapping(a=1),
    lambda: HostileStr("text"),
    lambda: HostileInt(5),
    lambda: RaisingEnum.ONE,
    HugeRepr,
    _cycle,
    lambda: _deep(10_000),
    _wide,
    lambda: "s" * 10_000_000,
    lambda: b"\xff" * 5_000_000,
    lambda: list(range(300_000)),
    lambda: 2**70,
    lambda: -(10**6000),
    lambda: float("nan"),
    lambda: float("-inf"),
    lambda: complex(1, 2),
    lambda: "\ud800 lone",
    lambda: "nul \x00 byte",
    lambda: "\u2028 \x1b[31m \r\n",
    lambda: {(1, 2): 3, None: 4, 5: 6, "5": 7, b"k": 8},
    lambda: {1, 2, "three", (4,)},
    lambda: frozenset([frozenset([1])]),
    lambda: deque([1, 2], maxlen=3),
    lambda: defaultdict(list, a=[1]),
    lambda: OrderedDict(b=1, a=2),
    lambda: MappingProxyType({"a": 1}),
    lambda: range(10**12),
    lambda: (number for number in range(3)),
    lambda: threading.Lock(),
    lambda: io.BytesIO(b"x"),
    lambda: lambda: 1,
    lambda: type("Made", (), {}),
    lambda: threading,
    lambda: object(),
    lambda: memoryview(b"abc"),
    lambda: bytearray(b"abc"),
    lambda: datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    lambda: datetime.timedelta.max,
    lambda: decimal.Decimal("NaN"),
    lambda: uuid.UUID(int=5),
    lambda: PurePosixPath("/a/b"),
    lambda: SimpleNamespace(a=1, self_=RaisingEverything()),
    lambda: ValueError(RaisingEverything()),
    lambda: {"$agenttrace": "cut", "sha256": "no"},
    lambda: Ellipsis,
    lambda: NotImplemented,
)

_single = st.integers(0, len(_MAKERS) - 1).map(lambda index: ("make", index))
_plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=50), st.binary(max_size=50)
).map(lambda value: ("is", value))

recipes = st.recursive(
    st.one_of(_single, _plain),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: ("list", parts)),
        st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inner, max_size=4).map(
            lambda parts: ("dict", parts)
        ),
        st.tuples(inner, inner).map(lambda parts: ("tuple", parts)),
    ),
    max_leaves=6,
)
"""How to make a hostile thing, alone or inside ordinary containers; hypothesis itself looks at values."""


def cook(recipe: tuple[str, Any]) -> Any:
    """Make what *recipe* says."""
    kind, part = recipe
    if kind == "make":
        return _MAKERS[part]()
    if kind == "list":
        return [cook(inner) for inner in part]
    if kind == "tuple":
        return tuple(cook(inner) for inner in part)
    if kind == "dict":
        return {key: cook(inner) for key, inner in part.items()}
    return part
