"""What was caught waits for its operation's next event, and is given up when it goes on."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agenttrace import agent_scope, model_turn, record_exception, suppressed, tool_scope, traced_tool
from agenttrace.capture.caught import ROWS_LIMIT_COUNT
from agenttrace.capture.waiting import BY_OBJECT, UNWRITTEN
from agenttrace.testing import MemoryRecorder, memory_recorder

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")


class Boom(Exception):
    pass


class Bang(Exception):
    pass


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    with memory_recorder() as found:
        yield found


def lose(text: str = "lost") -> None:
    try:
        raise Boom(text)
    except Boom:
        pass


@traced_tool
def fail() -> None:
    raise Boom("from the tool")


@traced_tool
def work() -> None:
    return None


def kinds(recorder: MemoryRecorder) -> list[str]:
    return [event.kind for event in recorder.events()]


def rows(recorder: MemoryRecorder, kind: str = "error") -> list[Any]:
    return [event for event in recorder.events() if event.kind == kind]


class TestRow:
    """What an error row of a caught exception says."""

    def test_error(self, recorder: MemoryRecorder) -> None:
        """Type, message, frames, the handler, and the operation that it happened in."""

        @traced_tool
        def read() -> str:
            try:
                os.listdir(os.devnull)
            except OSError:
                return "Error"
            return ""

        with agent_scope("lead"):
            read()
        (error,) = rows(recorder)
        (call,) = rows(recorder, "tool_call")
        assert error.payload["handled"] is True
        assert error.payload["error"]["type"] == error.error_type == "NotADirectoryError"
        frame = error.payload["error"]["frames"][-1]
        assert frame["file"] == __file__ and frame["function"].endswith("read")
        handled_at = error.payload["handled_at"]
        assert handled_at == {**frame, "line": frame["line"] + 1}
        assert (error.span_id, error.tool_name) == (call.span_id, "read")

    def test_failure_of_an_operation(self, recorder: MemoryRecorder) -> None:
        """One that left a traced call gets a ``handled`` row that names it, and no second error."""
        with agent_scope("lead") as lead:
            try:
                fail()
            except Boom:
                pass
            lead.set_output("fine")
        (error,), (handled,) = rows(recorder), rows(recorder, "handled")
        assert handled.error_id == error.error_id and error.payload.get("handled") is None
        assert handled.payload["handled_at"]["line"] > error.payload["error"]["frames"][0]["line"]
        (failure,) = recorder.failures()
        assert (failure.fate, bool(failure.handled)) == ("swallowed", True)

    def test_leaves_of_a_group(self, recorder: MemoryRecorder) -> None:
        """A group is one row per leaf, whatever it is nested in."""
        with agent_scope("lead"):
            try:
                raise ExceptionGroup("g", [Boom("a"), ExceptionGroup("h", [Bang("b")])])
            except ExceptionGroup:
                pass
        assert sorted(row.error_type for row in rows(recorder)) == ["Bang", "Boom"]

    def test_cause_of_a_call(self, recorder: MemoryRecorder) -> None:
        """One raised from a failure that has its row names that failure."""
        with agent_scope("lead"):
            try:
                try:
                    fail()
                except Boom as exc:
                    raise Bang("instead") from exc
            except Bang:
                pass
        low, high = rows(recorder)
        assert high.cause_error_id == low.error_id
        assert rows(recorder, "handled") == []

    def test_tool_scope(self, recorder: MemoryRecorder) -> None:
        """What is caught in a tool that joined a scope belongs to that one call."""

        @traced_tool(name="search")
        def search() -> None:
            lose()

        with agent_scope("lead"), tool_scope("search"):
            search()
        (error,), (call,) = rows(recorder), rows(recorder, "tool_call")
        assert error.span_id == call.span_id and error.tool_name == "search"

    def test_implicit_agent(self, recorder: MemoryRecorder) -> None:
        """The failure of a tool outside any scope is followed too; other exceptions there are not."""
        lose()
        try:
            fail()
        except Boom:
            pass
        assert len(rows(recorder)) == len(rows(recorder, "handled")) == 1


class TestOrder:
    """When it is written."""

    def test_before_the_next_call(self, recorder: MemoryRecorder) -> None:
        """Before the operation's next event."""
        with agent_scope("lead"):
            lose()
            work()
            lose()
        assert kinds(recorder) == [
            "agent_start",
            "error",
            "tool_call",
            "tool_result",
            "error",
            "agent_end",
        ]

    def test_before_a_model_call(self, recorder: MemoryRecorder) -> None:
        """Also before a turn of a model and before a subagent."""
        with agent_scope("lead"):
            lose()
            with model_turn("some-model"):
                lose()
            lose()
            with agent_scope("sub"):
                pass
        found = [event.kind for event in sorted(recorder.events(), key=lambda event: event.id)]
        assert found == [
            *("agent_start", "error", "model_selected", "model_call", "error", "model_turn", "error"),
            *("agent_start", "agent_end", "agent_end"),
        ]

    def test_handler_that_still_runs(self, recorder: MemoryRecorder) -> None:
        """What is being handled waits, because the handler may raise it again."""
        with contextlib.suppress(Boom), agent_scope("lead"):
            try:
                raise Boom("goes on")
            except Boom:
                work()
                raise
        (error,) = rows(recorder)
        assert error.payload.get("handled") is None

    def test_with_that_still_runs(self, recorder: MemoryRecorder) -> None:
        """A scope that an exception leaves does not count as what caught it."""
        with contextlib.suppress(Boom), agent_scope("lead"), agent_scope("sub"):
            with contextlib.ExitStack() as stack:
                stack.callback(work)
                raise Boom("leaves")
        (error,) = rows(recorder)
        assert error.payload.get("handled") is None and rows(recorder, "handled") == []

    def test_read_early(self, recorder: MemoryRecorder) -> None:
        """Whoever reads or flushes sees what waits."""
        with agent_scope("lead"):
            lose()
            assert len(rows(recorder)) == 1


