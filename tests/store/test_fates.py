"""What became of a failure, found from the rows alone: one small history per line of the table."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from agenttrace.store.batch import EventSink
from agenttrace.store.event_store import TraceStore
from tests.store.scenes import Scene

Case = Callable[[Scene], dict[str, str]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    """Put a history and the fates that it must show into the table."""
    CASES.append(function)
    return function


# escaped


@case
def leaves_the_root(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.end(root, error)
    return {error: "escaped"}


@case
def leaves_three_nested_operations(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    child = scene.agent("child", outer)
    error = scene.fail(child)
    scene.end(child, error)
    scene.end(outer, error)
    scene.end(root, error)
    return {error: "escaped"}


@case
def is_raised_by_the_root_itself(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.error(root)
    scene.end(root, error)
    return {error: "escaped"}


@case
def leaves_a_call_outside_any_agent(scene: Scene) -> dict[str, str]:
    error = scene.fail(None)
    return {error: "escaped"}


@case
def is_the_cause_of_one_that_leaves_the_root(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    first = scene.fail(outer)
    second = scene.error(outer, "could not load the page", type="RuntimeError", cause_error_id=first)
    scene.end(outer, second)
    scene.end(root, second)
    return {first: "escaped", second: "escaped"}


@case
def stands_at_the_end_of_a_chain_of_three(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.fail(root)
    second = scene.error(root, "second failure", cause_error_id=first, handled=True)
    third = scene.error(root, "third failure", cause_error_id=second)
    scene.end(root, third)
    return {first: "escaped", second: "escaped", third: "escaped"}


@case
def is_a_leaf_of_a_group_that_leaves_the_root(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    one, two = scene.fail(root, "a"), scene.fail(root, "b", "no such host: b")
    group = scene.error(root, "2 sub-exceptions", type="ExceptionGroup", leaves=[one, two])
    scene.end(root, group)
    return {one: "escaped", two: "escaped", group: "escaped"}


@case
def is_the_cause_of_a_leaf_of_a_group_that_leaves_the_root(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.fail(root)
    leaf = scene.error(root, "made from the first", cause_error_id=first, handled=True)
    group = scene.error(root, "1 sub-exception", type="ExceptionGroup", leaves=[leaf])
    scene.end(root, group)
    return {first: "escaped", leaf: "escaped", group: "escaped"}


@case
def passes_a_swallowed_relative_and_leaves_as_another(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    first = scene.fail(outer)
    dropped = scene.error(outer, "log shipping failed", cause_error_id=first, handled=True)
    raised = scene.error(outer, "page not loaded", cause_error_id=first)
    scene.end(outer, raised)
    scene.end(root, raised)
    return {first: "escaped", dropped: "swallowed", raised: "escaped"}


# swallowed


@case
def is_caught_by_the_agent_that_says_nothing(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.end(root, output="all fine")
    return {error: "swallowed"}


@case
def of_a_subagent_is_dropped_by_gather(scene: Scene) -> dict[str, str]:
    """``gather(return_exceptions=True)`` whose results nobody looks at."""
    root = scene.agent()
    good, bad = scene.agent("good", root), scene.agent("bad", root)
    error = scene.fail(bad)
    scene.end(bad, error)
    scene.end(good, output="done")
    scene.end(root, output="done")
    return {error: "swallowed"}


@case
def is_caught_by_the_tool_around_it(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    error = scene.fail(outer)
    scene.end(outer, output=[])
    scene.end(root)
    return {error: "swallowed"}


@case
def is_caught_by_a_tool_while_the_agent_goes_on(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    error = scene.fail(outer)
    scene.end(outer, output=[])
    return {error: "swallowed"}


@case
def is_handled_inside_a_call_that_ended_ok(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, handled=True, handled_at={"file": "a.py", "line": 3, "function": "f"})
    scene.end(call, output="")
    return {error: "swallowed"}


@case
def is_handled_inside_a_call_that_fails_of_something_else(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, handled=True)
    second = scene.error(call, "the disk is full", type="RuntimeError")
    scene.end(call, second)
    scene.end(root, second)
    return {first: "swallowed", second: "escaped"}


@case
def gives_way_to_an_unrelated_error(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    first = scene.fail(outer)
    second = scene.error(outer, "the disk is full", type="RuntimeError")
    scene.end(outer, second)
    scene.end(root, second)
    return {first: "swallowed", second: "escaped"}


@case
def lies_in_a_generator_that_is_left_early(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "stream")
    error = scene.fail(outer)
    scene.end(outer, status="stopped_early")
    return {error: "swallowed"}


@case
def is_the_cause_of_one_that_is_swallowed(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    first = scene.fail(outer)
    second = scene.error(outer, "could not load the page", cause_error_id=first)
    scene.end(outer, second)
    scene.end(root)
    return {first: "swallowed", second: "swallowed"}


@case
def is_a_leaf_of_a_group_that_is_swallowed(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    one = scene.fail(outer, "a")
    group = scene.error(outer, "1 sub-exception", type="ExceptionGroup", leaves=[one])
    scene.end(outer, group)
    scene.end(root)
    return {one: "swallowed", group: "swallowed"}


@case
def is_told_to_another_agent_only(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    other = scene.agent("other", root)
    worker = scene.agent("worker", root)
    error = scene.fail(worker)
    scene.model(other, "I read: no such file: a.txt")
    scene.end(worker)
    scene.end(other)
    scene.end(root)
    return {error: "swallowed"}


@case
def was_in_the_model_input_before_it_happened(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    scene.model(root, "beware of: no such file: a.txt")
    error = scene.fail(root)
    scene.end(root)
    return {error: "swallowed"}


@case
def stands_only_in_the_output_of_the_tool_that_caught_it(scene: Scene) -> dict[str, str]:
    """A tool's result is read by code; only a model's input or an agent's answer tells somebody."""
    root = scene.agent()
    outer = scene.call(root, "outer")
    error = scene.fail(outer)
    scene.end(outer, output="no such file: a.txt")
    scene.end(root, output="done")
    return {error: "swallowed"}


