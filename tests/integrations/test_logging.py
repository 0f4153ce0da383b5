"""What a program logs inside a scope becomes notes; how it logs stays its own affair."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import logging.handlers
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope, conversation_scope, traced_tool
from agenttrace.errors import LOSSES
from agenttrace.testing import MemoryRecorder, memory_recorder
from tests.reading import query, run_python


class Boom(Exception):
    pass


@traced_tool
def fail() -> None:
    raise Boom("the tool failed")


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """Give a logger of the program's own, with a handler that formats."""
    logger = logging.Logger("program.part")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    yield logger


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    with memory_recorder() as found:
        yield found


def notes(recorder: MemoryRecorder) -> list[tuple[str, str, str]]:
    return [
        (event.payload["level"], event.payload["text"], event.payload["logger"])
        for event in recorder.events()
        if event.kind == "note"
    ]


class TestNotes:
    """Issue: `warning` and above inside a scope become ``note`` events."""

    def test_levels(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """From WARNING up, with level, text and logger; below it nothing."""
        with agent_scope("lead"):
            for level in ("debug", "info", "warning", "error", "critical"):
                getattr(log, level)("about %s: %d", "parts", 7)
            log.log(35, "between")
        assert notes(recorder) == [
            ("warning", "about parts: 7", "program.part"),
            ("error", "about parts: 7", "program.part"),
            ("critical", "about parts: 7", "program.part"),
            ("level 35", "between", "program.part"),
        ]
        assert not recorder.failures()

    def test_stands_in_its_operation(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """A note hangs below the call that logged it."""

        @traced_tool
        def tool() -> None:
            log.warning("careful")

        with agent_scope("lead"):
            tool()
        (note,) = [event for event in recorder.events() if event.kind == "note"]
        (call,) = [event for event in recorder.events() if event.kind == "tool_call"]
        assert note.parent_span_id == call.span_id and note.agent_name == "lead"

    def test_outside_any_scope(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """What is logged outside any scope is nobody's note."""
        log.error("alone")
        assert recorder.events() == []

    def test_conversation_without_agent(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """In a conversation that holds no agent it is a note of its agent ``main``."""
        with conversation_scope("chat"):
            log.error("alone")
        assert [event.agent_name for event in recorder.events() if event.kind == "note"] == ["main"]

    def test_our_own_loggers(self, recorder: MemoryRecorder) -> None:
        """What recording logs is no note."""
        with agent_scope("lead"):
            for name in ("agenttrace", "agenttrace.demo", "peewee"):
                logging.getLogger(name).error("about recording")
        assert notes(recorder) == []

    def test_bounded(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """Fifty notes of an operation are kept, and the end of the agent's run counts the others."""

        @traced_tool
        def chatty() -> None:
            for number in range(70):
                log.warning("number %d", number)

        with agent_scope("lead"):
            chatty()
            log.warning("x" * 10_000_000)
        found = notes(recorder)
        assert len(found) == 51 and found[49][1] == "number 49" and len(found[50][1]) == 2_000
        assert recorder.events()[-1].payload["notes"] == {"more_count": 20}

    def test_bounded_after_the_end(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """What can be counted in no end is counted as a loss."""
        with agent_scope("lead"):
            context = __import__("contextvars").copy_context()
        for _ in range(60):
            context.run(log.warning, "late")
        assert len(notes(recorder)) == 50 and LOSSES["integrations.logging_more"] == 10


class TestExceptions:
    """``logger.exception`` tells of a failure that nobody else may hear of."""

    def test_swallowed(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """It is one failure, handled, and the note names it."""
        with agent_scope("lead"):
            try:
                raise Boom("swallowed")
            except Boom:
                log.exception("it failed")
        (failure,) = recorder.failures()
        (note,) = [event for event in recorder.events() if event.kind == "note"]
        assert (failure.message, failure.fate, failure.handled) == ("swallowed", "swallowed", 1)
        assert note.error_id == failure.error_id
        assert failure.handled_at is not None and "test_logging.py" in failure.handled_at
        kinds = [event.kind for event in recorder.events()]
        assert (kinds.count("error"), kinds.count("handled")) == (1, 0)

    def test_of_a_tool(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """A failure that has its row gets a ``handled`` row beside it, once, and no second error."""
        with agent_scope("lead"):
            try:
                fail()
            except Boom:
                log.exception("it failed")
                log.warning("again", exc_info=True)
        kinds = [event.kind for event in recorder.events()]
        assert (kinds.count("error"), kinds.count("handled"), kinds.count("note")) == (1, 1, 2)
        (failure,) = recorder.failures()
        assert {event.error_id for event in recorder.events() if event.kind in ("note", "handled")} == {
            failure.error_id
        }

    @pytest.mark.parametrize("of_a_tool", [False, True])
    def test_raised_again(self, of_a_tool: bool, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """Logged and passed on, it is still one failure with one row, and it escaped."""
        with pytest.raises(Boom), agent_scope("lead"):
            try:
                if of_a_tool:
                    fail()
                raise Boom("mine")
            except Boom:
                log.exception("it failed")
                raise
        (failure,) = recorder.failures()
        assert failure.fate == "escaped"
        assert [event.kind for event in recorder.events()].count("error") == 1
        assert {e.error_id for e in recorder.events() if e.kind in ("note", "agent_end")} == {
            failure.error_id
        }

    def test_logged_at_every_level(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """Three layers that log the same exception on its way tell of one failure."""

        @traced_tool
        def deep(depth: int) -> None:
            try:
                if depth == 0:
                    raise Boom("deep")
                deep(depth - 1)
            except Boom:
                log.exception("at %d", depth)
                raise

        with agent_scope("lead"):
            try:
                deep(2)
            except Boom:
                log.exception("at the top")
        (failure,) = recorder.failures()
        assert failure.fate == "swallowed"
        assert [event.kind for event in recorder.events()].count("error") == 1
        assert len(notes(recorder)) == 4

    def test_exception_of_a_future(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """One that was never caught, only taken out and logged, is known too."""
        error = Boom("from a future")
        with agent_scope("lead"):
            log.error("it failed", exc_info=error)
        assert [(row.message, row.fate) for row in recorder.failures()] == [("from a future", "swallowed")]

    @pytest.mark.parametrize("exc", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()])
    def test_no_error(self, exc: BaseException, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """A cancellation that is logged is a note, and no failure."""
        with agent_scope("lead"):
            log.warning("stopping", exc_info=exc)
        assert len(notes(recorder)) == 1 and not recorder.failures()

    def test_lost_task(self, recorder: MemoryRecorder) -> None:
        """What asyncio logs of a lost task stands in the task's agent, with the one failure."""

        async def lose() -> None:
            raise Boom("in a task")

        async def main() -> None:
            async with agent_scope("starter"):
                task = asyncio.create_task(lose())
                await asyncio.sleep(0)
            async with agent_scope("bystander"):
                del task
                gc.collect()

        asyncio.run(main())
        (failure,) = recorder.failures()
        (note,) = [event for event in recorder.events() if event.kind == "note"]
        assert (note.agent_name, note.error_id, note.payload["logger"]) == (
            "starter",
            failure.error_id,
            "asyncio",
        )
        assert not [event for event in recorder.events() if event.kind == "handled"]


class TestFormatting:
    """No code of an argument runs that would not run without us, and none twice."""

    class Counted:
        def __init__(self) -> None:
            self.count = 0

        def __str__(self) -> str:
            self.count += 1
            return f"text {self.count}"

        __repr__ = __str__

    def test_once(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """An argument is formatted by the handlers alone."""
        thing = self.Counted()
        with agent_scope("lead"):
            log.warning("about %s", thing)
        assert thing.count == 1 and notes(recorder)[0][1] == "about text 1"

    def test_not_at_all(self, recorder: MemoryRecorder) -> None:
        """Where no handler formats, no ``__str__`` runs; the text tells what can be told."""
        logger = logging.Logger("quiet")
        logger.addHandler(logging.NullHandler())
        thing = self.Counted()
        with agent_scope("lead"):
            logger.warning("about %s and %s", thing, "parts")
            logger.warning("%(one)s", {"one": 1})
            logger.warning(thing)
            logger.warning(ValueError("as the message"))
            logger.warning("%d", "no number")
            logger.warning("100%")
        texts = [text for _, text, _ in notes(recorder)]
        assert thing.count == 0
        assert texts[0].startswith("about ") and texts[0].endswith(" and parts") and "Counted" in texts[0]
        assert texts[1] == "1" and texts[3] == "as the message"
        assert "no number" in texts[4] and texts[5] == "100%"

    @pytest.mark.parametrize("raise_exceptions", [True, False])
    def test_str_that_raises(
        self,
        raise_exceptions: bool,
        recorder: MemoryRecorder,
        log: logging.Logger,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A broken argument is logging's own affair, told or not as ``raiseExceptions`` says."""
        monkeypatch.setattr(logging, "raiseExceptions", raise_exceptions)

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("broken")

        with agent_scope("lead"):
            log.warning("about %s", Broken())
        assert ("--- Logging error ---" in capsys.readouterr().err) is raise_exceptions
        assert len(notes(recorder)) == 1


class TestTransparency:
    """Handlers, levels, ``propagate`` and the root's configuration are the program's own."""

    def test_installs_no_handler(self) -> None:
        """Nothing hangs anywhere, and ``basicConfig`` does what it does without us."""
        root = logging.getLogger()
        before = list(root.handlers), root.level, logging.Logger.callHandlers
        agenttrace.install("logging")
        assert (list(root.handlers), root.level) == before[:2]
        agenttrace.uninstall("logging")
        assert logging.Logger.callHandlers is before[2]

    def test_respects_what_is_switched_off(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """A disabled logger, a level, a filter and ``logging.disable`` keep notes away as well."""
        with agent_scope("lead"):
            log.setLevel(logging.ERROR)
            log.warning("below its level")
            log.setLevel(logging.NOTSET)
            log.disabled = True
            log.error("disabled")
            log.disabled = False
            logging.disable(logging.CRITICAL)
            try:
                logging.getLogger("program").error("all disabled")
            finally:
                logging.disable(logging.NOTSET)
            log.addFilter(lambda record: "secret" not in record.getMessage())
            log.error("secret")
            log.error("open")
        assert [text for _, text, _ in notes(recorder)] == ["open"]

    def test_handler_that_raises(self, recorder: MemoryRecorder) -> None:
        """What a handler raises goes out as it did; the note is kept."""

        class Broken(logging.Handler):
            def handle(self, record: logging.LogRecord) -> bool:
                raise Boom("handler")

        logger = logging.Logger("broken")
        logger.addHandler(Broken())
        with agent_scope("lead"), pytest.raises(Boom):
            logger.error("text")
        assert len(notes(recorder)) == 1

    def test_handler_that_logs(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """A handler that logs itself leaves two notes, and no recursion."""

        class Chatty(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                log.warning("from the handler")

        logger = logging.Logger("outer")
        logger.addHandler(Chatty())
        with agent_scope("lead"):
            logger.error("text")
        assert [text for _, text, _ in notes(recorder)] == ["from the handler", "text"]

    def test_recording_that_logs(
        self, recorder: MemoryRecorder, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is logged while a note is made, is none."""
        from agenttrace.integrations import logging as bridge

        text_of = bridge._text_of

        def chatty(record: logging.LogRecord) -> str:
            log.error("from within")
            return text_of(record)

        monkeypatch.setattr(bridge, "_text_of", chatty)
        with agent_scope("lead"):
            log.error("text")
        assert [text for _, text, _ in notes(recorder)] == ["text"]

    def test_queue_handler(self, recorder: MemoryRecorder) -> None:
        """A record that travels to a listener's thread is noted once, where it was logged."""
        records: queue.SimpleQueue[Any] = queue.SimpleQueue()
        logger = logging.Logger("queued")
        logger.addHandler(logging.handlers.QueueHandler(records))  # type: ignore[arg-type]
        out = io.StringIO()
        listener = logging.handlers.QueueListener(records, logging.StreamHandler(out))  # type: ignore[arg-type]
        listener.start()
        with agent_scope("lead"):
            logger.error("about %s", "parts")
        listener.stop()
        assert out.getvalue() == "about parts\n" and [text for _, text, _ in notes(recorder)] == [
            "about parts"
        ]

    def test_threads(self, recorder: MemoryRecorder, log: logging.Logger) -> None:
        """Many threads of two agents log at once: each note stands in its agent."""

        def work(name: str) -> None:
            for _ in range(10):
                log.warning(name)

        threads = []
        for name in ("one", "two"):
            with agent_scope(name):
                for _ in range(4):
                    threads.append(threading.Thread(target=work, args=[name]))
                    threads[-1].start()
        for thread in threads:
            thread.join()
        found = [
            (event.agent_name, event.payload["text"]) for event in recorder.events() if event.kind == "note"
        ]
        assert sorted(set(found)) == [("one", "one"), ("two", "two")] and len(found) == 80


PROGRAMS = {
    "last resort": "log.warning('careful %s', 1); log.exception('x'); log.info('no')",
    "basic config": "logging.basicConfig(level='WARNING'); log.error('x', exc_info=ValueError('v'))",
    "broken format": "log.warning('%d', 'no number')",
    "stack": "log.warning('with a stack', stack_info=True, stacklevel=1)",
    "warnings": "logging.captureWarnings(True); import warnings; warnings.warn('careful')",
    "where": "logging.basicConfig(format='%(funcName)s %(lineno)d %(filename)s'); log.error('x')",
    "own class": "class L(logging.Logger):\n    def handle(self, r): print('own'); super().handle(r)\n"
    "logging.setLoggerClass(L); logging.getLogger('other').error('x')",
}


@pytest.mark.slow
class TestProcess:
    @pytest.mark.parametrize("name", PROGRAMS)
    def test_output(self, name: str, tmp_path: Path) -> None:
        """A program prints the same bytes with tracing on and off."""
        body = "\n".join("    " + line for line in PROGRAMS[name].splitlines())
        code = (
            "import logging\nfrom agenttrace import agent_scope\nlog = logging.getLogger('program')\n"
            f"with agent_scope('lead'):\n{body}\n"
        )
        outcomes = []
        for switch in ("0", "1"):
            done = run_python(code, tmp_path / "t.db", AGENTTRACE=switch)
            outcomes.append((done.returncode, done.stdout, done.stderr))
        assert outcomes[0] == outcomes[1] and outcomes[0][0] == 0
        rows = query(tmp_path / "t.db", "SELECT count(*) FROM trajectory_events WHERE kind = 'note'")
        assert rows[0][0] >= 1
