"""
Random programs that raise, catch, pass on and lose exceptions, against what they say of themselves.

Each generated program writes down every exception that it catches, every one that goes on, and
what was being handled around; from that alone the oracle says which were lost, and where. The
same program is run as functions, as generators and as coroutines.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from agenttrace import agent_scope
from agenttrace.testing import memory_recorder

__all__: list[str] = []

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")

PROGRAMS = 150
FIRST_SEED = 20_261_121


class A(Exception):
    pass


class B(A):
    pass


class C(Exception):
    pass


def chain(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None and exc not in found:
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found


class Catch:
    """One exception that was caught, as the program saw it."""

    def __init__(self, exc: BaseException, line: int, around: BaseException | None) -> None:
        self.exc = exc
        self.line = line
        self.has_gone_on = False
        beside = chain(around)
        self.tells_of: list[BaseException] = []
        is_named = True
        for link in chain(exc):
            if link is not exc and (is_named or link not in beside):
                self.tells_of.append(link)
            is_named = is_named and link.__cause__ is not None


class Log:
    """What a program says of itself."""

    def __init__(self) -> None:
        self.catches: list[Catch] = []
        self.stored: list[BaseException] = []
        self.made = 0

    def make(self, kind: type[Exception]) -> Exception:
        self.made += 1
        return kind(f"number {self.made}")

    def caught(self, exc: BaseException, line: int, around: BaseException | None) -> None:
        self.catches.append(Catch(exc, line, around))

    def again(self, exc: BaseException) -> BaseException:
        """Say that *exc* goes on."""
        for catch in self.catches:
            if catch.exc is exc:
                catch.has_gone_on = True
        return exc

    def left_in_finally(self, around: BaseException | None, line: int) -> None:
        """Say that a ``finally`` is left for good; an exception may be under way there."""
        current = sys.exception()
        before = [catch.has_gone_on for catch in self.catches if catch.exc is current]
        is_under_way = current is not around or before[-1:] == [True]
        if current is not None and is_under_way:
            self.caught(current, line, around)

    def store(self, exc: BaseException) -> None:
        self.stored.append(exc)

    def take(self) -> BaseException:
        return self.again(self.stored.pop()) if self.stored else self.make(C)

    def manager(self, kinds: tuple[type[BaseException], ...], line: int) -> Any:
        return _Manager(self, kinds, line)

    def expected(self, leaving: BaseException | None) -> list[tuple[str, int]]:
        told: list[BaseException] = chain(leaving)
        lost = []
        for catch in reversed(self.catches):
            if catch.has_gone_on or catch.exc in told:
                continue
            lost.append((str(catch.exc), catch.line))
            told.extend(catch.tells_of)
        return sorted(lost)


class _Manager:
    def __init__(self, log: Log, kinds: tuple[type[BaseException], ...], line: int) -> None:
        self.log, self.kinds, self.line = log, kinds, line
        self.around = sys.exception()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> bool:
        if exc is not None and isinstance(exc, self.kinds):
            self.log.caught(exc, self.line, self.around)
            return True
        return False


class Writer:
    """Write one random program; ``flavour`` decides what a call and a pause look like."""

    FUNCTIONS = 3

    def __init__(self, seed: int, flavour: str) -> None:
        self.random = random.Random(seed)
        self.flavour = flavour
        self.lines: list[str] = []
        self.tries = 0
        for number in reversed(range(self.FUNCTIONS)):
            self.emit(0, f"{'async ' if flavour == 'coroutine' else ''}def f{number}():")
            if flavour == "generator":
                self.emit(1, "yield")
            self.block(1, number, 2)

    @property
    def source(self) -> str:
        return "\n".join(self.lines) + "\n"

    def emit(self, depth: int, text: str) -> int:
        self.lines.append("    " * depth + text)
        return len(self.lines)

    def block(self, depth: int, function: int, budget: int, caught: str | None = None) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.statement(depth, function, budget, caught)

    def statement(self, depth: int, function: int, budget: int, caught: str | None) -> None:
        pick = self.random.random()
        if budget <= 0 or pick < 0.2:
            self.leaf(depth, function, caught)
        elif pick < 0.7:
            self.try_statement(depth, function, budget - 1)
        elif pick < 0.85:
            line = len(self.lines) + 1
            kinds = self.kinds()
            self.emit(depth, f"with LOG.manager({kinds}, {line}):")
            self.block(depth + 1, function, budget - 1, caught)
        else:
            self.emit(depth, "for _ in range(2):")
            self.block(depth + 1, function, budget - 1, caught)

    def leaf(self, depth: int, function: int, caught: str | None) -> None:
        pick = self.random.random()
        if caught is not None and pick < 0.45:
            self.goes_on(depth, caught)
        elif pick < 0.55 and function + 1 < self.FUNCTIONS:
            callee = self.random.randint(function + 1, self.FUNCTIONS - 1)
            call = {"function": "", "generator": "yield from ", "coroutine": "await "}[self.flavour]
            self.emit(depth, f"{call}f{callee}()")
        elif pick < 0.8:
            self.emit(depth, f"if LOG.made < 40: raise LOG.make({self.random.choice('ABC')})")
        elif pick < 0.85:
            self.emit(depth, "if LOG.made < 40: raise LOG.take()")
        elif pick < 0.9:
            self.emit(depth, "return")
        else:
            pauses = {"function": "pass", "generator": "yield", "coroutine": "await pause()"}
            self.emit(depth, pauses[self.flavour])

    def goes_on(self, depth: int, caught: str) -> None:
        kind = self.random.choice("ABC")
        way = self.random.choice(
            [
                f"LOG.again({caught}); raise",
                f"raise LOG.again({caught})",
                f"raise LOG.again({caught}).with_traceback(None)",
                f"raise LOG.make({kind}) from {caught}",
                f"raise LOG.make({kind})",
                f"raise LOG.make({kind}) from None",
                f"LOG.store({caught})",
            ]
        )
        self.emit(depth, way)

    def try_statement(self, depth: int, function: int, budget: int) -> None:
        self.tries += 1
        number = self.tries
        self.emit(depth, f"around{number} = sys.exception()")
        self.emit(depth, "try:")
        self.block(depth + 1, function, budget)
        clauses = self.random.randint(0, 3)
        for _ in range(clauses):
            name = f"e{number}"
            line = self.emit(depth, f"except {self.kinds()} as {name}:")
            self.emit(depth + 1, f"LOG.caught({name}, {line}, around{number})")
            self.block(depth + 1, function, budget, name)
        if clauses == 0 or self.random.random() < 0.3:
            self.emit(depth, "finally:")
            if self.random.random() < 0.25:
                line = len(self.lines) + 1
                self.emit(depth + 1, f"LOG.left_in_finally(around{number}, {line})")
                self.emit(depth + 1, "return")
            else:
                self.emit(depth + 1, "pass" if self.random.random() < 0.5 else "repr(0)")

    def kinds(self) -> str:
        return self.random.choice(["(A,)", "(B,)", "(C,)", "(B, C)", "(A, C)", "(Exception,)"])


def run_program(writer: Writer, name: str) -> tuple[Log, BaseException | None]:
    """Run it in an agent of its own; give its log and what left it."""
    log = Log()

    async def pause() -> None:
        await asyncio.sleep(0)

    names: dict[str, Any] = {"LOG": log, "A": A, "B": B, "C": C, "sys": sys, "pause": pause}
    exec(compile(writer.source, f"/generated/{name}.py", "exec"), names)
    leaving: BaseException | None = None
    with contextlib.suppress(A, B, C), agent_scope(name):
        try:
            if writer.flavour == "function":
                names["f0"]()
            elif writer.flavour == "generator":
                for _ in names["f0"]():
                    pass
            else:
                asyncio.run(names["f0"]())
        except (A, B, C) as exc:
            leaving = log.again(exc)
            raise
    return log, leaving


def seen_lines(events: Iterable[Any], name: str) -> list[tuple[str, int]]:
    return sorted(
        (event.payload["error"]["message"], event.payload["handled_at"]["line"])
        for event in events
        if event.agent_name == name and event.kind == "error" and event.payload.get("handled")
    )


@pytest.mark.slow
class TestRandomPrograms:
    """What was lost, and where."""

    @pytest.mark.parametrize("flavour", ["function", "generator", "coroutine"])
    def test_agrees_with_the_program(self, flavour: str) -> None:
        """The rows name exactly the exceptions that the program knows it lost, with the clause that did."""
        runs = []
        with memory_recorder() as recorder:
            for seed in range(FIRST_SEED, FIRST_SEED + PROGRAMS):
                writer = Writer(seed, flavour)
                log, leaving = run_program(writer, f"program-{seed}")
                runs.append((seed, writer, log.expected(leaving)))
        events = recorder.events()
        lost_count = 0
        for seed, writer, expected in runs:
            lost_count += len(expected)
            found = seen_lines(events, f"program-{seed}")
            assert found == expected, f"seed {seed}, {flavour}\n" + "\n".join(
                f"{number:4} {line}" for number, line in enumerate(writer.source.splitlines(), 1)
            )
        assert lost_count > PROGRAMS, "the programs lose something"
