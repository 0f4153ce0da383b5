"""
Question: what does a traced call cost the whole process until its rows are stored?

Method: processor time of all threads of a process that calls a tool with a
500-byte result and then waits until everything is in SQLite (real schema, default
redaction, two rows a call), against a process whose OpenTelemetry spans are all
exported to a collector that throws them away. In bursts of 2,000 calls, and at
about 2,000 calls a second.

Budget: at most half of OpenTelemetry's.
"""

from __future__ import annotations

from benchmarks.bench_on import children_scope
from benchmarks.harness import Line, main, median_ratio, sample

__all__ = ["measure"]

_MODES = ("bare", "on", "otel")


def measure(rounds: int = 7, loops: int = 4000) -> list[Line]:
    """Measure both ways of calling; needs the ``bench`` extra."""
    return [
        *_measure_way("bursts", "in bursts of 2,000", rounds, loops, 0.5),
        *_measure_way("steady", "at 2,000 calls/s", max(3, rounds // 2), loops // 2, 0.5),
    ]


def _measure_way(way: str, name: str, rounds: int, loops: int, limit: float) -> list[Line]:
    cpu: dict[str, list[float]] = {mode: [] for mode in _MODES}
    with children_scope(_MODES, way) as children:
        for _ in range(rounds):
            for mode, child in children.items():
                cpu[mode].append(child.ask(loops)["cpu_ns"] / 1000)
    lines = []
    over = {}
    for mode, label in (("on", "traced and stored"), ("otel", "OpenTelemetry, stored nowhere")):
        over[mode] = [mine - bare for mine, bare in zip(cpu[mode], cpu["bare"], strict=True)]
        figure = sample(over[mode])
        lines.append(Line("cpu", f"{name}: {label}", figure.median, "us", (figure.low, figure.high)))
    ratio = median_ratio(over["on"], over["otel"])
    lines.append(
        Line(
            "cpu",
            f"{name}: traced over OpenTelemetry",
            ratio.median,
            "x",
            (ratio.low, ratio.high),
            f"<= {limit} x",
            ratio.median <= limit,
        )
    )
    return lines


if __name__ == "__main__":
    main(measure)
