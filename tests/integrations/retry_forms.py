"""
One tool, tried three times, in every way that people write that; also a program, for kills.

Each form takes a ``World``, which says how the work goes and what waiting means, and gives a
function to run inside an agent. What they leave on record must not depend on the form.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import stamina
import tenacity

from agenttrace import agent_scope, attempt, traced_tool

__all__ = ["FORMS", "OUTCOMES", "PLACES", "GaveUp", "World", "run"]

LIMIT_COUNT = 3
PLACES = ("above", "below")
OUTCOMES = ("succeeds", "gives up with reraise", "gives up with its own error", "killed between attempts")


class GaveUp(tenacity.RetryError):
    """What whoever retries raises in the end, where it does not raise the tool's error."""

    def __init__(self, last_attempt: Any = None) -> None:
        super().__init__(last_attempt)

    def __str__(self) -> str:
        return "gave up"


@dataclass
class World:
    """How the work goes, and what happens between two attempts."""

    outcome: str
    is_async: bool
    done_count: int = 0
    waits_count: int = 0
    raised: list[OSError] = field(default_factory=list)

    def work(self) -> str:
        """Fail, or at the third time do not."""
        self.done_count += 1
        if self.outcome == "succeeds" and self.done_count == LIMIT_COUNT:
            return "ready"
        self.raised.append(OSError(f"not ready {self.done_count}"))
        raise self.raised[-1]

    def wait(self, *_: object) -> None:
        """Wait no time, or for ever."""
        self.waits_count += 1
        if self.outcome == "killed between attempts" and self.waits_count == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    async def wait_async(self, *_: object) -> None:
        """The same, in an event loop."""
        await asyncio.sleep(0)
        self.wait()

    @property
    def has_own_error(self) -> bool:
        """Whether giving up raises ``GaveUp``."""
        return self.outcome == "gives up with its own error"

    def tenacity_settings(self) -> dict[str, Any]:
        """Give the keywords of a ``Retrying``."""
        return {
            "stop": tenacity.stop_after_attempt(LIMIT_COUNT),
            "wait": tenacity.wait_none(),
            "sleep": self.wait_async if self.is_async else self.wait,
            "reraise": not self.has_own_error,
            "retry_error_cls": GaveUp,
        }

    def stamina_settings(self) -> dict[str, Any]:
        """Give the keywords of ``stamina.retry``, whose waits are seen by a hook."""
        stamina.instrumentation.set_on_retry_hooks([self.wait])
        return {"on": OSError, "attempts": LIMIT_COUNT, "timeout": None}

    def give_up(self, exc: OSError) -> None:
        """Raise what is raised in the end, for whoever has no error of its own."""
        if self.has_own_error:
            raise GaveUp from exc
        raise exc


Tool = Callable[[str], Any]
Form = Callable[[World, str], Callable[[], Any]]
FORMS: dict[str, Form] = {}


def form(name: str) -> Callable[[Form], Form]:
    """Put a form into the table."""

    def put(made: Form) -> Form:
        FORMS[name] = made
        return made

    return put


def plain_tool(world: World) -> Tool:
    """Give the tool that does the work once a call."""
    if world.is_async:

        async def ask(name: str) -> str:
            await asyncio.sleep(0)
            return world.work()

        return ask

    def ask(name: str) -> str:  # type: ignore[misc]
        return world.work()

    return ask


def decorated(world: World, place: str, decorator: Callable[[Tool], Tool]) -> Callable[[], Any]:
    """Give the tool with *decorator* above or below tracing."""
    tool = plain_tool(world)
    tool = decorator(traced_tool(tool)) if place == "above" else traced_tool(decorator(tool))
    return lambda: tool("search")


@form("tenacity")
def with_tenacity(world: World, place: str) -> Callable[[], Any]:
    return decorated(world, place, tenacity.retry(**world.tenacity_settings()))


@form("stamina")
def with_stamina(world: World, place: str) -> Callable[[], Any]:
    retry = stamina.retry(**world.stamina_settings())
    if not world.has_own_error:
        return decorated(world, place, retry)

    def retry_or_give_up(tool: Tool) -> Tool:
        """stamina has no error of its own: whoever uses it raises one."""
        retried = retry(tool)
        if world.is_async:

            async def ask(name: str) -> str:
                try:
                    return str(await retried(name))
                except OSError as exc:
                    raise GaveUp from exc

            return ask

        def ask(name: str) -> str:  # type: ignore[misc]
            try:
                return str(retried(name))
            except OSError as exc:
                raise GaveUp from exc

        return ask

    return decorated(world, place, retry_or_give_up)


