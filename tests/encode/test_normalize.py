"""Every kind of value becomes the JSON value that stands for it, without running the user's code."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import pathlib
import re
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from agenttrace.encode.codec import decode, encode
from agenttrace.encode.limits import Limits
from agenttrace.encode.marks import Mark
from agenttrace.encode.normalize import normalize
from agenttrace.events import MARK

pytestmark = pytest.mark.usefixtures("each_way")


class _Colour(enum.Enum):
    RED = "red"


class _RaisingColour(enum.Enum):
    RED = "red"

    @property
    def value(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no value")


class _Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class _Point:
    x: int = 1
    y: Any = None


@dataclasses.dataclass(slots=True, frozen=True)
class _Slotted:
    x: int = 1


class _Pair(NamedTuple):
    left: int
    right: str


class _Text(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _Plain:
    def __init__(self) -> None:
        self.name = "n"
        self.count = 3
        self.inner = object()

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class _Closed:
    """Answers nothing."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError("no len")

    __iter__ = __bool__ = __repr__ = __str__ = __hash__ = __eq__ = __len__  # type: ignore[assignment]


class _Meta(type):
    def __hash__(cls) -> int:
        raise RuntimeError("no hash")

    def __instancecheck__(cls, instance: Any) -> bool:
        raise RuntimeError("no check")

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class _FromMeta(metaclass=_Meta):
    pass


class _Headers(Mapping[str, str]):
    """A mapping of its own kind, as HTTP libraries have them."""

    def __init__(self, **entries: str) -> None:
        self._entries = entries

    def __getitem__(self, key: str) -> str:
        if key == "broken":
            raise OSError("gone")
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        raise RuntimeError("no len")


def _mark(kind: str, **fields: Any) -> dict[str, Any]:
    return {MARK: kind, **fields}


_MOMENT = datetime.datetime(2026, 11, 21, 10, 15, tzinfo=datetime.UTC)

