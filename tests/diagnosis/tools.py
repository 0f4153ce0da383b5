"""
The tools of all agents, traced and plain, and what a step makes of one call.

Invariant: a tool does what the step says that stands behind it, and nothing else; what it is called is no
part of what it does, but for ``save`` (gives nothing), ``poll`` (gives a state) and ``draw_chart`` (slow).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import agenttrace
from agenttrace import traced_tool
from tests.diagnosis.plans import Step, copy_step
from tests.diagnosis.world import place, world

__all__ = ["PLAIN_TOOLS", "TOOLBOX", "as_text", "part_mended", "rounds_of", "run_step"]


class _Missing(Exception):
    """What the tools of this program raise."""


_NOW: threading.local = threading.local()
"""The step, and the id of the call if it is the model's and no span is the call's."""


def _met(line: str | None = None) -> None:
    """Say that the fault is here."""
    where = None if line is None else place(__file__, line)
    # A plain tool that ends its agent is a call that nobody comes to tell of: the agent is what failed.
    if _NOW.call_id is not None and _NOW.step.habit != "escape":
        world().expect_call(_NOW.call_id, place=where)
    else:
        world().expect(place=where)


def _work(text: str) -> Any:
    """Do what every tool does, and what the step says besides."""
    step: Step = _NOW.step
    world().wait(step.ms)
    match step.fault:
        case "raise" | "swallow_outside" | "suppress" | "raise_through":
            if step.fault == "raise":
                _met()
            raise step.detail
        case "swallow_inside":
            _met("swallow_inside")
            try:
                raise ConnectionError("the index is away")
            except Exception:  # line: swallow_inside
                return step.detail
        case "return":
            _met()
            return step.detail
        case "die":
            agenttrace.flush()
            print(json.dumps(agenttrace.current().span_id), flush=True)  # type: ignore[union-attr]
            os._exit(9)
        case "stall":
            _met()
            world().wait(step.detail)
        case "storm":
            _met()
            step.detail -= 1
            if step.detail >= 0:
                raise TimeoutError("the service is busy")
        case "loop":
            _met()
            return {"found": text}
        case "drop" | "withhold":
            _met()
        case "":
            return _live(step, text)
    return {"found": text, "length": len(text)}


def _live(step: Step, text: str) -> Any:
    """Do what healthy tools do, some of which looks bad."""
    match step.habit:
        case "refuse":
            raise step.detail
        case "retried":
            step.detail -= 1
            if step.detail >= 0:
                raise TimeoutError("busy for a moment")
        case "probing":
            try:
                return {"cached": {}[text]}
            except KeyError:
                return {"found": text.upper()}
        case "optional_file":
            try:
                raise FileNotFoundError(f"no settings for {text}")
            except FileNotFoundError:
                return {"found": text, "settings": "default"}
        case "fallback":
            try:
                raise ConnectionError("the cache is away")
            except ConnectionError:
                return {"found": text, "length": len(text)}
        case "suppressed":
            with contextlib.suppress(KeyError):
                {}[text]
        case "nothing":
            return []
        case "good_text":
            return step.detail
        case "pages":
            return {"found": [], "more": True}
    return {"found": text, "length": len(text)}


def search(text: str, page: int = 1) -> Any:
    return _work(text)


def read_page(text: str, page: int = 1) -> Any:
    return _work(text)


def lookup(text: str, page: int = 1) -> Any:
    return _work(text)


def convert(text: str, page: int = 1) -> Any:
    return _work(text)


def save(text: str, page: int = 1) -> Any:
    found = _work(text)
    return found if _NOW.step.fault == "return" else None


def translate(text: str, page: int = 1) -> Any:
    return _work(text)


def draw_chart(text: str, page: int = 1) -> Any:
    return _work(text)


def poll(text: str, attempt: int = 0) -> Any:
    found = _work(text)
    step: Step = _NOW.step
    if step.fault:
        return found
    step.detail -= 1
    if step.detail <= 0:
        return {"state": "done"}
    return (
        {"state": "waiting", "left": step.detail} if step.habit == "counting_down" else {"state": "waiting"}
    )


PLAIN_TOOLS: dict[str, Callable[..., Any]] = {
    tool.__name__: tool for tool in (search, read_page, lookup, convert, save, translate, draw_chart, poll)
}
TOOLBOX: dict[str, Callable[..., Any]] = {name: traced_tool(tool) for name, tool in PLAIN_TOOLS.items()}


def run_step(
    step: Step, tool: Callable[..., Any], arguments: dict[str, Any], call_id: str | None = None
) -> Any:
    """Call a tool for a step; *call_id* where no span will be the call's."""
    with world().lock:
        _NOW.step, _NOW.call_id = step, call_id
        return tool(**arguments)


def rounds_of(step: Step) -> list[dict[str, Any]]:
    """Give the arguments of each call that a healthy program makes for a step."""
    if step.fault or step.plan is not None:
        return [step.arguments]
    if step.name == "poll":
        rounds = max(1, step.detail)
        if step.habit == "asking_anew":
            return [{**step.arguments, "attempt": number} for number in range(rounds)]
        return [step.arguments] * rounds
    if step.habit == "pages":
        return [{**step.arguments, "page": number + 1} for number in range(step.detail)]
    return [step.arguments] * (3 if step.habit == "twice" else 1)


def part_mended(step: Step) -> tuple[Step, Step]:
    """Give the call that fails, of which the model is told, and what it asks for then."""
    text = step.arguments["text"]
    right = copy_step(step, habit="", detail=None)
    if step.habit == "other_way":
        wrong = copy_step(
            step,
            name="lookup" if step.name != "lookup" else "search",
            habit="refuse",
            ms=20.0,
            detail=_Missing("no access"),
        )
        return wrong, right
    if step.habit == "reworded":
        wrong_text = f"all on {text}, and what else there is"
        detail = _Missing("too many words")
        return copy_step(step, arguments={"text": wrong_text}, habit="refuse", detail=detail), right
    wrong_text = f"{text} ?" if step.habit == "mended" else text.replace(" ", "_")
    detail = _Missing(f"nothing fits {wrong_text}")
    return copy_step(step, arguments={"text": wrong_text}, habit="refuse", detail=detail), right


def as_text(value: Any) -> str:
    """Give what a model is told of a result."""
    return value if isinstance(value, str) else json.dumps(value)
