"""Recorded exceptions, made again."""

from __future__ import annotations

import json
import pathlib
import traceback
from typing import Any

import pytest

from agenttrace.capture.describe import build_error
from agenttrace.cassette.failures import build_exception, find_class
from agenttrace.encode import codec


class Plain(Exception):
    """One that takes anything."""


class Demanding(Exception):
    """One whose constructor wants two things by name."""

    def __init__(self, *, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Speaking(Exception):
    """One whose text is its own."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __str__(self) -> str:
        return f"spoken: {self.what}"


class Outer:
    """Holds a class of its own."""

    class Inner(ValueError):
        """Nested."""


def _json() -> None:
    json.loads("{")


def _unicode() -> None:
    b"\xff".decode()


def _chained() -> None:
    try:
        raise KeyError("first")
    except KeyError as exc:
        raise Plain("second") from exc


def _group() -> None:
    raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])])


def _noted() -> None:
    exc = ValueError("base")
    exc.add_note("try again")
    raise exc


def _raise(exc: BaseException) -> None:
    raise exc


RAISED: list[Any] = [
    lambda: _raise(ValueError("plain")),
    lambda: _raise(ValueError()),
    lambda: _raise(KeyError("key")),
    lambda: _raise(KeyError(("a", 1))),
    lambda: _raise(KeyError(5)),
    lambda: _raise(IndexError("list index out of range")),
    lambda: _raise(ValueError("a", 1)),
    lambda: _raise(ValueError("('a', 1)")),
    lambda: _raise(ValueError("5")),
    lambda: pathlib.Path("/no/such/file").read_text(),
    lambda: _raise(OSError("words")),
    lambda: _raise(PermissionError(13, "denied")),
    lambda: _raise(TimeoutError()),
    lambda: _raise(ValueError("x", {"k": 1}, [2])),
    lambda: _raise(ValueError({"k": 1})),
    lambda: _raise(ValueError("[1, 2]")),
    lambda: _raise(TimeoutError("late")),
    lambda: _raise(StopIteration(3)),
    lambda: _raise(Plain("x")),
    lambda: _raise(Demanding(code=7, reason="no")),
    lambda: _raise(Speaking("word")),
    lambda: _raise(Outer.Inner("deep")),
    lambda: 1 / 0,
    lambda: None.missing,  # type: ignore[attr-defined]
    lambda: _raise(SystemExit(3)),
    lambda: _raise(KeyboardInterrupt()),
    _json,
    _unicode,
    _chained,
    _group,
    _noted,
]


def _caught(raiser: Any) -> BaseException:
    try:
        raiser()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def _described(exc: BaseException) -> Any:
    return codec.loads(codec.encode(build_error(exc), 1_000_000))


def _shown(exc: BaseException) -> list[tuple[Any, ...]]:
    """Give what a traceback prints of each frame, but for the marks below the line."""
    frames = traceback.extract_tb(exc.__traceback__)
    return [(frame.filename, frame.lineno, frame.name, frame.line) for frame in frames]


class TestBuildException:
    """Makes an exception of its recorded description."""

    @pytest.mark.parametrize("raiser", RAISED)
    def test_makes_one_that_is_described_alike(self, raiser: Any) -> None:
        """Class, message, causes, notes and lines are those of the recorded one."""
        exc = _caught(raiser)
        notes: list[str] = []
        made = build_exception(_described(exc), notes.append)
        described = _described(made)
        assert str(made) == str(exc) and isinstance(made, type(exc)) and notes == []
        wanted = _described(exc)
        for one in (described, wanted):
            for leaf in one.get("leaves", ()):
                leaf.pop("error_id", None)
        assert described == wanted

    def test_makes_what_handlers_catch(self) -> None:
        """A class that cannot be constructed is made past its constructor: its handler still catches it."""
        made = build_exception(_described(_caught(lambda: _raise(Demanding(code=7, reason="no")))), [].append)
        assert type(made) is Demanding and str(made) == "7: no"

    def test_lets_a_class_of_the_name_stand_in(self) -> None:
        """What cannot be imported is a class of that name and module, and is told."""
        notes: list[str] = []
        error = {"type": "GoneError", "module": "no_such_package.errors", "message": "it went", "frames": []}
        made = build_exception(error, notes.append)
        assert (type(made).__name__, type(made).__module__, str(made)) == (
            "GoneError",
            "no_such_package.errors",
            "it went",
        )
        assert "no_such_package.errors.GoneError cannot be imported" in notes[0]
        assert find_class("no_such_package.errors", "GoneError") is None

    def test_shows_the_recorded_lines(self) -> None:
        """The traceback prints the very source lines, and holds no line of ours."""
        exc = _caught(_chained)
        made = build_exception(_described(exc), [].append)
        assert _shown(made) == _shown(exc)
        cause, recorded = made.__cause__, exc.__cause__
        assert cause is not None and recorded is not None
        assert _shown(cause) == _shown(recorded)

    @pytest.mark.parametrize(
        "error",
        [
            {},
            {"type": 5, "module": None, "message": {"$agenttrace": "cut", "head": "x"}},
            {"type": "ValueError", "frames": [{"file": 1}, {"file": "f", "line": -1}, "x", None]},
            {"type": "dict", "module": "builtins", "message": "x"},
            {"type": "ExceptionGroup", "module": "builtins", "message": "x", "leaves": []},
            {"type": "a b", "module": "..", "message": "\x00", "cause": {"cause": 5}},
        ],
    )
    def test_makes_something_of_anything(self, error: dict[str, Any]) -> None:
        """A damaged description still gives an exception."""
        assert isinstance(build_exception(error, [].append), BaseException)
