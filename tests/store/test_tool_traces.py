"""One row per call, with all its attempts: small histories and the row that each must show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agenttrace.store.batch import EventSink
from agenttrace.store.event_store import TraceStore
from tests.store.scenes import Scene

Case = Callable[[Scene], list[dict[str, Any]]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    """Put a history and the rows that it must show into the table."""
    CASES.append(function)
    return function


@case
def ok(scene: Scene) -> list[dict[str, Any]]:
    root = scene.agent()
    scene.end(scene.call(root, arguments={"path": "a.txt"}, turn=3), output="text", duration_ms=1.5)
    return [
        {
            "tool_name": "read",
            "tool_input": '{"path":"a.txt"}',
            "tool_output": "text",
            "status": "ok",
            "outcome": "ok",
            "attempts": 1,
            "failed_attempts": 0,
            "latency_ms": 1.5,
            "turn_number": 3,
            "error": None,
            "started_at": "2023-11-14 22:13:20.002",
            "finished_at": "2023-11-14 22:13:20.003",
        }
    ]


@case
def ok_with_structured_output(scene: Scene) -> list[dict[str, Any]]:
    scene.end(scene.call(scene.agent()), output={"rows": [1, 2]})
    return [{"tool_output": '{"rows":[1,2]}'}]


@case
def running(scene: Scene) -> list[dict[str, Any]]:
    scene.call(scene.agent())
    return [{"status": "running", "outcome": None, "finished_at": None, "attempts": 1, "failed_attempts": 0}]


@case
def failed(scene: Scene) -> list[dict[str, Any]]:
    error = scene.fail(scene.agent())
    return [
        {
            "status": "error",
            "error_id": error,
            "error": "OSError: no such file: a.txt",
            "attempts": 1,
            "failed_attempts": 1,
        }
    ]


@case
def interrupted(scene: Scene) -> list[dict[str, Any]]:
    scene.end(scene.call(scene.agent()), status="interrupted")
    return [{"status": "interrupted", "attempts": 1, "failed_attempts": 0, "error": None}]


@case
def retried_by_a_library(scene: Scene) -> list[dict[str, Any]]:
    """One call row, per failed attempt an error and a retry, one result."""
    call = scene.call(scene.agent())
    for _ in range(2):
        scene.add("retry", call, {"wait_ms": 1}, error_id=scene.error(call))
    scene.end(call, output="at last", duration_ms=9.0)
    return [
        {"status": "ok", "attempts": 3, "failed_attempts": 2, "tool_output": "at last", "latency_ms": 9.0}
    ]


@case
def retried_by_a_library_that_gives_up(scene: Scene) -> list[dict[str, Any]]:
    call = scene.call(scene.agent())
    scene.add("retry", call, {}, error_id=scene.error(call, "first"))
    last = scene.error(call, "second")
    scene.end(call, last)
    return [
        {"status": "error", "attempts": 2, "failed_attempts": 2, "error": "OSError: second", "error_id": last}
    ]


@case
def retried_by_hand(scene: Scene) -> list[dict[str, Any]]:
    """One closed pair per attempt; the row stands under the first span and ends with the last."""
    root = scene.agent()
    first = scene.call(root)
    scene.end(first, scene.error(first))
    scene.fail(root, attempt=2, retry_of=first.span_id)
    third = scene.call(root, attempt=3, retry_of=first.span_id)
    scene.end(third, output="at last", duration_ms=0.1)
    return [
        {
            "span_id": first.span_id,
            "status": "ok",
            "attempts": 3,
            "failed_attempts": 2,
            "tool_output": "at last",
            "latency_ms": 7.0,  # from the first attempt's start to the last one's end
        }
    ]


@case
def retried_by_hand_and_given_up(scene: Scene) -> list[dict[str, Any]]:
    root = scene.agent()
    first = scene.call(root)
    scene.end(first, scene.error(first))
    last = scene.fail(root, message="still not there", attempt=2, retry_of=first.span_id)
    return [{"status": "error", "attempts": 2, "failed_attempts": 2, "error_id": last}]


@case
def retried_by_hand_and_running(scene: Scene) -> list[dict[str, Any]]:
    root = scene.agent()
    first = scene.call(root)
    scene.end(first, scene.error(first))
    scene.call(root, attempt=2, retry_of=first.span_id)
    return [{"status": "running", "attempts": 2, "failed_attempts": 1, "finished_at": None}]


@case
def retried_by_hand_and_a_library(scene: Scene) -> list[dict[str, Any]]:
    root = scene.agent()
    first = scene.call(root)
    scene.add("retry", first, {}, error_id=scene.error(first))
    scene.end(first, scene.error(first))
    second = scene.call(root, attempt=2, retry_of=first.span_id)
    scene.add("retry", second, {}, error_id=scene.error(second))
    scene.end(second)
    return [{"status": "ok", "attempts": 4, "failed_attempts": 3}]


@case
def killed_while_a_library_waited(scene: Scene) -> list[dict[str, Any]]:
    """The last attempt had failed, as if a loop had closed its pair."""
    call = scene.call(scene.agent())
    scene.add("retry", call, {}, error_id=scene.error(call, "first"))
    last = scene.error(call, "second")
    scene.end(call, status="interrupted")
    return [
        {
            "status": "error",
            "outcome": "error",
            "attempts": 2,
            "failed_attempts": 2,
            "error": "OSError: second",
            "error_id": last,
            "latency_ms": 3.0,  # to the last error, and not to whoever found it
        }
    ]


@case
def killed_amid_an_attempt(scene: Scene) -> list[dict[str, Any]]:
    call = scene.call(scene.agent())
    scene.add("retry", call, {}, error_id=scene.error(call))
    scene.end(call, status="interrupted")
    return [{"status": "interrupted", "attempts": 2, "failed_attempts": 1, "error": None}]


@case
def killed_after_an_error_that_it_handled(scene: Scene) -> list[dict[str, Any]]:
    call = scene.call(scene.agent())
    scene.error(call, handled=True)
    scene.end(call, status="interrupted")
    return [{"status": "interrupted", "attempts": 1, "failed_attempts": 0}]


@case
def given_up_with_the_librarys_own_error(scene: Scene) -> list[dict[str, Any]]:
    """The last attempt's error says why, not the one that was raised from it."""
    call = scene.call(scene.agent())
    scene.add("retry", call, {}, error_id=scene.error(call, "first"))
    last = scene.error(call, "second")
    scene.end(call, scene.error(call, "RetryError[<Future>]", type="RetryError", cause_error_id=last))
    return [{"status": "error", "failed_attempts": 2, "error": "OSError: second", "error_id": last}]


