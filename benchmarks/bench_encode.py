"""
Question: what does it cost to turn arguments and results into bounded bytes, and to redact them?

Method: ``encode(value, limit_bytes)`` with the default limit of a row, against
``orjson.dumps`` of the same value where it can take it and ``json.dumps``, in
rounds that take turns. Then values that orjson refuses or that are far too large.
Then ``redact_payload`` on 500 bytes: without any telling word, with words that only
sound like secrets, and with a secret (this one runs on the writer's thread).

Budget: none of its own (it is part of "on"); a 10 MB string must not cost the
caller more than 20 ms.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import orjson

from agenttrace.encode.codec import dumps, encode
from agenttrace.encode.redact import Rules
from benchmarks.harness import Line, main, sample, take_turns
from benchmarks.workloads import RESULT_500, build_document, build_result

__all__ = ["measure"]

_LIMIT_BYTES = 4096
_LARGE_MS = 20.0


@dataclasses.dataclass
class _Hit:
    path: PurePosixPath
    seen: datetime.datetime
    tags: frozenset[str]


def _deep(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


def _repeat(function: Callable[..., Any], *arguments: Any) -> Callable[[int], object]:
    def run(loops: int) -> None:
        for _ in range(loops):
            function(*arguments)

    return run


def _plain(rounds: int) -> list[Line]:
    lines = []
    for name, value, loops in (
        ("100 bytes", build_result(100), 5000),
        ("500 bytes", RESULT_500, 5000),
        ("54 KB, cut to a row", build_result(54_000), 100),
    ):
        cases = {
            "encode": _repeat(encode, value, _LIMIT_BYTES),
            "orjson.dumps": _repeat(orjson.dumps, value),
            "json.dumps": _repeat(json.dumps, value),
        }
        for case, values in take_turns(cases, loops=loops, rounds=rounds).items():
            figure = sample(each / 1000 for each in values)
            lines.append(Line("encode", f"{name}: {case}", figure.median, "us", (figure.low, figure.high)))
    return lines


def _awkward(rounds: int) -> list[Line]:
    hit = _Hit(
        PurePosixPath("src/a.py"), datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC), frozenset("ab")
    )
    cycle: list[Any] = []
    cycle.append(cycle)
    lines = []
    for name, value, budget_ms in (
        ("a dataclass with path, date and set", {"hits": [hit] * 5}, None),
        ("2**70, tuple keys, bytes", {"n": 2**70, (1, 2): b"\x00\xff" * 50}, None),
        ("a cycle", cycle, None),
        ("lists 10,000 deep", _deep(10_000), None),
        ("a string of 10 MB", build_document(10_000_000), _LARGE_MS),
        ("1,000,000 ints", list(range(1_000_000)), None),
    ):
        values = take_turns({"encode": _repeat(encode, value, _LIMIT_BYTES)}, loops=3, rounds=rounds)[
            "encode"
        ]
        figure = sample(each / 1e6 for each in values)
        met = figure.median <= budget_ms if budget_ms else None
        budget = f"<= {budget_ms:g} ms" if budget_ms else ""
        lines.append(Line("encode", name, figure.median, "ms", (figure.low, figure.high), budget, met))
    return lines


def _redaction(rounds: int) -> list[Line]:
    rules = Rules.build(None)
    prose = {**RESULT_500, "note": "the model counts tokens; its password policy is in docs"}
    secret = {**RESULT_500, "api_key": "sk-" + "a1B2" * 10}
    lines = []
    for name, value in (
        ("no telling word", RESULT_500),
        ("prose on tokens and passwords", prose),
        ("max_tokens", {**RESULT_500, "max_tokens": 4096}),
        ("a secret", secret),
    ):
        payload = dumps({"is_error": False, "output": value})
        values = take_turns({"redact": _repeat(rules.redact_payload, payload)}, loops=500, rounds=rounds)
        figure = sample(each / 1000 for each in values["redact"])
        lines.append(Line("encode", f"redact: {name}", figure.median, "us", (figure.low, figure.high)))
    return lines


def measure(rounds: int = 9) -> list[Line]:
    """Measure plain and awkward values, and redaction."""
    return _plain(rounds) + _awkward(rounds) + _redaction(rounds)


if __name__ == "__main__":
    main(measure)
