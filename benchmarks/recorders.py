"""
One child process per recorder, each calling the same tool: what ``bench_on`` and ``bench_cpu`` ask.

Modes: ``bare`` calls the tool undecorated, ``closure`` through ``functools.wraps``,
``off`` with ``@traced_tool`` and tracing off, ``on`` with tracing on and its
defaults, ``otel`` in an OpenTelemetry SDK span with the arguments and the result
as two JSON attributes and the tags of our rows, a batch processor and the OTLP HTTP exporter.

Everything is stored or sent before an answer is given, so that no round pays for
the one before.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.harness import quantile, serve
from benchmarks.workloads import ARGUMENTS, look_up

__all__ = ["MODES", "Recorder", "build_recorder"]

MODES = ("bare", "closure", "off", "on", "otel")
_LONG = 2000
"""Calls in a row before the recorder may catch up; the most that fits the default queue of either."""
_SHORT = 500
"""Few enough that neither recorder's own thread has begun to work."""


class Recorder(NamedTuple):
    """A tool as one recorder leaves it."""

    tool: Callable[..., Any]
    scope: Callable[[], Any]
    """What the calls stand in: an agent, or a parent span."""
    finish: Callable[[], int]
    """Store or send what is pending; gives the number of lost events."""


@contextmanager
def _no_scope() -> Iterator[None]:
    yield


def _nothing() -> int:
    return 0


def _build_closure() -> Recorder:
    @functools.wraps(look_up)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return look_up(*args, **kwargs)

    return Recorder(wrapper, _no_scope, _nothing)


def _build_traced(*, on: bool) -> Recorder:
    import agenttrace  # late: the bare child must not pay for it

    tool = agenttrace.traced_tool(look_up)
    if not on:
        return Recorder(tool, _no_scope, _nothing)
    agenttrace.configure(os.environ["BENCHMARK_DATABASE"])

    def finish() -> int:
        result = agenttrace.flush(30.0)
        if result.pending:
            raise RuntimeError(f"{result.pending} events are still pending after 30 s")
        return int(result.dropped)

    return Recorder(tool, lambda: agenttrace.agent_scope("bench"), finish)


_TAGS = (
    ("gen_ai.operation.name", "execute_tool"),
    ("gen_ai.tool.name", "look_up"),
    ("gen_ai.conversation.id", "3f2a9c0d1e4b5a67"),
    ("gen_ai.agent.id", "bench-3f2a9c"),
    ("gen_ai.agent.name", "bench"),
)
"""What our rows say beside arguments and result, by the names of the GenAI conventions."""


def _build_otel() -> Recorder:
    # Late: no other child must pay for it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=os.environ["BENCHMARK_SINK"])
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("benchmarks")

    @functools.wraps(look_up)
    def tool(question: str, limit: int = 10) -> Any:
        with tracer.start_as_current_span("execute_tool look_up") as span:
            for key, value in _TAGS:
                span.set_attribute(key, value)
            span.set_attribute(
                "gen_ai.tool.call.arguments", json.dumps({"question": question, "limit": limit})
            )
            result = look_up(question, limit)
            span.set_attribute("gen_ai.tool.call.result", json.dumps(result))
            return result

    def finish() -> int:
        provider.force_flush(30_000)
        return 0

    return Recorder(tool, lambda: tracer.start_as_current_span("bench"), finish)


def build_recorder(mode: str) -> Recorder:
    """Set up one of ``MODES`` in this process."""
    if mode == "closure":
        return _build_closure()
    if mode in ("off", "on"):
        return _build_traced(on=mode == "on")
    if mode == "otel":
        return _build_otel()
    return Recorder(look_up, _no_scope, _nothing)


def _run_bursts(recorder: Recorder, loops: int, burst: int = _LONG) -> dict[str, Any]:
    """Call in bursts and let the recorder catch up between them, off the clock."""
    tool = recorder.tool
    wall_ns = thread_ns = cpu_ns = lost = 0
    with recorder.scope():
        for _ in range(max(1, loops // burst)):
            began_cpu_ns = time.process_time_ns()
            began_thread_ns = time.thread_time_ns()
            began_ns = time.perf_counter_ns()
            for _ in range(burst):
                tool(**ARGUMENTS)
            wall_ns += time.perf_counter_ns() - began_ns
            thread_ns += time.thread_time_ns() - began_thread_ns
            lost += recorder.finish()
            cpu_ns += time.process_time_ns() - began_cpu_ns
    calls = max(1, loops // burst) * burst
    return {
        "wall_ns": wall_ns / calls,
        "thread_ns": thread_ns / calls,
        "cpu_ns": cpu_ns / calls,
        "lost": lost,
    }


def _run_short(recorder: Recorder, loops: int) -> dict[str, Any]:
    return _run_bursts(recorder, loops, _SHORT)


def _run_steady(recorder: Recorder, loops: int) -> dict[str, Any]:
    """Call at about 2,000 a second, as busy agents do, and take the processor time of the whole process."""
    tool = recorder.tool
    with recorder.scope():
        began_ns = time.process_time_ns()
        for _ in range(max(1, loops // 100)):
            for _ in range(100):
                tool(**ARGUMENTS)
            time.sleep(0.05)
        lost = recorder.finish()
        cpu_ns = time.process_time_ns() - began_ns
    return {"cpu_ns": cpu_ns / (max(1, loops // 100) * 100), "lost": lost}


def _run_each(recorder: Recorder, loops: int) -> dict[str, Any]:
    """Time each call by itself, in bursts, for the slowest of a thousand."""
    tool = recorder.tool
    clock = time.perf_counter_ns
    each_ns: list[int] = []
    with recorder.scope():
        for _ in range(max(1, loops // _LONG)):
            for _ in range(_LONG):
                began_ns = clock()
                tool(**ARGUMENTS)
                each_ns.append(clock() - began_ns)
            recorder.finish()
    return {name: quantile(each_ns, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}


_WAYS = {"bursts": _run_bursts, "short": _run_short, "steady": _run_steady, "each": _run_each}

if __name__ == "__main__":
    _recorder = build_recorder(sys.argv[1])
    _way = _WAYS[sys.argv[2]]
    _way(_recorder, _LONG)
    serve(lambda loops: _way(_recorder, loops))
