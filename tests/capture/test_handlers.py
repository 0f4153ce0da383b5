"""Which clause of a ``try`` catches, read from the bytecode."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from agenttrace.capture.handlers import Handlers, line_that_catches, read_handlers

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="only Python 3.12 asks")

ANY = (OSError, ValueError)


class Kinds:
    Own = type("Own", (Exception,), {})

    @property
    def changing(self) -> Any:
        raise AssertionError("nothing of the program runs")


def body() -> None: ...


def several() -> None:
    try:
        body()
    except KeyError:  # KeyError
        pass
    except (TypeError, json.JSONDecodeError):  # TypeError JSONDecodeError
        pass
    except Kinds.Own as exc:  # Own
        repr(exc)
    except ANY:  # OSError ValueError
        pass


def unknown(kinds: Any) -> None:
    try:
        body()
    except kinds:  # RuntimeError
        pass
    except KeyError:  # KeyError
        pass


def asked_of_an_object(kinds: Kinds) -> None:
    try:
        body()
    except kinds.changing:  # RuntimeError KeyError
        pass


def bare() -> None:
    try:
        body()
    except:  # noqa: E722 # RuntimeError
        pass


def finally_that_returns() -> int:
    try:
        body()
    finally:
        body()  # RuntimeError
        return 1  # noqa: B012


def managed() -> None:
    with open(os.devnull):  # RuntimeError
        body()


def groups() -> None:
    try:
        body()
    except* KeyError:  # KeyError
        pass
    except* (TypeError, ValueError) as exc:  # TypeError ValueError JSONDecodeError
        repr(exc)


def make(name: str) -> BaseException:
    if name == "JSONDecodeError":
        return json.JSONDecodeError("", "", 0)
    if name == "Own":
        return Kinds.Own()
    return getattr(__import__("builtins"), name)()  # type: ignore[no-any-return]


def marked(function: Callable[..., Any]) -> dict[str, int]:
    """Give the line that catches each exception, as the comments say."""
    lines, first = inspect.getsourcelines(function)
    return {
        name: first + number
        for number, line in enumerate(lines)
        if "#" in line
        for name in line.rpartition("#")[2].split()
        if name[0].isupper() and name not in ("B012", "E722")
    }


FUNCTIONS = [several, unknown, asked_of_an_object, bare, finally_that_returns, managed, groups]


class TestLine:
    """The line of the clause."""

    @pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
    def test_that_catches(self, function: Callable[..., Any]) -> None:
        """Of several clauses the first that matches; of a ``with`` its own; of a ``finally`` its first."""
        expected = marked(function)
        assert expected
        handlers = [handler for handler in read_handlers(function.__code__).values() if handler]
        for name, line in expected.items():
            found = line_that_catches(handlers[0], make(name), sys._getframe())
            assert found == line, name

    def test_that_does_not_match(self) -> None:
        """None where no clause takes it, so that nobody asks what its text is."""
        (handler,) = [handler for handler in read_handlers(several.__code__).values() if handler]
        assert line_that_catches(handler, RuntimeError(), sys._getframe()) is None

    def test_kind(self) -> None:
        """A ``with`` and a ``finally`` may let it pass; an ``except`` that matches does not."""
        first = {
            function.__name__: next(one for one in read_handlers(function.__code__).values() if one).is_sure
            for function in (several, groups, managed, finally_that_returns)
        }
        assert first == {"several": True, "groups": True, "managed": False, "finally_that_returns": False}

    def test_what_only_tidies_up(self) -> None:
        """Offsets where the interpreter cleans up and raises again are no handlers."""
        handlers = Handlers()
        code = several.__code__
        known = read_handlers(code)
        for offset in range(0, len(code.co_code), 2):
            if offset not in known:
                assert handlers.at(code, offset) is None

    def test_any_code(self) -> None:
        """All code of the standard library's larger modules can be read."""
        import argparse
        import subprocess
        import tarfile

        for module in (argparse, subprocess, tarfile, inspect, json.decoder):
            source = inspect.getsource(module)
            waiting = [compile(source, str(module.__file__), "exec")]
            while waiting:
                code = waiting.pop()
                waiting += [const for const in code.co_consts if hasattr(const, "co_code")]
                lines = range(1, source.count("\n") + 2)
                assert all(one is None or one.line in lines for one in read_handlers(code).values())
