"""Exceptions that nobody awaits: recorded where they happened, and printed as ever."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, conversation_scope, record_exception, traced_tool
from agenttrace.integrations import exceptions
from agenttrace.testing import MemoryRecorder, memory_recorder
from tests.reading import ROOT, open_store, query, run_python


class Lost(Exception):
    """What nobody awaits."""


@traced_tool
def fail(where: str) -> None:
    raise Lost(f"the tool failed {where}")


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put hooks in place that only collect, before ours come to stand in front of them."""
    found: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(args.exc_value))
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(args.exc_value))
    monkeypatch.setattr(sys, "excepthook", lambda kind, exc, traceback: found.append(exc))
    return found


@pytest.fixture
def recorder(printed: list[Any]) -> Iterator[MemoryRecorder]:
    """Record with everything installed."""
    with memory_recorder() as found:
        yield found


def fates(recorder: MemoryRecorder) -> list[tuple[Any, ...]]:
    return [(row.agent_name, row.message, row.fate, row.handled_at) for row in recorder.failures()]


def run_lost(work: Any, handler: Any = None) -> list[dict[str, Any]]:
    """Run *work* in an event loop, and give what the loop's own handler was told."""
    told: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            handler or (lambda loop, context: told.append(context))
        )
        await work()
        gc.collect()

    asyncio.run(main())
    return told


