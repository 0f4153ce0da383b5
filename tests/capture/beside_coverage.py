"""
A program that loses exceptions, run on its own: prints what its record says, as JSON.

Told ``coverage``, it measures itself with coverage's ``sysmon`` core while it runs.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

__all__ = ["main"]


def lose(number: int) -> str:
    try:
        if number % 2:
            raise ValueError(f"number {number}")
        return "fine"
    except (TypeError, KeyError):
        return "never"
    except ValueError as exc:
        return f"Error: {exc}"
    finally:
        repr(number)


def run() -> list[Any]:
    from agenttrace import agent_scope, traced_tool
    from agenttrace.testing import memory_recorder

    @traced_tool
    def fail() -> None:
        raise OSError("from the tool")

    with memory_recorder() as recorder, agent_scope("lead") as lead:
        for number in range(6):
            lose(number)
        with contextlib.suppress(OSError):
            fail()
        try:
            raise ExceptionGroup("g", [ValueError("in a group")])
        except* ValueError:
            pass
        lead.set_output("done")
    return [
        [event.kind, event.tool_name, event.status, event.error_type, _without_ids(event.payload)]
        for event in recorder.events()
    ]


def _without_ids(payload: Any) -> Any:
    return {name: value for name, value in payload.items() if name != "metadata"}


def main(mode: str) -> None:
    measured: dict[str, Any] = {}
    if mode == "coverage":
        import coverage

        measuring = coverage.Coverage(data_file=None, include=[__file__])
        measuring.start()
        tree = run()
        measuring.stop()
        measured = {
            "core": type(measuring._collector.tracers[0]).__name__,  # type: ignore[union-attr]
            "missing": measuring.analysis2(__file__)[3],
        }
    else:
        tree = run()
    print(json.dumps({"tree": tree, **measured}))


if __name__ == "__main__":
    main(sys.argv[1])