class TestGoingOn:
    """What is raised again, or told of by another, is not lost."""

    def test_raised_later(self, recorder: MemoryRecorder) -> None:
        """One that was written as handled and is raised later is an error of the same id: one failure."""
        kept = Boom("stored")
        with contextlib.suppress(Boom), agent_scope("lead"):
            try:
                raise kept
            except Boom:
                pass
            work()
            raise kept
        first, second = rows(recorder)
        assert first.error_id == second.error_id
        assert (first.payload.get("handled"), second.payload.get("handled")) == (True, None)
        assert len(recorder.failures()) == 1

    def test_mark(self, recorder: MemoryRecorder) -> None:
        """An exception that went on through our files, and that no row tells of, bears no mark of ours."""
        source = (
            "def call(function):\n    try:\n        function()\n"
            "    except Exception as exc:\n        return exc\n"
        )
        names: dict[str, Any] = {}
        exec(compile(source, os.path.join("/opt", "site-packages", "caller.py"), "exec"), names)

        def through() -> None:
            try:
                raise Boom("x")
            finally:
                repr(0)

        with agent_scope("lead"):
            exc = names["call"](through)
        assert vars(exc) == {} and rows(recorder) == []
        (end,) = rows(recorder, "agent_end")
        assert end.payload["caught"] == {"elsewhere_count": 1}

    def test_rethrown_inside_a_handler(self, recorder: MemoryRecorder) -> None:
        """A handler that asks a helper, which raises and catches the same object, still caught it."""

        def is_boom(exc: Exception) -> bool:
            namespace: dict[str, Any] = {"exc": exc}
            source = "try:\n    raise exc\nexcept Exception:\n    pass\n"
            exec(compile(source, os.path.join("/opt", "site-packages", "helper.py"), "exec"), namespace)
            return True

        with agent_scope("lead"):
            try:
                raise Boom("x")
            except Boom as exc:
                is_boom(exc)
        (error,) = rows(recorder)
        assert error.payload["handled_at"]["file"] == __file__

    def test_handler_in_a_manager_of_another_package(self, recorder: MemoryRecorder) -> None:
        """A generator of another package that swallows inside our ``with`` leaves the ``with`` as handler."""
        source = (
            "import contextlib\n"
            "@contextlib.contextmanager\n"
            "def calm():\n"
            "    try:\n"
            "        yield\n"
            "    except Exception:\n"
            "        pass\n"
        )
        names: dict[str, Any] = {}
        exec(compile(source, os.path.join("/opt", "site-packages", "calm.py"), "exec"), names)
        with agent_scope("lead"):
            with names["calm"]():
                raise Boom("x")
        (error,) = rows(recorder)
        assert error.payload["handled_at"]["file"] == __file__

    def test_same_address(self, recorder: MemoryRecorder) -> None:
        """Exceptions that follow one another at one address are as many failures."""
        with agent_scope("lead"):
            for number in range(20):
                lose(f"number {number}")
        assert [row.payload["error"]["message"] for row in rows(recorder)] == [
            f"number {number}" for number in range(20)
        ]

    def test_thread(self, recorder: MemoryRecorder) -> None:
        """What one thread catches and another raises again is no loss."""
        box: list[BaseException] = []

        def catch() -> None:
            try:
                raise Boom("carried")
            except Boom as exc:
                box.append(exc)

        with contextlib.suppress(Boom), agent_scope("lead"):
            thread = threading.Thread(target=catch)
            thread.start()
            thread.join()
            raise box[0]
        (error,) = rows(recorder)
        assert error.payload.get("handled") is None

    def test_pickled(self, recorder: MemoryRecorder) -> None:
        """A copy that has been through pickle is the same failure."""
        with contextlib.suppress(Boom), agent_scope("lead"):
            box = []
            try:
                raise Boom("x")
            except Boom as exc:
                box.append(exc)
            work()
            raise pickle.loads(pickle.dumps(box[0]))
        assert len({row.error_id for row in rows(recorder)}) == 1

    def test_nothing_left(self, recorder: MemoryRecorder) -> None:
        """After an operation's end, nothing of it waits or is known by its address."""
        with contextlib.suppress(Boom), agent_scope("lead"):
            for _ in range(3 * ROWS_LIMIT_COUNT):
                lose()
            raise Boom("x")
        assert not UNWRITTEN and not BY_OBJECT


