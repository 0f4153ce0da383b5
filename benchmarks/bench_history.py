"""
Question: what does a chat cost that resends its whole history with each request?

Method: 200 turns with questions and answers of prose, each drawn from half to one and a half times
the size that the line names. The program hands over the whole list every time, and each turn is
stored before the next begins, as a model's answer takes longer than that. Then the database is
checkpointed, and its whole file (an empty one has 0.2 MB) is divided by the JSON bytes of the messages
that differ. "Payloads" is the same of what the payloads and the bodies beside them say. The last
lines are the time that opening a turn takes on the caller's thread with 1,000 messages of 1 KB, by
reference and whole.

Budget: at most 1.3 times the unique bytes, for messages of 4 KB and more; below that a row of its own
columns and indexes weighs more than what is in it.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.harness import Child, Line, main, sample, serve
from benchmarks.workloads import SEED, build_document

__all__ = ["measure"]

_TURNS = 200
_LIMIT = 1.3
_BUDGET_FROM_BYTES = 4_000
_SIZES = (500, 1_000, 2_000, 4_000, 8_000, 16_000)
_MESSAGES = 1_000


def _hold_chat(size_bytes: int) -> tuple[int, int, int]:
    """Hold a chat; gives its unique bytes, those of the payloads, and those of the file."""
    import agenttrace  # late: the parent process records nothing

    database = Path(os.environ["BENCHMARK_DATABASE"]).with_suffix(f".{size_bytes}.db")
    agenttrace.configure(database)
    draw = random.Random(SEED)
    messages: list[dict[str, Any]] = []

    def write(role: str) -> dict[str, Any]:
        length = draw.randrange(size_bytes // 2, size_bytes * 3 // 2)
        return {"role": role, "content": build_document(length, draw.randrange(1 << 30))}

    with agenttrace.agent_scope("chat"):
        for _ in range(_TURNS):
            messages.append(write("user"))
            answer = write("assistant")
            with agenttrace.model_turn("m", provider="p", input=messages) as turn:
                turn.set_output(answer["content"], finish_reason="stop")
                turn.set_usage(input_tokens=100, output_tokens=10)
            messages.append(answer)
            agenttrace.flush()
    agenttrace.shutdown()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = connection.execute("SELECT sum(length(payload)) FROM trajectory_events").fetchone()[0]
        bodies = connection.execute("SELECT coalesce(sum(bytes), 0) FROM payload_blobs").fetchone()[0]
    unique = sum(len(json.dumps(message)) for message in messages)
    return unique, rows + bodies, database.stat().st_size


def _open_turns(rounds: int) -> list[list[float]]:
    """Time the opening of turns by reference and whole, in microseconds."""
    import agenttrace
    from agenttrace.capture.context import PIPE

    agenttrace.configure(os.environ["BENCHMARK_DATABASE"])
    messages = [{"role": "user", "content": build_document(1_000, number)} for number in range(_MESSAGES)]
    figures: list[list[float]] = [[], []]
    with agenttrace.agent_scope("chat"):
        for _ in range(rounds + 1):
            for at, is_whole in enumerate((False, True)):
                PIPE.keeps_whole = is_whole
                turn = agenttrace.model_turn("m", input=messages)
                began_ns = time.perf_counter_ns()
                turn.open()
                figures[at].append((time.perf_counter_ns() - began_ns) / 1_000)
                turn.close()
                agenttrace.flush()
    return [each[1:] for each in figures]


def measure(rounds: int = 30) -> list[Line]:
    """Hold a chat of each size, then open turns."""
    lines = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="agenttrace-bench-"))
        environment = {"BENCHMARK_DATABASE": str(Path(folder) / "chat.db")}
        child = Child("benchmarks.bench_history", "serve", environment=environment)
        stack.callback(child.close)
        for size_bytes in _SIZES:
            unique, payloads, file = child.ask(size_bytes)
            has_budget = size_bytes >= _BUDGET_FROM_BYTES
            lines.append(
                Line(
                    "history",
                    f"{_TURNS} turns, messages of {size_bytes:,} bytes: file over unique",
                    file / unique,
                    "x",
                    None,
                    f"<= {_LIMIT} x" if has_budget else "",
                    file / unique <= _LIMIT if has_budget else None,
                )
            )
            lines.append(Line("history", "    payloads over unique", payloads / unique, "x"))
        for what, values in zip(("by reference", "whole"), child.ask(rounds), strict=True):
            figure = sample(values)
            spread = (figure.low, figure.high)
            lines.append(
                Line("history", f"open a turn of 1,000 messages, {what}", figure.median, "µs", spread)
            )
    return lines


def _answer(number: int) -> Any:
    return _hold_chat(number) if number >= min(_SIZES) else _open_turns(number)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(_answer)
    else:
        main(measure)
