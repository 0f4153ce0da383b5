"""The short way of a plain call leaves byte for byte what the general way leaves."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from agenttrace import agent_scope, clock, traced_tool
from agenttrace.capture import decorator
from agenttrace.capture.context import PIPE
from tests.capture.conftest import Published
from tests.ways import WAYS, take_way

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]


def _build_calls() -> Calls:
    """Anew for each way: an exception remembers where it was raised."""
    return [
        ((1, 2), {}),
        ((1,), {}),
        ((), {"a": 1, "b": 2}),
        ((), {"b": 2, "a": 1}),
        ((), {"a": 1}),
        ((1,), {"b": {"x": [1, 2.5, None, 'ü\n"']}}),
        ((float("nan"), "\ud800"), {}),
        ((2**70,), {"b": {"error": "said", 1: 2}}),
        ((), {}),
        ((1, 2, 3), {}),
        ((1,), {"a": 2}),
        ((), {"a": 1, "c": 2}),
        ((ValueError("raise me"), 2), {}),
        (({1, 2}, "x" * 5000), {}),
    ]


def _tool(a: Any, b: Any = 7) -> Any:
    if isinstance(a, Exception):
        raise a
    return {"a": a, "b": b, "text": "\u2028 ok"}


class TestFastPath:
    """Both ways publish the same bytes."""

    @pytest.mark.parametrize("way", WAYS)
    def test_same_bytes(self, way: str, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
        """For fitting and unfitting calls, results and errors, nested and repeated."""
        take_way(way, monkeypatch)

        def run(short: bool) -> list[bytes]:
            ticks = itertools.count(1_700_000_000_000_000_000, 1_000_003)
            clock.use(lambda: next(ticks))
            ids = itertools.count(1)
            monkeypatch.setattr("agenttrace.capture.failures.new_id", lambda: f"{next(ids):016x}")
            monkeypatch.setattr(PIPE, "span_numbers", itertools.count(1))
            if not short:
                monkeypatch.setattr(decorator, "wrap_plain_tool", None)
                take_way("python", monkeypatch)
            tool: Callable[..., Any] = traced_tool(name='quoted "tool"')(_tool)
            published.bodies.clear()
            with agent_scope("lead", agent_id="lead", conversation_id="talk"):
                for args, kwargs in _build_calls():
                    for _ in range(2):
                        try:
                            tool(*args, **kwargs)
                        except (TypeError, ValueError):
                            continue
            return list(published.bodies)

        first = run(short=True)
        second = run(short=False)
        clock.use(None)
        assert _without_frames(first) == _without_frames(second)
        assert len(first) > 4 * len(_build_calls())


def _without_frames(bodies: list[bytes]) -> list[bytes]:
    """The line of this test's own frame may differ; nothing else may."""
    return [body.partition(b'"frames"')[0] for body in bodies]