@case
def that_raised_from_an_error_of_a_call_inside(scene: Scene) -> list[dict[str, Any]]:
    """Only an attempt at the call itself says why it failed."""
    outer = scene.call(scene.agent(), "outer")
    inner = scene.fail(outer)
    own = scene.error(outer, "no luck", type="GaveUp", cause_error_id=inner)
    scene.end(outer, own)
    return [{"tool_name": "outer", "error": "GaveUp: no luck", "error_id": own}, {"error_id": inner}]


@case
def whose_first_attempt_is_missing(scene: Scene) -> list[dict[str, Any]]:
    """A lost start hides no call."""
    root = scene.agent()
    second = scene.call(root, attempt=2, retry_of="f" * 16)
    scene.end(second, output="at last")
    return [{"span_id": second.span_id, "status": "ok"}]


@case
def beside_an_equal_one(scene: Scene) -> list[dict[str, Any]]:
    root = scene.agent()
    scene.end(scene.call(root))
    scene.fail(root)
    return [{"status": "ok", "attempts": 1}, {"status": "error", "attempts": 1}]


@case
def inside_another(scene: Scene) -> list[dict[str, Any]]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    scene.end(scene.call(outer, "inner"))
    scene.end(outer)
    return [
        {"tool_name": "outer", "status": "ok"},
        {"tool_name": "inner", "parent_span_id": outer.span_id},
    ]