class TestBounds:
    """What is kept of many."""

    def test_rows(self, recorder: MemoryRecorder) -> None:
        """50 rows an operation, and the number of the others with its end."""
        with agent_scope("lead"):
            for _ in range(ROWS_LIMIT_COUNT + 30):
                lose()
        (end,) = rows(recorder, "agent_end")
        assert len(rows(recorder)) == ROWS_LIMIT_COUNT
        assert end.payload["caught"] == {"more_count": 30}

    def test_passing_on_does_not_count(self, recorder: MemoryRecorder) -> None:
        """Beyond the limit, what passes through ``finally`` or is translated counts once."""

        def through() -> None:
            try:
                raise Boom("x")
            finally:
                repr(0)

        def translate() -> None:
            try:
                through()
            except Boom as exc:
                raise Bang("y") from exc

        with agent_scope("lead"):
            for _ in range(ROWS_LIMIT_COUNT + 30):
                with contextlib.suppress(Bang):
                    translate()
        (end,) = rows(recorder, "agent_end")
        assert len(rows(recorder)) == ROWS_LIMIT_COUNT
        assert end.payload["caught"] == {"more_count": 30}

    def test_text_of_the_others(self, recorder: MemoryRecorder) -> None:
        """The text of what gets no row is not asked for."""
        asked = []

        class Chatty(Exception):
            def __str__(self) -> str:
                asked.append(1)
                return "text"

        with agent_scope("lead"):
            for _ in range(ROWS_LIMIT_COUNT + 30):
                with contextlib.suppress(Chatty):
                    raise Chatty
        assert len(asked) == ROWS_LIMIT_COUNT

    def test_lookups(self, recorder: MemoryRecorder) -> None:
        """Expected look-ups are a number with the operation's end."""
        with agent_scope("lead"):
            for key in range(5):
                try:
                    {}[key]
                except KeyError:
                    pass
        (end,) = rows(recorder, "agent_end")
        assert rows(recorder) == [] and end.payload["caught"] == {"lookup_count": 5}

    @pytest.mark.slow
    def test_a_million_lookups(self, recorder: MemoryRecorder) -> None:
        """A million of them are one number, and no row."""

        @traced_tool
        def look_up() -> None:
            table: dict[int, int] = {}
            for key in range(1_000_000):
                try:
                    table[key]
                except KeyError:
                    pass

        with agent_scope("lead"):
            look_up()
        (end,) = rows(recorder, "tool_result")
        assert rows(recorder) == [] and end.payload["caught"] == {"lookup_count": 1_000_000}

    def test_lookup_from_further_away(self, recorder: MemoryRecorder) -> None:
        """A KeyError that another function of the user raised is an error."""

        def find() -> None:
            {}["missing"]

        with agent_scope("lead"), contextlib.suppress(KeyError):
            find()
        (error,) = rows(recorder)
        assert error.error_type == "KeyError"

    def test_hostile_text(self, recorder: MemoryRecorder) -> None:
        """An exception whose text cannot be had is recorded without it."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise Boom("no text")

        with agent_scope("lead"), contextlib.suppress(Mute):
            raise Mute
        (error,) = rows(recorder)
        assert "Boom" in error.payload["error"]["message"]


class TestSaidByHand:
    """Together with ``record_exception`` and ``suppressed``."""

    def test_record_exception(self, recorder: MemoryRecorder) -> None:
        """A caught exception that is recorded by hand is one row, with its clause as the handler."""
        with agent_scope("lead"):
            try:
                raise Boom("x")
            except Boom as exc:
                record_exception(exc)
        (error,) = rows(recorder)
        frame = error.payload["error"]["frames"][-1]
        assert error.payload["handled_at"]["line"] == frame["line"] + 1

    def test_record_exception_that_goes_on(self, recorder: MemoryRecorder) -> None:
        """``handled=False`` is believed."""
        with contextlib.suppress(Boom), agent_scope("lead"):
            try:
                raise Boom("x")
            except Boom as exc:
                record_exception(exc, handled=False)
                raise
        assert [row.payload.get("handled") for row in rows(recorder)] == [None]

    def test_suppressed(self, recorder: MemoryRecorder) -> None:
        """``suppressed`` writes one row."""
        with agent_scope("lead"), suppressed(Boom):
            raise Boom("x")
        (error,) = rows(recorder)
        assert error.payload["handled"] is True


class TestManyThreads:
    """Threads that share one operation."""

    @pytest.mark.slow
    def test_each_row_once(self, recorder: MemoryRecorder) -> None:
        """Whatever threads settle beside each other, each exception is written exactly once."""

        def run(name: int) -> None:
            for number in range(10):
                lose(f"{name}-{number}")
                work()

        with agent_scope("lead"):
            threads = [threading.Thread(target=run, args=(name,)) for name in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        texts = [row.payload["error"]["message"] for row in rows(recorder)]
        assert sorted(texts) == sorted(f"{name}-{number}" for name in range(4) for number in range(10))