class TestThread:
    """S0.21: a thread's death is in nobody's context."""

    def test_of_its_own(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """It is a handled error of the scope the thread ran in, and no success hides it."""

        def work() -> None:
            raise Lost("died")

        with agent_scope("lead") as lead:
            thread = threading.Thread(target=work, name="worker")
            thread.start()
            thread.join()
            lead.set_output("fine")
        assert fates(recorder) == [("lead", "died", "swallowed", "<threading.excepthook>:0 worker")]
        assert [type(exc) for exc in printed] == [Lost]

    def test_of_a_tool(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """A failure that left a tool keeps its one error row, and is told to be lost."""
        with agent_scope("lead"):
            thread = threading.Thread(target=fail, args=["there"], name="worker")
            thread.start()
            thread.join()
        kinds = [event.kind for event in recorder.events()]
        assert kinds == ["agent_start", "tool_call", "error", "tool_result", "handled", "agent_end"]
        assert fates(recorder) == [
            ("lead", "the tool failed there", "swallowed", "<threading.excepthook>:0 worker")
        ]

    def test_agent_of_its_own(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """What left a root agent in the thread has escaped; there is no more to say."""

        def work() -> None:
            with agent_scope("root"):
                raise Lost("died")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert [(row.agent_name, row.fate, row.handled) for row in recorder.failures()] == [
            ("root", "escaped", 0)
        ]
        assert len(printed) == 1

    def test_without_a_scope(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """A thread of no agent is nobody's business; the hook before ours hears of it."""
        thread = threading.Thread(target=lambda: {}["missing"])
        thread.start()
        thread.join()
        assert recorder.events() == [] and len(printed) == 1

    @pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt()])
    def test_not_an_error(self, exc: BaseException, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """An exit or an interrupt is passed on, and leaves no row."""

        def work() -> None:
            raise exc

        with agent_scope("lead"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert printed == [exc]
        assert not recorder.failures()


class TestTask:
    """ "Task exception was never retrieved", on every Python."""

    def test_in_the_scope_of_its_context(self, recorder: MemoryRecorder) -> None:
        """The row stands in the agent that started the task, wherever the task is collected."""

        async def lose() -> None:
            raise Lost("in a task")

        async def work() -> None:
            async with agent_scope("starter"):
                task = asyncio.create_task(lose())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            async with agent_scope("bystander"):
                del task
                gc.collect()

        told = run_lost(work)
        assert fates(recorder) == [
            ("starter", "in a task", "swallowed", "<asyncio>:0 Task exception was never retrieved")
        ]
        assert [type(context["exception"]) for context in told] == [Lost]

    def test_of_a_tool(self, recorder: MemoryRecorder) -> None:
        """One error row, and a handled one beside it."""

        async def lose() -> None:
            fail("in a task")

        async def work() -> None:
            async with agent_scope("starter"):
                task = asyncio.create_task(lose())
                await asyncio.sleep(0)
                del task
                gc.collect()

        run_lost(work)
        kinds = [event.kind for event in recorder.events()]
        assert (kinds.count("error"), kinds.count("handled")) == (1, 1)
        assert [row.fate for row in recorder.failures()] == ["swallowed"]

    def test_awaited_task(self, recorder: MemoryRecorder) -> None:
        """A task whose exception was looked at is not lost here."""

        async def lose() -> None:
            fail("in a task")

        async def work() -> None:
            async with agent_scope("starter"):
                await asyncio.gather(lose(), return_exceptions=True)

        assert run_lost(work) == []
        assert not [event for event in recorder.events() if event.kind == "handled"]

    def test_callback(self, recorder: MemoryRecorder) -> None:
        """A callback that raises is recorded in the scope that it was set in."""

        def callback() -> None:
            raise Lost("in a callback")

        async def work() -> None:
            async with agent_scope("setter"):
                asyncio.get_running_loop().call_soon(callback)
            await asyncio.sleep(0)

        assert len(run_lost(work)) == 1
        assert [(row.agent_name, row.message) for row in recorder.failures()] == [("setter", "in a callback")]

    def test_future(self, recorder: MemoryRecorder) -> None:
        """A bare future counts where it is dropped."""

        async def work() -> None:
            async with agent_scope("holder"):
                asyncio.get_running_loop().create_future().set_exception(Lost("in a future"))
                gc.collect()

        run_lost(work)
        assert fates(recorder) == [
            ("holder", "in a future", "swallowed", "<asyncio>:0 Future exception was never retrieved")
        ]

    def test_no_scope(self, recorder: MemoryRecorder) -> None:
        """A task of no agent leaves no row, also when an agent runs as it is collected."""

        async def lose() -> None:
            raise Lost("elsewhere")

        async def work() -> None:
            task = asyncio.create_task(lose(), context=contextvars.Context())
            await asyncio.sleep(0)
            async with agent_scope("bystander"):
                del task
                gc.collect()

        assert len(run_lost(work)) == 1
        assert not recorder.failures()

    def test_uvloop(self, recorder: MemoryRecorder) -> None:
        """The loop of uvloop is followed too, also where it is imported later."""
        uvloop = pytest.importorskip("uvloop", exc_type=ImportError)

        async def lose() -> None:
            raise Lost("on uvloop")

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            async with agent_scope("starter"):
                task = asyncio.create_task(lose())
                await asyncio.sleep(0)
                del task
                gc.collect()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
        assert [(row.agent_name, row.message) for row in recorder.failures()] == [("starter", "on uvloop")]

    def test_cancelled_task(self, recorder: MemoryRecorder) -> None:
        """A cancelled task is no failure."""

        async def work() -> None:
            async with agent_scope("starter"):
                task = asyncio.create_task(asyncio.Event().wait())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.sleep(0)

        assert run_lost(work) == [] and not recorder.failures()

    def test_handler_that_raises(self, recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture) -> None:
        """A user's handler that breaks is dealt with by asyncio, as without us."""

        def broken(loop: Any, context: Any) -> None:
            raise RuntimeError("handler broke")

        async def lose() -> None:
            raise Lost("in a task")

        async def work() -> None:
            async with agent_scope("starter"):
                task = asyncio.create_task(lose())
                await asyncio.sleep(0)
                del task
                gc.collect()

        run_lost(work, broken)
        assert "Unhandled error in exception handler" in caplog.text
        assert "in a task" in [row.message for row in recorder.failures()]


class TestUnraisable:
    """What ``__del__`` and other places without a caller raise."""

    def test_finaliser(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """It names the function, and keeps neither the object nor the exception alive."""

        class Resource:
            def __del__(self) -> None:
                raise Lost("closing failed")

        with agent_scope("holder"):
            Resource()
        ((name, message, fate, handled_at),) = fates(recorder)
        assert (name, message, fate) == ("holder", "closing failed", "swallowed")
        assert "sys.unraisablehook" in handled_at and "Resource.__del__" in handled_at
        assert len(printed) == 1

    def test_without_a_scope(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """Outside any scope there is no row."""

        class Resource:
            def __del__(self) -> None:
                raise Lost("closing failed")

        Resource()
        assert recorder.events() == [] and len(printed) == 1


class TestConversationWithoutAgent:
    def test_main(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """In a conversation scope that holds no agent, the row stands in its agent ``main``."""
        with conversation_scope("chat-1"):
            thread = threading.Thread(target=lambda: {}["missing"])
            thread.start()
            thread.join()
        assert [(row.conversation_id, row.agent_name) for row in recorder.failures()] == [("chat-1", "main")]

    def test_exception_that_leaves_it(self, recorder: MemoryRecorder) -> None:
        """An error that left no agent ends the conversation's agent ``main``, and so the conversation."""
        with pytest.raises(Lost), conversation_scope("chat-1"):
            raise Lost("before any agent")
        assert [(row.agent_name, row.message, row.fate) for row in recorder.failures()] == [
            ("main", "before any agent", "escaped")
        ]
        assert recorder.store.conversation("chat-1").status == "failed"

    def test_exception_of_an_agent_that_leaves_it(self, recorder: MemoryRecorder) -> None:
        """One that left an agent inside has its row; an exit is none."""
        with pytest.raises(Lost), conversation_scope("chat-1"), agent_scope("lead"):
            raise Lost("of the agent")
        with pytest.raises(SystemExit), conversation_scope("chat-2"):
            raise SystemExit
        assert {event.agent_name for event in recorder.events()} == {"lead"}


class TestChaining:
    """What stood there goes on, in whatever order hooks come and go."""

    PLACES = ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook"))

    def test_puts_back(self, printed: list[Any]) -> None:
        """After ``uninstall`` the very hooks stand there that stood before."""
        before = [getattr(owner, name) for owner, name in self.PLACES]
        handler = asyncio.BaseEventLoop.call_exception_handler
        for _ in range(2):
            agenttrace.install("exceptions")
            agenttrace.install("exceptions")
            assert all(
                getattr(owner, name) is not hook
                for (owner, name), hook in zip(self.PLACES, before, strict=True)
            )
            agenttrace.uninstall("exceptions")
            assert [getattr(owner, name) for owner, name in self.PLACES] == before
            assert asyncio.BaseEventLoop.call_exception_handler is handler

    @pytest.mark.parametrize(("owner", "name"), PLACES)
    def test_somebody_in_front(
        self, owner: Any, name: str, printed: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hook set after ours and chained to it stays; ours below it then only passes on."""
        with memory_recorder() as recorder:
            ours = getattr(owner, name)
            seen: list[Any] = []

            def theirs(*args: Any) -> None:
                seen.append(args)
                ours(*args)

            monkeypatch.setattr(owner, name, theirs)
            exceptions.uninstall()
            assert getattr(owner, name) is theirs
            exc = Lost("x")
            args = threading.ExceptHookArgs((Lost, exc, None, threading.current_thread()))
            with agent_scope("lead"):
                if name == "excepthook" and owner is sys:
                    theirs(Lost, exc, None)
                elif owner is threading:
                    theirs(args)
                else:
                    theirs(_unraisable(exc))
            exceptions.install()
        assert len(seen) == 1 and printed == [exc]
        assert not recorder.failures()

    def test_installed_again_below_a_hook_in_front(
        self, printed: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Installed twice around somebody's hook, ours records once."""
        with memory_recorder() as recorder:
            ours = threading.excepthook
            monkeypatch.setattr(threading, "excepthook", lambda args: ours(args))
            exceptions.uninstall()
            exceptions.install()
            with agent_scope("lead"):
                thread = threading.Thread(target=lambda: {}["missing"])
                thread.start()
                thread.join()
        assert len(recorder.failures()) == 1
        assert not [event for event in recorder.events() if event.kind == "handled"]
        assert len(printed) == 1

    def test_former_hook_that_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the former hook raises, goes out as before."""

        def broken(*args: Any) -> None:
            raise RuntimeError("broken hook")

        monkeypatch.setattr(sys, "excepthook", broken)
        agenttrace.install("exceptions")
        with pytest.raises(RuntimeError, match="broken hook"):
            sys.excepthook(Lost, Lost("x"), None)

    def test_recording_that_fails(
        self, recorder: MemoryRecorder, printed: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failure of ours is counted, and the former hook runs all the same."""

        def broken(*args: Any) -> None:
            raise RuntimeError("ours")

        monkeypatch.setattr(exceptions, "note_fatal", broken)
        sys.excepthook(Lost, Lost("x"), None)
        assert len(printed) == 1
        assert agenttrace.errors.LOSSES["integrations.excepthook"] == 1


def _unraisable(exc: BaseException) -> Any:
    class Args:
        exc_value, exc_type, exc_traceback, err_msg, object = exc, type(exc), None, None, None

    return Args()


CHILDREN = """
import multiprocessing, sys
from agenttrace import agent_scope

def work(how):
    if how == "dies":
        raise ValueError("child died")
    if how == "exits":
        sys.exit(3)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with agent_scope("lead"):
        for how in ("dies", "exits", "ends"):
            child = context.Process(target=work, args=[how], name="the child")
            child.start()
            child.join()
            print(how, child.exitcode)
"""

PROGRAMS = {
    "plain": "raise ValueError('the end')",
    "agent": "with agent_scope('lead'):\n    raise ValueError('the end')",
    "after": "with agent_scope('lead'):\n    pass\nraise ValueError('the end')",
    "cause": "try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('the end') from e",
    "group": "raise ExceptionGroup('both', [ValueError('one'), OSError('two')])",
    "exit": "sys.exit('bye')",
    "interrupt": "raise KeyboardInterrupt",
    "thread": "t = threading.Thread(target=lambda: 1 / 0, name='w'); t.start(); t.join()",
    "own hook": "sys.excepthook = lambda *a: print('own hook', a[0], file=sys.stderr)\n1 / 0",
    "hook that raises": "def hook(*a):\n    raise OSError('hook')\nsys.excepthook = hook\n1 / 0",
    "str that raises": "class E(Exception):\n    def __str__(self): raise OSError('str')\nraise E()",
    "deep": "def f(n): return f(n - 1) if n else 1 / 0\nf(300)",
    "atexit": "import atexit\natexit.register(lambda: 1 / 0)",
    "task": "async def f(): raise ValueError('x')\nasync def main():\n    asyncio.ensure_future(f())\n"
    "    await asyncio.sleep(0)\nasyncio.run(main())",
    "warning": "import warnings; warnings.warn('careful')",
}


@pytest.mark.slow
class TestProcess:
    """The end of a program: the same bytes on stderr, the same exit code, and the reason on record."""

    @pytest.mark.parametrize("name", PROGRAMS)
    def test_output(self, name: str, tmp_path: Path) -> None:
        """Tracing changes neither what is printed nor the exit code."""
        program = tmp_path / "program.py"
        head = "import asyncio, sys, threading\nfrom agenttrace import agent_scope\n"
        program.write_text(head + PROGRAMS[name])
        run = "import runpy, sys; sys.argv = [sys.argv[1]]; runpy.run_path(sys.argv[0], run_name='__main__')"
        outcomes = []
        for switch in ("0", "1"):
            done = run_python(run, tmp_path / "t.db", str(program), AGENTTRACE=switch)
            outcomes.append((done.returncode, done.stdout, _without_addresses(done.stderr)))
        assert outcomes[0] == outcomes[1]

    def test_outside_any_scope(self, tmp_path: Path) -> None:
        """An exception that ends a program after its agents is the failure of its agent ``main``: escaped."""
        code = (
            "from agenttrace import agent_scope\nwith agent_scope('lead'):\n    pass\nraise ValueError('end')"
        )
        assert run_python(code, tmp_path / "t.db").returncode == 1
        rows = query(tmp_path / "t.db", "SELECT agent_name, message, fate, handled FROM failures")
        assert rows == [("main", "end", "escaped", 0)]
        assert query(tmp_path / "t.db", "SELECT status FROM agents ORDER BY agent_name") == [
            ("ok",),
            ("error",),
        ]

    def test_that_left_an_agent(self, tmp_path: Path) -> None:
        """One that left a root agent has its row: no second one."""
        code = "from agenttrace import agent_scope\nwith agent_scope('lead'):\n    raise ValueError('end')"
        run_python(code, tmp_path / "t.db")
        rows = query(tmp_path / "t.db", "SELECT agent_name, message, fate FROM failures")
        assert rows == [("lead", "end", "escaped")]
        assert query(tmp_path / "t.db", "SELECT count(*) FROM agents") == [(1,)]

    def test_swallowed_and_raised_again(self, tmp_path: Path) -> None:
        """A failure that an agent swallowed and that ends the program all the same has escaped."""
        code = (
            "from agenttrace import agent_scope, traced_tool\n"
            "@traced_tool\ndef fail():\n    raise ValueError('kept for later')\n"
            "with agent_scope('lead'):\n    try:\n        fail()\n"
            "    except ValueError as exc:\n        kept = exc\nraise kept\n"
        )
        assert run_python(code, tmp_path / "t.db").returncode == 1
        rows = query(tmp_path / "t.db", "SELECT agent_name, fate FROM failures ORDER BY id")
        assert rows == [("lead", "swallowed"), ("main", "escaped")]

    def test_in_a_program_without_agents(self, tmp_path: Path) -> None:
        """A program that records nothing leaves no database because it fails."""
        run_python("import agenttrace\nraise ValueError('end')", tmp_path / "t.db")
        assert not (tmp_path / "t.db").exists()

    def test_of_a_child_process(self, tmp_path: Path) -> None:
        """A child that dies of an exception tells so in the agent that started it."""
        child = "import agenttrace; raise ValueError('child died')"
        code = (
            "import subprocess, sys\nfrom agenttrace import agent_scope\nwith agent_scope('lead'):\n"
            f"    subprocess.run([sys.executable, '-c', {child!r}], stderr=subprocess.DEVNULL)\n"
        )
        run_python(code, tmp_path / "t.db")
        rows = query(tmp_path / "t.db", "SELECT agent_name, message, fate FROM failures")
        assert rows == [("lead", "child died", "swallowed")]

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_of_a_child_of_multiprocessing(self, method: str, tmp_path: Path) -> None:
        """A child of multiprocessing that dies calls no hook; it is told of, and prints what it printed."""
        program = tmp_path / "program.py"
        program.write_text(CHILDREN)
        outcomes = []
        for switch in ("0", "1"):
            done = subprocess.run(
                [sys.executable, str(program), method],
                env={
                    **os.environ,
                    "AGENTTRACE": switch,
                    "AGENTTRACE_DB": str(tmp_path / "t.db"),
                    "PYTHONPATH": str(ROOT),
                },
                capture_output=True,
                text=True,
                timeout=60,
            )
            outcomes.append((done.returncode, done.stdout, done.stderr))
        assert outcomes[0] == outcomes[1] and "child died" in outcomes[0][2]
        open_store(tmp_path / "t.db")
        rows = query(tmp_path / "t.db", "SELECT agent_name, message, fate, handled_at FROM failures")
        assert [row[:3] for row in rows] == [("lead", "child died", "swallowed")]
        assert rows[0][3] == "<multiprocessing>:0 the child"


def _without_addresses(text: str) -> str:
    return "\n".join(line.partition(" at 0x")[0] for line in text.splitlines())


class TestFatal:
    """``sys.excepthook`` called by whoever stands at the end of a stack."""

    def test_handled_before(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """A failure that was handled and then ends the program names the first."""
        error = Lost("stored")
        with agent_scope("lead"):
            record_exception(error)
        sys.excepthook(Lost, error, None)
        first, second = recorder.failures()
        assert first.error_id == second.error_id
        assert (first.agent_name, second.agent_name) == ("lead", "main")

    def test_swallowed_before(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """A failed call that an agent swallowed, raised again at the end, has escaped in the end."""
        caught: list[Lost] = []
        with agent_scope("lead"):
            try:
                fail("early")
            except Lost as exc:
                caught.append(exc)
        sys.excepthook(Lost, caught[0], None)
        first, second = recorder.failures()
        assert first.error_id == second.error_id and first.fate == "swallowed"
        assert (first.agent_name, second.agent_name) == ("lead", "main")

    def test_escaped_before(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """What left a root agent is told, also when another exception left one after it."""
        caught: list[Lost] = []
        for name in ("one", "two"):
            try:
                with agent_scope(name):
                    raise Lost(name)
            except Lost as exc:
                caught.append(exc)
        for exc in caught:
            sys.excepthook(Lost, exc, None)
        assert [row.agent_name for row in recorder.failures()] == ["one", "two"]

    def test_no_exception(self, recorder: MemoryRecorder, printed: list[Any]) -> None:
        """A hook called without one leaves nothing."""
        sys.excepthook(Lost, None, None)  # type: ignore[arg-type]
        assert printed == [None] and recorder.events() == []


class TestOff:
    """S0.18: with tracing off no hook of ours stands anywhere."""

    def test_hooks(self) -> None:
        """Imports and scopes leave the interpreter's own hooks in place."""
        code = (
            "import asyncio, json, logging, sys, threading, agenttrace\n"
            "before = asyncio.BaseEventLoop.call_exception_handler\n"
            "with agenttrace.agent_scope('a'): pass\n"
            "print(json.dumps([sys.excepthook is sys.__excepthook__,"
            " threading.excepthook is threading.__excepthook__,"
            " sys.unraisablehook is sys.__unraisablehook__,"
            " before.__code__.co_filename.endswith('base_events.py'),"
            " not hasattr(logging.Logger.callHandlers, '__wrapped__'),"
            " any(name.startswith('agenttrace.integrations') for name in sys.modules)]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert json.loads(done.stdout) == [True] * 5 + [False], done.stderr

    def test_switched_off_again(self, printed: list[Any]) -> None:
        """After ``disable`` the hooks that stand pass everything on."""
        agenttrace.install("exceptions")
        error = Lost("x")
        with agent_scope("lead"):
            sys.excepthook(Lost, error, None)
        assert printed == [error] and "__agenttrace_error__" not in vars(error)