def looped(world: World, place: str, loop: Any, loop_async: Any) -> Callable[[], Any]:
    """Give the tool with the loop around it, or inside it."""
    tool = plain_tool(world)
    if place == "above":
        tool = traced_tool(tool)
        if world.is_async:
            return lambda: loop_async(lambda: tool("search"))
        return lambda: loop(lambda: tool("search"))
    inner = tool
    if world.is_async:

        async def ask(name: str) -> Any:
            return await loop_async(lambda: inner(name))

    else:

        def ask(name: str) -> Any:  # type: ignore[misc]
            return loop(lambda: inner(name))

    traced = traced_tool(ask)
    return lambda: traced("search")


@form("tenacity's block")
def with_tenacity_block(world: World, place: str) -> Callable[[], Any]:
    def loop(call: Callable[[], Any]) -> Any:
        for one in tenacity.Retrying(**world.tenacity_settings()):
            with one:
                return call()
        return None

    async def loop_async(call: Callable[[], Awaitable[Any]]) -> Any:
        async for one in tenacity.AsyncRetrying(**world.tenacity_settings()):
            with one:
                return await call()
        return None

    return looped(world, place, loop, loop_async)


@form("stamina's block")
def with_stamina_block(world: World, place: str) -> Callable[[], Any]:
    settings = world.stamina_settings()

    def loop(call: Callable[[], Any]) -> Any:
        try:
            for one in stamina.retry_context(**settings):
                with one:
                    return call()
        except OSError as exc:
            world.give_up(exc)

    async def loop_async(call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async for one in stamina.retry_context(**settings):
                with one:
                    return await call()
        except OSError as exc:
            world.give_up(exc)

    return looped(world, place, loop, loop_async)


@form("agenttrace's block")
def with_own_block(world: World, place: str) -> Callable[[], Any]:
    """One handle for all attempts."""

    def loop(call: Callable[[], Any]) -> Any:
        block = attempt()
        while True:
            try:
                with block:
                    return call()
            except OSError as exc:
                if block.number == LIMIT_COUNT:
                    world.give_up(exc)
                world.wait()
        return None

    async def loop_async(call: Callable[[], Awaitable[Any]]) -> Any:
        block = attempt()
        while True:
            try:
                async with block:
                    return await call()
            except OSError as exc:
                if block.number == LIMIT_COUNT:
                    world.give_up(exc)
                await world.wait_async()
        return None

    return looped(world, place, loop, loop_async)


@form("hand loop")
def with_hand_loop(world: World, place: str) -> Callable[[], Any]:
    """
    A loop and ``except``.

    Inside a tool there is nothing that would tell an attempt from any other exception: there, and
    only there, the loop says ``with attempt()``.
    """
    if place == "below":
        return _marked_loop(world)

    def loop(call: Callable[[], Any]) -> Any:
        for number in range(1, LIMIT_COUNT + 1):
            try:
                return call()
            except OSError as exc:
                if number == LIMIT_COUNT:
                    world.give_up(exc)
                world.wait()
        return None

    async def loop_async(call: Callable[[], Awaitable[Any]]) -> Any:
        for number in range(1, LIMIT_COUNT + 1):
            try:
                return await call()
            except OSError as exc:
                if number == LIMIT_COUNT:
                    world.give_up(exc)
                await world.wait_async()
        return None

    return looped(world, place, loop, loop_async)


def _marked_loop(world: World) -> Callable[[], Any]:
    def loop(call: Callable[[], Any]) -> Any:
        for number in range(1, LIMIT_COUNT + 1):
            try:
                with attempt(limit_count=LIMIT_COUNT):
                    return call()
            except OSError as exc:
                if number == LIMIT_COUNT:
                    world.give_up(exc)
                world.wait()
        return None

    async def loop_async(call: Callable[[], Awaitable[Any]]) -> Any:
        for number in range(1, LIMIT_COUNT + 1):
            try:
                async with attempt(limit_count=LIMIT_COUNT):
                    return await call()
            except OSError as exc:
                if number == LIMIT_COUNT:
                    world.give_up(exc)
                await world.wait_async()
        return None

    return looped(world, "below", loop, loop_async)


def run(name: str, place: str, world: World) -> Any:
    """
    Run one form in an agent.

    Raises:
        OSError: It gave up, with the tool's error.
        GaveUp: It gave up, with its own.
    """
    stamina.set_testing(True, attempts=LIMIT_COUNT)  # no waiting
    try:
        call = FORMS[name](world, place)
        if world.is_async:

            async def main() -> Any:
                async with agent_scope("lead"):
                    return await call()

            return asyncio.run(main())
        with agent_scope("lead"):
            return call()
    finally:
        stamina.set_testing(False)
        stamina.instrumentation.set_on_retry_hooks(None)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], World(sys.argv[3], sys.argv[4] == "async"))