CASES: dict[str, tuple[Any, Any]] = {
    "text": ("a", "a"),
    "text subclass": (_Text("a"), "a"),
    "int": (2**63, 2**63),
    "int of 71 bits": (2**70, _mark("unencodable", type="int", head="1180591620717411303424")),
    "bool": (True, True),
    "float": (1.5, 1.5),
    "NaN": (float("nan"), _mark("unencodable", type="float", head="NaN")),
    "Infinity": (float("inf"), _mark("unencodable", type="float", head="Infinity")),
    "-Infinity": (float("-inf"), _mark("unencodable", type="float", head="-Infinity")),
    "complex": (1j, _mark("unencodable", type="complex", head="1j")),
    "lone surrogate": ("a\ud800", _mark("unencodable", type="str", head="a\\ud800")),
    "text bytes": (b"hi", _mark("unencodable", type="bytes", head="hi", bytes=2)),
    "binary bytes": (b"\xff\x00", _mark("unencodable", type="bytes", head="ff00", bytes=2)),
    "bytearray": (bytearray(b"hi"), _mark("unencodable", type="bytearray", head="hi", bytes=2)),
    "memoryview": (memoryview(b"hi"), _mark("unencodable", type="memoryview", head="hi", bytes=2)),
    "tuple": ((1, 2), [1, 2]),
    "named tuple": (_Pair(1, "x"), {"left": 1, "right": "x"}),
    "set": ({"b", "a"}, ["a", "b"]),
    "frozenset": (frozenset({2, 1}), [1, 2]),
    "deque": (collections.deque([1, 2]), [1, 2]),
    "range": (range(3), [0, 1, 2]),
    "ordered dict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "chain map": (collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
    "user dict": (collections.UserDict(a=1), {"a": 1}),
    "mapping proxy": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "dict keys": ({"a": 1}.keys(), ["a"]),
    "foreign mapping": (_Headers(a="1"), {"a": "1"}),
    "mapping that breaks": (
        _Headers(broken="", b="2"),
        {"broken": _mark("unencodable", type="OSError"), "b": "2"},
    ),
    "keys that are no texts": (
        {1: "a", None: "b", False: "c", (1, "x"): "d", 1.5: "e"},
        {"1": "a", "null": "b", "false": "c", '[1,"x"]': "d", "1.5": "e"},
    ),
    "keys that collide": ({1: "a", "1": "b"}, {"1": "a", "1~2": "b"}),
    "the user's own mark": ({MARK: 1, "$" + MARK: 2}, {"$" + MARK: 1, "$$" + MARK: 2}),
    "a mark on purpose": (
        {"a": Mark("redacted", rule="argument")},
        {"a": _mark("redacted", rule="argument")},
    ),
    "datetime": (_MOMENT, "2026-11-21T10:15:00+00:00"),
    "date": (datetime.date(2026, 1, 2), "2026-01-02"),
    "time": (datetime.time(1, 2), "01:02:00"),
    "timedelta": (datetime.timedelta(minutes=1), 60.0),
    "UUID": (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    "UUID without a number": (object.__new__(uuid.UUID), _mark("unencodable", type="uuid.UUID")),
    "Decimal": (decimal.Decimal("1.50"), "1.50"),
    "Fraction": (fractions.Fraction(1, 3), "1/3"),
    "path": (pathlib.PurePosixPath("/a/b"), "/a/b"),
    "address": (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    "pattern": (re.compile("a+"), _mark("unencodable", type="re.Pattern", head="a+")),
    "enum": (_Colour.RED, "red"),
    "enum whose value raises": (_RaisingColour.RED, "red"),
    "int enum": (_Level.HIGH, 3),
    "dataclass": (_Point(1, _Slotted()), {"x": 1, "y": {"x": 1}}),
    "namespace": (types.SimpleNamespace(a=1), {"a": 1}),
    "exception": (ValueError("no"), {"type": "ValueError", "module": "builtins", "message": "no"}),
    "class": (int, _mark("unencodable", type="type", head="int")),
    "function": (len, _mark("unencodable", type="builtin_function_or_method", head="len")),
    "module": (sys, _mark("unencodable", type="module", head="sys")),
    "lock": (threading.Lock(), _mark("unencodable", type="_thread.lock")),
    "object": (object(), _mark("unencodable", type="object")),
    "Ellipsis": (..., _mark("unencodable", type="ellipsis", head="Ellipsis")),
}


class TestNormalize:
    @pytest.mark.parametrize("name", CASES)
    def test_gives_the_json_value_that_stands_for(self, name: str) -> None:
        """Each known kind has one form, the same through encode (S0.6)."""
        value, expected = CASES[name]
        assert normalize(value) == expected
        assert decode(encode(value, 4096)) == expected

    def test_gives_an_unknown_object_its_type_and_scalars(self) -> None:
        """No repr runs: the head is the JSON of what the object stores."""
        assert normalize(_Plain()) == _mark(
            "unencodable", type=f"{__name__}._Plain", head='{"name":"n","count":3}'
        )

    @pytest.mark.parametrize("make", [lambda: _Closed(), lambda: _FromMeta()], ids=["closed", "metaclass"])
    def test_asks_a_hostile_object_nothing(self, make: Any) -> None:
        """An object that raises from everything is marked with its type."""
        marked = normalize([make()])[0]
        assert marked[MARK] == "unencodable"
        assert marked["type"].startswith(__name__)

    def test_marks_a_cycle(self) -> None:
        """A container inside itself is marked where it returns."""
        items: list[Any] = [1]
        items.append({"again": items})
        assert normalize(items) == [1, {"again": _mark("cycle", type="list")}]

    def test_keeps_a_shared_value_twice(self) -> None:
        """The same list in two places is no cycle."""
        shared = [_Colour.RED]
        assert normalize([shared, shared]) == [["red"], ["red"]]

    def test_survives_depth(self) -> None:
        """Ten thousand levels end in a mark at the limit."""
        value: Any = "bottom"
        for _ in range(10_000):
            value = [value]
        result, levels = normalize(value), 0
        while isinstance(result, list):
            result, levels = result[0], levels + 1
        assert (result, levels) == (_mark("cut", type="list"), Limits().depth)

    def test_bounds_a_list_that_holds_itself_doubled(self) -> None:
        """Sixty levels of [x, x] have 10**18 leaves; only what fits is walked."""
        value: Any = [_Colour.RED]
        for _ in range(60):
            value = [value, value]
        assert len(encode(value, 4096)) <= 4096

    def test_counts_what_it_leaves_out(self) -> None:
        """Entries beyond the limit are counted in a mark."""
        assert normalize(list(range(10)), Limits(items=3)) == [0, 1, 2, _mark("cut", items=7)]
        assert normalize(dict.fromkeys("abcd", 1), Limits(items=3)) == {
            **dict.fromkeys("abc", 1),
            MARK: "cut",
            "items": 1,
        }

    def test_stops_when_its_time_is_over(self) -> None:
        """A walk without time gives marks, not an endless call."""
        assert normalize([_Colour.RED] * 4000, Limits(time_ms=-1))[-1][MARK] == "cut"

    def test_gives_each_text_a_little_when_texts_are_used_up(self) -> None:
        """One giant text does not cost the keys behind it."""
        result = normalize(
            {"a": "x " * 5000, "b": "y " * 5000, "c": "short"}, Limits(string_bytes=5000, text_bytes=6000)
        )
        assert list(result) == ["a", "b", "c"]
        assert result["c"] == "short"

    def test_hides_secret_types(self) -> None:
        """A class whose name begins with Secret is never looked into."""

        class SecretStr:
            def __init__(self, value: str) -> None:
                self._secret_value = value

        assert normalize({"a": SecretStr("hunter2")}) == {"a": _mark("redacted", rule="secret_type")}

    def test_survives_a_dict_that_grows_meanwhile(self) -> None:
        """A dict that another thread changes is still encoded."""
        shared: dict[Any, Any] = {"a": 1}
        stop = threading.Event()

        def grow() -> None:
            number = 0
            while not stop.is_set():
                shared[f"k{number % 500}"] = number
                shared.pop(f"k{(number * 7) % 500}", None)
                number += 1

        thread = threading.Thread(target=grow)
        thread.start()
        try:
            for _ in range(200):
                assert encode({"shared": shared, "when": _MOMENT}, 100_000).startswith(b'{"shared":{"a":1')
        finally:
            stop.set()
            thread.join()


class TestAnException:
    def test_with_a_hostile_text_survives(self) -> None:
        """str() that raises is named in the message."""

        class Bad(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

        assert normalize(Bad())["message"] == _mark("unencodable", type="RuntimeError")

    def test_with_objects_as_arguments_runs_no_repr(self) -> None:
        """CPython's own __str__ would ask each argument for its repr; the arguments stand instead."""
        assert normalize(ValueError(_Plain(), 1))["message"][1] == 1

    def test_shows_its_cause_and_its_group(self) -> None:
        """The cause and the leaves of a group are part of it."""
        try:
            try:
                raise KeyError("k")
            except KeyError as key_error:
                raise ValueError("v") from key_error
        except ValueError as error:
            assert normalize(error)["cause"]["type"] == "KeyError"
        group = normalize(ExceptionGroup("both", [ValueError("a"), TypeError("b")]))
        assert group["message"] == "both"
        assert [leaf["type"] for leaf in group["exceptions"]] == ["ValueError", "TypeError"]

    def test_in_its_own_cause_is_a_cycle(self) -> None:
        """A cause that leads back is marked."""
        error = ValueError("v")
        error.__cause__ = error
        assert normalize(error)["cause"] == _mark("cycle", type="ValueError")

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
    def test_that_interrupts_passes(self, interrupt: type[BaseException]) -> None:
        """An interrupt during encoding is the user's, not ours."""

        class Stop(Exception):
            def __str__(self) -> str:
                raise interrupt

        with pytest.raises(interrupt):
            encode(Stop(), 4096)


class TestRecordsOfOtherLibraries:
    def test_pydantic_models_give_their_fields(self) -> None:
        """Fields and extras, without a call into the model; a SecretStr stays hidden."""
        pydantic = pytest.importorskip("pydantic")

        class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
            model_config = {"extra": "allow"}
            a: int = 1
            hidden: pydantic.SecretStr = pydantic.SecretStr("hunter2")  # type: ignore[name-defined]

            def model_dump(self, *args: Any, **kwargs: Any) -> Any:
                raise RuntimeError("not called")

        assert normalize(Model(b=2)) == {"a": 1, "b": 2, "hidden": _mark("redacted", rule="secret_type")}

    def test_attrs_classes_give_their_fields(self) -> None:
        """With and without slots."""
        attrs = pytest.importorskip("attrs")
        assert normalize(attrs.make_class("Made", ["x", "y"])(1, "two")) == {"x": 1, "y": "two"}
        assert normalize(attrs.make_class("Open", ["x"], slots=False)(1)) == {"x": 1}

    def test_numpy_values_are_plain(self) -> None:
        """Scalars and small arrays become numbers and lists; a big array keeps its first rows."""
        numpy = pytest.importorskip("numpy")
        assert normalize([numpy.float64(1.5), numpy.int32(3), numpy.bool_(True)]) == [1.5, 3, True]
        assert normalize(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
        assert normalize(numpy.float32("nan")) == _mark("unencodable", type="float", head="NaN")
        big = normalize(numpy.zeros((2000, 4)))
        assert big[-1][MARK] == "cut"
        assert big[-1]["items"] + len(big) - 1 == 2000
        assert normalize(numpy.zeros((1, 5000)))[-1]["items"] == 1


class TestFinishedProcess:
    """What ``subprocess.run`` gives is data."""

    def test_is_a_record(self) -> None:
        """Arguments, exit code and output stand in the payload."""
        done = subprocess.CompletedProcess(["ls", "-l"], 2, stdout="", stderr="no such file")
        assert normalize(done) == {
            "args": ["ls", "-l"],
            "returncode": 2,
            "stdout": "",
            "stderr": "no such file",
        }