@case
def has_a_short_message_that_stands_there_without_its_type(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root, message="a", type="KeyError")
    scene.model(root, "a banana")
    scene.end(root)
    return {error: "swallowed"}


@case
def has_no_message_and_its_type_is_named_nowhere(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root, message="", type="AssertionError")
    scene.model(root, "go on")
    scene.end(root)
    return {error: "swallowed"}


@case
def is_in_the_answer_of_an_agent_that_failed_otherwise(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.fail(root)
    second = scene.error(root, "the disk is full")
    scene.end(root, second, output="no such file: a.txt")
    return {first: "swallowed", second: "escaped"}


@case
def was_returned_as_data_and_nobody_looked(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, "404 not found", returned="http_status")
    scene.end(call, error, output={"status": 404})
    scene.end(root, output="done")
    return {error: "swallowed"}


@case
def was_recorded_by_hand_in_a_call_that_ended_ok(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call)
    scene.end(call, output=None)
    scene.end(root)
    return {error: "swallowed"}


@case
def has_its_last_attempt_dropped(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, "timed out, 1st time")
    scene.add("retry", call, {"wait_ms": 1}, error_id=first)
    last = scene.error(call, "timed out, 2nd time")
    scene.end(call, last)
    scene.end(root)
    return {first: "retried", last: "swallowed"}


# retried


@case
def is_followed_by_a_retry(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call)
    scene.add("retry", call, {"wait_ms": 1}, error_id=error)
    scene.end(call, output="at last")
    scene.end(root)
    return {error: "retried"}


@case
def is_retried_and_the_last_attempt_leaves_the_root(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, "timed out, 1st time")
    scene.add("retry", call, {}, error_id=first)
    last = scene.error(call, "timed out, 2nd time")
    scene.end(call, last)
    scene.end(root, last)
    return {first: "retried", last: "escaped"}


@case
def is_retried_by_hand(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.call(root)
    error = scene.error(first)
    scene.end(first, error)
    second = scene.call(root, attempt=2, retry_of=first.span_id)
    scene.end(second, output="at last")
    scene.end(root)
    return {error: "retried"}


@case
def is_retried_by_hand_three_times_and_gives_up(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.call(root)
    one = scene.error(first, "timed out, 1st time")
    scene.end(first, one)
    two = scene.fail(root, message="timed out, 2nd time", attempt=2, retry_of=first.span_id)
    three = scene.fail(root, message="timed out, 3rd time", attempt=3, retry_of=first.span_id)
    scene.end(root, three)
    return {one: "retried", two: "retried", three: "escaped"}


@case
def lies_deeper_than_the_call_that_is_retried(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    outer = scene.call(root, "outer")
    error = scene.fail(outer, "inner")
    scene.end(outer, error)
    again = scene.call(root, "outer", attempt=2, retry_of=outer.span_id)
    scene.end(again)
    scene.end(root)
    return {error: "retried"}


@case
def is_the_cause_of_one_that_is_retried(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, handled=True)
    second = scene.error(call, "could not load the page", cause_error_id=first)
    scene.add("retry", call, {}, error_id=second)
    scene.end(call, output="at last")
    scene.end(root)
    return {first: "retried", second: "retried"}


@case
def becomes_the_library_s_own_error_in_the_end(scene: Scene) -> dict[str, str]:
    """tenacity without ``reraise``: ``RetryError`` from the last attempt's error."""
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, "timed out, 1st time")
    scene.add("retry", call, {}, error_id=first)
    last = scene.error(call, "timed out, 2nd time")
    given_up = scene.error(call, "RetryError[<Future>]", type="RetryError", cause_error_id=last)
    scene.end(call, given_up)
    scene.end(root, given_up)
    return {first: "retried", last: "escaped", given_up: "escaped"}


@case
def of_an_equal_call_that_is_no_retry(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.end(scene.call(root), output="another file")
    scene.end(root)
    return {error: "swallowed"}


@case
def lies_in_a_step_that_is_done_again_from_its_start(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    scene.end(scene.call(root, "clean"), output="a")
    error = scene.fail(root, "translate")
    scene.end(scene.call(root, "clean"), output="a")
    scene.end(scene.call(root, "translate"), output="b")
    scene.end(root)
    return {error: "retried"}


@case
def of_a_call_that_the_model_asks_for_again(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root, "translate")
    scene.end(scene.call(root, "clean"), output="a")
    scene.model(root, "go on")
    scene.end(scene.call(root, "translate"), output="b")
    scene.end(root)
    return {error: "swallowed"}


@case
def of_a_call_that_is_made_again_with_other_arguments(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root, "translate")
    scene.end(scene.call(root, "clean"), output="a")
    scene.end(scene.call(root, "translate", arguments={"page": 2}), output="b")
    scene.end(root)
    return {error: "swallowed"}


@case
def of_a_model_turn_is_followed_by_another(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail_turn(root)
    scene.model(root, "go on")
    scene.end(root)
    return {error: "retried"}


@case
def of_a_model_turn_is_followed_by_something_else(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail_turn(root)
    scene.end(scene.call(root))
    scene.model(root, "go on")
    scene.end(root)
    return {error: "swallowed"}


@case
def of_a_subagent_that_is_run_again(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.agent("digger", root, input="here")
    error = scene.fail(first)
    scene.end(first, error)
    second = scene.agent("digger", root, id="digger-2", input="here")
    scene.end(second)
    scene.end(root)
    return {error: "retried"}


@case
def of_a_subagent_that_makes_the_same_call_again(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.agent("digger", root)
    error = scene.fail(first)
    scene.end(first, error)
    second = scene.agent("digger", root, id="digger-2")
    scene.end(scene.call(second))
    scene.end(second)
    scene.end(root)
    return {error: "retried"}


@case
def of_a_subagent_that_is_followed_by_one_with_another_task(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.agent("digger", root, input="here")
    error = scene.fail(first)
    scene.end(first, error)
    second = scene.agent("digger", root, id="digger-2", input="there")
    scene.end(scene.call(second, arguments={"where": "there"}))
    scene.end(second)
    scene.end(root)
    return {error: "swallowed"}


@case
def is_raised_from_one_that_is_retried(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.call(root)
    error = scene.error(first)
    scene.end(first, error)
    raised = scene.error(root, "step failed", cause_error_id=error, handled=True)
    scene.end(scene.call(root, attempt=2, retry_of=first.span_id), output="at last")
    scene.end(root)
    return {error: "retried", raised: "retried"}


# reported


@case
def stands_in_the_next_model_input(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.model(root, [{"role": "tool", "content": "Error: no such file: a.txt"}])
    scene.end(root)
    return {error: "reported"}


@case
def stands_in_a_later_model_input(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.model(root, "first something else")
    scene.model(root, "by the way: no such file: a.txt")
    scene.end(root)
    return {error: "reported"}


@case
def stands_in_the_agent_s_answer(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.end(root, output="I could not read it: no such file: a.txt")
    return {error: "reported"}


@case
def of_a_subagent_stands_in_the_parent_s_model_input(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    child = scene.agent("child", root)
    error = scene.fail(child)
    scene.end(child, error)
    scene.model(root, "the child failed: no such file: a.txt")
    scene.end(root)
    return {error: "reported"}


@case
def of_a_subagent_stands_in_the_subagent_s_answer(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    child = scene.agent("child", root)
    error = scene.fail(child)
    scene.end(child, output={"failed": "no such file: a.txt"})
    scene.end(root, output="done")
    return {error: "reported"}


@case
def has_quotes_and_newlines_and_is_told(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    message = 'bad token "x"\nin line 2\tof C:\\temp'
    error = scene.fail(root, message=message)
    scene.model(root, [{"content": f"Error: {message}"}])
    scene.end(root)
    return {error: "reported"}


@case
def is_told_as_json_inside_a_text(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    message = 'bad token "x"\nin line 2'
    error = scene.fail(root, message=message)
    scene.model(root, [{"content": json.dumps({"error": message})}])
    scene.end(root)
    return {error: "reported"}


@case
def has_a_short_message_that_is_told_with_its_type(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root, message="'a'", type="KeyError")
    scene.model(root, "KeyError: 'a'")
    scene.end(root)
    return {error: "reported"}


@case
def has_no_message_but_its_type_is_told(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root, message="", type="AssertionError")
    scene.model(root, "Traceback: AssertionError")
    scene.end(root)
    return {error: "reported"}


@case
def is_handled_and_told(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, handled=True)
    scene.end(call, output="Error: no such file: a.txt")
    scene.model(root, "tool says: Error: no such file: a.txt")
    scene.end(root)
    return {error: "reported"}


@case
def was_returned_as_data_and_the_model_got_it(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, "404 not found", returned="http_status")
    scene.end(call, error, output={"error": "404 not found"})
    scene.model(root, [{"content": '{"error": "404 not found"}'}])
    scene.end(root)
    return {error: "reported"}


@case
def is_the_cause_of_one_that_is_told(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, handled=True)
    second = scene.error(call, "could not load the page", cause_error_id=first)
    scene.end(call, second)
    scene.model(root, "could not load the page")
    scene.end(root)
    return {first: "reported", second: "reported"}


@case
def is_told_although_the_root_fails_later(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    first = scene.fail(root)
    scene.model(root, "no such file: a.txt")
    second = scene.error(root, "the disk is full")
    scene.end(root, second)
    return {first: "reported", second: "escaped"}


@case
def is_long_and_told_without_its_tail(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    message = "cannot parse: " + "x" * 5000
    error = scene.fail(root, message=message)
    scene.model(root, message[:500])
    scene.end(root)
    return {error: "reported"}


@case
def stands_in_the_blob_of_a_model_input_that_was_cut(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    body = b'{"input":"' + b"x" * 5000 + b' no such file: a.txt"}'
    scene.add(
        "model_call",
        root,
        {"$agenttrace": "cut", "bytes": len(body), "sha256": "ab" * 32, "input": "x"},
        blob=("ab" * 32, body),
    )
    scene.end(root)
    return {error: "reported"}


# open


@case
def lies_in_an_operation_that_still_runs(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    return {error: "open"}


@case
def is_in_a_call_that_has_not_closed(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call)
    return {error: "open"}


@case
def is_handled_in_a_call_that_still_runs(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, handled=True)
    return {error: "open"}


@case
def lies_in_an_agent_that_was_interrupted(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.end(root, status="interrupted")
    return {error: "open"}


@case
def lies_in_an_agent_that_was_cancelled(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.end(root, status="cancelled")
    return {error: "open"}


@case
def is_the_cause_of_one_that_is_open(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    first = scene.error(call, handled=True)
    second = scene.error(call, "could not load the page", cause_error_id=first)
    scene.end(call, second)
    return {first: "open", second: "open"}


@case
def stands_outside_every_operation(scene: Scene) -> dict[str, str]:
    error = scene.error(None, handled=True)
    return {error: "open"}


# one failure, several rows


@case
def of_a_task_is_raised_again_where_it_is_awaited(scene: Scene) -> dict[str, str]:
    """The same object leaves an operation that does not enclose the first: a second row, one failure."""
    root = scene.agent()
    child = scene.agent("child", root)
    error = scene.fail(child)
    scene.end(child, error)
    waiting = scene.call(root, "wait")
    scene.error(waiting, error_id=error)
    scene.end(waiting, error)
    scene.end(root, error)
    return {error: "escaped"}


@case
def is_handled_at_a_place_that_becomes_known_later(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.fail(root)
    scene.add("handled", root, {"handled_at": {"file": "b.py", "line": 7, "function": "g"}}, error_id=error)
    scene.end(root)
    return {error: "swallowed"}


@case
def is_handled_and_raised_again_later(scene: Scene) -> dict[str, str]:
    """Caught, kept, and raised where nobody catches it: one failure, which escaped."""
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, handled=True)
    scene.end(call, output="")
    scene.error(root, error_id=error)
    scene.end(root, error)
    return {error: "escaped"}


@case
def is_handled_and_raised_again_and_told(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.error(root, handled=True)
    outer = scene.call(root, "outer")
    scene.error(outer, error_id=error)
    scene.end(outer, error)
    scene.model(root, "no such file: a.txt")
    scene.end(root)
    return {error: "reported"}


@case
def is_handled_and_raised_again_and_swallowed(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.error(root, handled=True)
    outer = scene.call(root, "outer")
    scene.error(outer, error_id=error)
    scene.end(outer, error)
    scene.end(root)
    return {error: "swallowed"}


@case
def is_given_back_as_data_by_the_call_that_caught_it(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    error = scene.error(call, handled=True)
    given = scene.error(call, "it did not work at all", type="ReturnedFailure", returned="error")
    scene.end(call, given, output={"error": "it did not work at all"})
    scene.model(root, "it did not work at all")
    scene.end(root)
    return {error: "reported", given: "reported"}


@case
def names_itself_as_its_cause(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    error = scene.error(root, error_id="e" * 16, cause_error_id="e" * 16)
    scene.end(root, error)
    return {error: "escaped"}


@case
def is_in_a_ring_of_causes(scene: Scene) -> dict[str, str]:
    root = scene.agent()
    call = scene.call(root)
    one = scene.error(call, "first of two", error_id="a" * 16, cause_error_id="b" * 16)
    two = scene.error(call, "second of two", error_id="b" * 16, cause_error_id="a" * 16)
    scene.end(call, two)
    scene.end(root, two)
    return {one: "escaped", two: "escaped"}


class TestFate:
    """``failures.fate``."""

    @pytest.mark.parametrize("history", CASES, ids=lambda history: history.__name__)
    def test_is_found_from_the_rows(self, history: Case, sink: EventSink, store: TraceStore) -> None:
        """Each history of the table shows exactly the fates beside it, one row per failure."""
        scene = Scene()
        expected = history(scene)
        scene.store(sink)
        assert {failure.error_id: failure.fate for failure in store.failures()} == expected
        assert len(store.failures()) == len(expected)

    @pytest.mark.parametrize("history", CASES, ids=lambda history: history.__name__)
    def test_is_the_same_in_a_database_with_other_conversations(
        self, history: Case, sink: EventSink, store: TraceStore
    ) -> None:
        """Neither a filter nor a conversation with the same spans and errors beside it changes a fate."""
        Scene_one, other = Scene("c1"), Scene("c2")
        expected = history(Scene_one)
        leaves_the_root(other)
        Scene_one.store(sink)
        other.store(sink)
        found = store.failures(conversation_id="c1", since_ms=0)
        assert {failure.error_id: failure.fate for failure in found} == expected

    def test_table_is_long_enough(self) -> None:
        """Every fate has histories in the table, and there are at least 40."""
        assert len(CASES) >= 40
