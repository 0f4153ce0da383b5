"""
The benchmark's tool under each recorder, as its own documentation says to put it there.

Each builder runs in the virtual environment of its peer and imports that peer
alone. All record the arguments and the result of the call, with their defaults
for batches and queues; those that send, send to the collector on this machine.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.recorders import Recorder, build_recorder
from benchmarks.workloads import look_up

__all__ = ["BUILDERS"]


def _folder() -> Path:
    return Path(os.environ["BENCHMARK_FOLDER"])


def _collector() -> str:
    return os.environ["BENCHMARK_COLLECTOR"]


def _no_scope() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _build_logfire() -> Recorder:
    import logfire
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{_collector()}/v1/traces")
    logfire.configure(
        send_to_logfire=False,
        console=False,
        metrics=False,
        additional_span_processors=[BatchSpanProcessor(exporter)],
    )
    tool = logfire.instrument("look_up", extract_args=True, record_return=True)(look_up)

    def finish() -> int:
        logfire.force_flush(30_000)
        return 0

    return Recorder(tool, lambda: logfire.span("bench"), finish)


def _build_langfuse() -> Recorder:
    from langfuse import Langfuse, observe

    client = Langfuse(public_key="pk-lf-benchmark", secret_key="sk-lf-benchmark", base_url=_collector())
    tool = observe(as_type="tool")(look_up)

    def finish() -> int:
        client.flush()
        return 0

    return Recorder(tool, lambda: client.start_as_current_observation(name="bench"), finish)


def _build_eliot() -> Recorder:
    import eliot

    eliot.to_file((_folder() / "eliot.log").open("ab"))  # open for as long as the process lives
    return Recorder(eliot.log_call(look_up), lambda: eliot.start_action(action_type="bench"), lambda: 0)


def _build_clustertrace() -> Recorder:
    os.environ["CLUSTERTRACE_DB"] = str(_folder() / "clustertrace.db")
    import clustertrace

    return Recorder(clustertrace.trace(look_up), lambda: clustertrace.span("bench"), lambda: 0)


def _build_langsmith() -> Recorder:
    os.environ.update(
        LANGSMITH_TRACING="true",
        LANGSMITH_ENDPOINT=_collector(),
        LANGSMITH_API_KEY="benchmark",
        LANGSMITH_DISABLE_RUN_COMPRESSION="true",
    )
    from langsmith import trace, traceable
    from langsmith.run_trees import get_cached_client

    def finish() -> int:
        get_cached_client().flush()
        return 0

    return Recorder(traceable(run_type="tool")(look_up), lambda: trace("bench"), finish)


def _build_mlflow() -> Recorder:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{_folder() / 'mlflow.db'}")
    mlflow.set_experiment("bench")

    def finish() -> int:
        mlflow.flush_trace_async_logging()
        return 0

    return Recorder(mlflow.trace(span_type="TOOL")(look_up), _no_scope, finish)


def _build_weave() -> Recorder:
    os.environ["WF_TRACE_SERVER_URL"] = _collector()
    import weave

    client = weave.init("benchmark/benchmark")

    def finish() -> int:
        client.flush()
        return 0

    return Recorder(weave.op(look_up), _no_scope, finish)


def _build_openinference() -> Recorder:
    from openinference.instrumentation import TracerProvider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{_collector()}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("benchmarks")

    def finish() -> int:
        provider.force_flush(30_000)
        return 0

    return Recorder(tracer.tool(look_up), lambda: tracer.start_as_current_span("bench"), finish)


def _build_own(mode: str) -> Recorder:
    os.environ["BENCHMARK_DATABASE"] = str(_folder() / "traces.db")
    os.environ["BENCHMARK_SINK"] = f"{_collector()}/v1/traces"
    return build_recorder(mode)


BUILDERS: dict[str, Callable[[], Recorder]] = {
    "bare": functools.partial(_build_own, "bare"),
    "agenttrace": functools.partial(_build_own, "on"),
    "otel": functools.partial(_build_own, "otel"),
    "logfire": _build_logfire,
    "langfuse": _build_langfuse,
    "eliot": _build_eliot,
    "clustertrace": _build_clustertrace,
    "langsmith": _build_langsmith,
    "mlflow": _build_mlflow,
    "weave": _build_weave,
    "openinference": _build_openinference,
}
"""Peer's name to what sets it up in this process."""


def _count_kept(name: str) -> int:
    """Count the finished calls that stand in the peer's own store; -1 where it sends instead."""
    import sqlite3

    queries = {
        "clustertrace": ("clustertrace.db", "SELECT count(*) FROM spans WHERE ended_at IS NOT NULL"),
        "mlflow": ("mlflow.db", "SELECT count(*) FROM trace_info WHERE status = 'OK'"),
    }
    if name == "agenttrace":
        from agenttrace.write.recovery import recover

        recover(str(_folder() / "traces.db"))  # what any command does first
        queries["agenttrace"] = (
            "traces.db",
            "SELECT count(*) FROM trajectory_events WHERE kind = 'tool_result' AND status = 'ok'",
        )
    if name == "eliot":
        lines = (_folder() / "eliot.log").read_text(encoding="utf-8").splitlines()
        return sum(json.loads(line).get("action_status") == "succeeded" for line in lines)
    if name not in queries:
        return -1
    file, sql = queries[name]
    connection = sqlite3.connect(_folder() / file)
    try:
        return int(connection.execute(sql).fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    print(_count_kept(sys.argv[1]))
