"""Results as the values that a tool's annotation promises."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import pytest

from agenttrace import agent_scope, replay, traced_tool
from agenttrace.cassette.values import promise_of, rebuild
from agenttrace.encode import codec
from tests.cassette.recording import EXECUTED, executed, record


class Colour(enum.Enum):
    """A plain enum."""

    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    """An enum of numbers."""

    LOW = 1


@dataclasses.dataclass
class Point:
    """A dataclass with a field that its constructor does not take."""

    x: int
    at: datetime.datetime
    tags: frozenset[str] = frozenset()
    size: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(frozen=True)
class Line:
    """One that holds others."""

    points: list[Point]
    name: str | None = None


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: Point


class Movie(TypedDict, total=False):
    """A typed dict."""

    title: str
    seen: datetime.date


UserId = NewType("UserId", int)
NOW = datetime.datetime(2026, 11, 21, 10, 30, 1, 5, tzinfo=datetime.UTC)
POINT = Point(1, NOW, frozenset({"a"}))

CASES: list[tuple[Any, Any]] = [
    (5, int),
    (1.5, float),
    ("x", str),
    (None, int | None),
    (3, int | None),
    ("3", int | str),
    (b"raw \xff\x00bytes", bytes),
    (b"text bytes", bytes),
    (b"", bytes),
    (bytearray(b"abc"), bytearray),
    (NOW, datetime.datetime),
    (NOW.date(), datetime.date),
    (NOW.time(), datetime.time),
    (datetime.timedelta(seconds=1.5), datetime.timedelta),
    (decimal.Decimal("1.10"), decimal.Decimal),
    (uuid.UUID(int=7), uuid.UUID),
    (pathlib.PurePosixPath("/a/b"), pathlib.PurePosixPath),
    (pathlib.Path("/a/b"), pathlib.Path),
    (Colour.RED, Colour),
    (Colour.PAIR, Colour),
    (Level.LOW, Level),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ((1, 2), tuple),
    ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    (deque([1, 2]), deque[int]),
    (POINT, Point),
    (Line([POINT, POINT], "l"), Line),
    (Pair(1, POINT), Pair),
    ({"title": "M", "seen": NOW.date()}, Movie),
    ([POINT], list[Point]),
    ([POINT], Sequence[Point]),
    ({"p": POINT}, dict[str, Point]),
    ({1: "a"}, dict[int, str]),
    ({"p": [POINT, None]}, Mapping[str, list[Point | None]]),
    (OrderedDict(a=1), OrderedDict[str, int]),
    (UserId(3), UserId),
    ("a", Literal["a", "b"]),
    (POINT, Annotated[Point, "noted"]),
    (POINT, Point | None),
    ([Pair(1, POINT)], list[Pair | Point]),
    (float("inf"), float),
    (2**70, int),
    (2**70, Any),
    (float("-inf"), Any),
    (b"\x00\x01", Any),
    ({"$agenttrace": "mine", "$$agenttrace": 2}, Any),
    ({"$agenttrace": "mine"}, dict[str, str]),
    (1 + 2j, complex),
]


class TestRebuild:
    """Makes of recorded data the value that was recorded."""

    @pytest.mark.parametrize(("value", "annotation"), CASES, ids=lambda each: repr(each)[:40])
    def test_gives_an_equal_value_of_the_same_class(self, value: Any, annotation: Any) -> None:
        """What was encoded and decoded is rebuilt, without a note."""
        data = codec.loads(codec.encode(value, 100_000))
        notes: list[str] = []
        made = rebuild(data, annotation, notes.append)
        assert made == value and type(made) is type(value) and notes == []

    def test_makes_pydantic_models(self) -> None:
        """A model is validated from its data, nested ones too."""
        pydantic = pytest.importorskip("pydantic")

        class Inner(pydantic.BaseModel):  # type: ignore[name-defined, misc]
            when: datetime.datetime

        class Outer(pydantic.BaseModel):  # type: ignore[name-defined, misc]
            inner: Inner
            numbers: tuple[int, ...] = ()

        value = Outer(inner=Inner(when=NOW), numbers=(1, 2))
        data = codec.loads(codec.encode(value, 100_000))
        notes: list[str] = []
        assert rebuild(data, Outer, notes.append) == value and notes == []
        assert rebuild([data], list[Outer], notes.append) == [value] and notes == []

    @pytest.mark.parametrize(
        ("data", "annotation"),
        [("x", int), ([1], dict[str, int]), ({"y": 1}, Point), ("nothing", Colour), ({"a": 1}, object)],
    )
    def test_gives_the_data_where_it_does_not_fit(self, data: Any, annotation: Any) -> None:
        """What the annotation does not describe comes back as data, and is named."""
        notes: list[str] = []
        assert rebuild(data, annotation, notes.append) == data
        assert len(notes) == (annotation is not object)

    def test_names_what_it_cannot_make(self) -> None:
        """An object of an unknown class is given as its mark, and named."""

        class Session:
            def __init__(self) -> None:
                self.host = "h"

        data = codec.loads(codec.encode({"session": Session()}, 10_000))
        notes: list[str] = []
        assert rebuild(data, Any, notes.append) == data
        assert len(notes) == 1 and "Session" in notes[0]


class TestPromiseOf:
    """Reads what a tool is annotated to give."""

    def test_reads_results_and_items(self) -> None:
        """Of generators the items; of methods, partials and coroutines the result; else anything."""

        def stream() -> Iterator[Point]:
            yield POINT

        async def astream() -> AsyncIterator[int]:
            yield 1

        async def one() -> Point:
            return POINT

        def unknown() -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
            return 1

        assert promise_of(stream) == (Any, Point, None)
        assert promise_of(astream) == (Any, int, None)
        assert promise_of(one) == (Point, Any, None)

        @dataclasses.dataclass
        class Local:
            x: int

        def local(_: Nowhere) -> Local:  # type: ignore[name-defined]  # noqa: F821
            return Local(1)

        assert promise_of(local).result is Local
        assert promise_of(len)[:2] == promise_of(unknown)[:2] == (Any, Any)
        assert "Nowhere" in str(promise_of(unknown).problem)


def test_a_replayed_tool_gives_such_values() -> None:
    """Attributes and methods of a result work in the replayed program."""

    @traced_tool
    def locate() -> Point:
        executed("locate")
        return POINT

    @traced_tool
    def trace() -> Iterator[Pair]:
        executed("trace")
        yield Pair(1, POINT)

    def program() -> Any:
        with agent_scope("lead"):
            return locate().at.isoformat(), [pair.right.x for pair in trace()]

    cassette, outcome = record(program)
    with replay(cassette) as playing:
        assert program() == outcome
    assert not EXECUTED and playing.notes == []
