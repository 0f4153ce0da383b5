"""S0.18: a program with tracing off does what it would do without this package."""

from __future__ import annotations

from pathlib import Path

from tests.reading import run_python
from tests.runtime.test_switch import AUDITED

PROGRAM = """
import asyncio, contextlib, gc, logging, threading
from agenttrace import agent_scope, conversation_scope, model_turn, tool_scope, traced_agent, traced_tool


@traced_tool
def bad():
    return {"error": "no such file"}


@traced_tool
def stream():
    yield 1
    yield 2


@traced_tool
async def stream_async():
    yield 1
    yield 2


@traced_agent
def agent():
    for _ in stream():
        break
    with tool_scope("t") as call:
        call.set_result(bad())
    logging.getLogger("program").error("text", exc_info=ValueError("x"))
    with model_turn("m") as turn:
        turn.set_usage(cost_usd=5)


async def lost():
    async for _ in stream_async():
        break
    raise ValueError("lost")


async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    task = asyncio.create_task(lost())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()


logging.getLogger("program").addHandler(logging.NullHandler())
with conversation_scope("chat", budget_usd=1, max_turns=0), agent_scope("lead"):
    agent()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""

REPORT = """
import asyncio, logging, sys, threading
print("HOOKS", [
    sys.excepthook is sys.__excepthook__,
    threading.excepthook is threading.__excepthook__,
    sys.unraisablehook is sys.__unraisablehook__,
    asyncio.BaseEventLoop.call_exception_handler.__code__.co_filename == asyncio.base_events.__file__,
    hasattr(logging.Logger.callHandlers, "__wrapped__"),
    [name for name in sys.modules if name.startswith("agenttrace.integrations")],
])
"""


class TestOff:
    def test_leaves_no_trace(self, tmp_path: Path) -> None:
        """Streams, failures, logs, lost tasks and budgets: no open, no mmap, no thread, no hook, no file."""
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        database = tmp_path / "none" / "t.db"
        done = run_python(AUDITED + REPORT, database, str(program), AGENTTRACE="")
        assert done.returncode == 0, done.stderr
        *_, seen, hooks = done.stdout.splitlines()
        assert (seen, hooks) == ("SEEN []", "HOOKS [True, True, True, True, False, []]")
        assert not database.parent.exists() and done.stderr == ""

    def test_leaves_its_rows_when_on(self, tmp_path: Path) -> None:
        """The same program with tracing on is recorded, so that the test above can fail."""
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        done = run_python(AUDITED + REPORT, tmp_path / "t.db", str(program))
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-2] != "SEEN []"
        assert "HOOKS [False, False, False, False, True" in done.stdout