@case
def with_an_error_that_it_handled(scene: Scene) -> list[dict[str, Any]]:
    """A swallowed exception inside a call is no failed attempt."""
    call = scene.call(scene.agent())
    scene.error(call, handled=True)
    scene.end(call)
    return [{"status": "ok", "attempts": 1, "failed_attempts": 0, "error": None}]


@case
def with_a_failure_returned_as_data(scene: Scene) -> list[dict[str, Any]]:
    call = scene.call(scene.agent())
    error = scene.error(call, "404 not found", type="HTTPStatus", returned="http_status")
    scene.end(call, error, output={"status": 404})
    return [{"status": "error", "error": "HTTPStatus: 404 not found", "failed_attempts": 1}]


@case
def whose_arguments_came_with_the_result(scene: Scene) -> list[dict[str, Any]]:
    call = scene.call(scene.agent(), arguments=None)
    scene.add("tool_result", call, {"output": 1, "is_error": False, "arguments": {"a": 1}}, status="ok")
    return [{"tool_input": '{"a":1}'}]


@case
def without_a_span(scene: Scene) -> list[dict[str, Any]]:
    scene.add("tool_call", None, {"arguments": {}}, tool_name="bare")
    return [{"tool_name": "bare", "status": "running", "attempts": 1}]


@case
def with_tokens_of_its_own(scene: Scene) -> list[dict[str, Any]]:
    call = scene.call(scene.agent())
    scene.end(call, input_tokens=10, output_tokens=5, cache_read_tokens=3, reasoning_tokens=2)
    return [{"tokens_used": 15, "cache_tokens": 3, "reasoning_tokens": 2}]


class TestToolTrace:
    """``tool_traces`` (S3.1)."""

    @pytest.mark.parametrize("history", CASES, ids=lambda history: history.__name__)
    def test_is_one_row_for_a_call(self, history: Case, sink: EventSink, store: TraceStore) -> None:
        """Each history of the table shows exactly the rows beside it, in the order of their starts."""
        scene, other = Scene("c1"), Scene("c2")
        expected = history(scene)
        history(other)  # the same spans in another conversation
        scene.store(sink)
        other.store(sink)
        found = store.tool_traces(conversation_id="c1")
        assert [
            {name: getattr(row, name) for name in wanted} for row, wanted in zip(found, expected, strict=True)
        ] == expected

    def test_counts_what_the_rollup_counts(self, sink: EventSink, store: TraceStore) -> None:
        """
        Calls and failed calls are the same numbers in the view and in the agent's rollup.

        But for a call killed between two attempts: the rollup counts it as what it was closed as.
        """
        for number, history in enumerate(CASES):
            scene = Scene(f"c{number}")
            history(scene)
            scene.store(sink)
        rows = [row for row in store.tool_traces() if row.span_id is not None]
        orphans = sum(history is whose_first_attempt_is_missing for history in CASES)
        _, sums = store.query("SELECT sum(tool_calls), sum(failed_calls) FROM agents")
        killed = sum(history is killed_while_a_library_waited for history in CASES)
        bare = 1  # the call without a span
        assert sums == [
            (len(rows) + bare - orphans, sum(row.status == "error" for row in rows) - orphans - killed)
        ]

    def test_names_its_session_and_chat(self, sink: EventSink, store: TraceStore) -> None:
        """``session_id`` and ``chat_id`` are the conversation."""
        scene = Scene("c9")
        ok(scene)
        scene.store(sink)
        (row,) = store.tool_traces()
        assert (row.session_id, row.chat_id, row.created_at) == ("c9", "c9", row.started_at)
