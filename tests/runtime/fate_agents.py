"""
Small agents as people write them, each of which can end its failure in five ways.

An agent is a function of a `Case`. ``case.fail()`` is the work that fails; ``case.handle(exc, tell)``
stands in its ``except`` and goes on as the case's fate demands: it tells, raises again, or does
nothing; ``case.go_on()`` stands where the agent goes on, and kills the process where the failure is
to stay open. Run as a program: ``fate_agents.py <fate> [<agent>]``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from agenttrace import (
    agent_scope,
    conversation_scope,
    model_turn,
    record_exception,
    suppressed,
    tool_scope,
    traced_agent,
    traced_tool,
)

__all__ = ["AGENTS", "NEEDS_MONITORING", "Case"]

Tell = Callable[[BaseException], Any]
AGENTS: dict[str, Callable[[Case], Any]] = {}
NEEDS_MONITORING: set[str] = set()
"""Agents whose failure never leaves a traced operation and that say nothing of it to us."""


class AgentError(Exception):
    """What an agent raises from somebody else's error."""


class Case:
    """One run of one agent."""

    def __init__(self, name: str, fate: str) -> None:
        self.name = name
        self.fate = fate
        self.text = f"no route to the {name.replace('_', ' ')} service while {fate}"
        self.tries = 0
        self.lock = threading.Lock()

    def make(self) -> BaseException:
        """Make the exception that is raised."""
        return OSError(self.text)

    def fail(self, *_: Any) -> str:
        """Do the work: it fails, but for a second attempt of a failure that is to be retried."""
        with self.lock:
            self.tries += 1
            is_good = self.fate == "retried" and self.tries > 1
        if is_good:
            return "fine"
        raise self.make()

    def attempts(self) -> Iterable[int]:
        """Count the attempts that the agent makes."""
        return range(2 if self.fate == "retried" else 1)

    def handle(self, exc: BaseException, tell: Tell) -> None:
        """Stand in an ``except``."""
        if self.fate == "reported":
            tell(exc)
        elif self.fate == "escaped":
            raise exc

    def go_on(self) -> None:
        """Stand where the agent goes on."""
        if self.fate == "open":
            os.kill(os.getpid(), signal.SIGKILL)


def agent(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    """Put an agent into the table."""
    AGENTS[function.__name__] = function
    return function


def needs_monitoring(function: Callable[[Case], Any]) -> Callable[[Case], Any]:
    """Put an agent into the table whose failure only Python 3.12 sees."""
    NEEDS_MONITORING.add(function.__name__)
    return agent(function)


def ask(*messages: Any) -> None:
    """Ask the model something."""
    with model_turn("small-model", input=list(messages)) as turn:
        turn.set_output("go on")


def user(text: str) -> dict[str, Any]:
    """Make a user's message."""
    return {"role": "user", "content": text}


def tool(content: Any, call_id: str = "call_1") -> dict[str, Any]:
    """Make a tool's message."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tell_text(exc: BaseException) -> None:
    """Tell the model the error's text."""
    ask(user("do it"), tool(str(exc)))


def tell_typed(exc: BaseException) -> None:
    """Tell the model type and text."""
    ask(user("do it"), tool(f"{type(exc).__name__}: {exc}"))


def tell_error(exc: BaseException) -> None:
    """Tell the model ``Error: …``."""
    ask(user("do it"), tool(f"Error: {exc}"))


def tell_repr(exc: BaseException) -> None:
    """Tell the model how the exception prints."""
    ask(user("do it"), tool(f"Tool failed with {exc!r}"))


def tell_traceback(exc: BaseException) -> None:
    """Tell the model the whole traceback."""
    ask(user("do it"), tool("".join(traceback.format_exception(exc))))


def tell_json(exc: BaseException) -> None:
    """Tell the model JSON in JSON."""
    ask(user("do it"), tool(json.dumps({"ok": False, "body": json.dumps({"error": str(exc)})})))


def tell_blocks(exc: BaseException) -> None:
    """Tell the model in a block that is marked as an error."""
    block = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "is_error": True,
        "content": [{"type": "text", "text": str(exc)}],
    }
    ask(user("do it"), {"role": "user", "content": [block]})


def tell_prompt(exc: BaseException) -> None:
    """Tell the model in one long prompt."""
    with model_turn("small-model", input=f"The task is to go on.\n\nObservation: {exc}\nThought:"):
        pass


def tell_short(exc: BaseException) -> None:
    """Tell the model the first 200 characters."""
    ask(user("do it"), tool(f"Error: {exc}"[:200]))


# Loops around one tool


@agent
def react_loop(case: Case) -> None:
    @traced_tool
    def search(query: str) -> str:
        return case.fail()

    with agent_scope("react", input="find it") as me:
        ask(user("find it"))
        for _ in case.attempts():
            try:
                search("it")
            except OSError as exc:
                case.handle(exc, tell_text)
        case.go_on()
        me.set_output("found it")


@agent
def react_loop_with_traceback(case: Case) -> None:
    @traced_tool
    def run_code(code: str) -> str:
        return case.fail()

    with agent_scope("coder") as me:
        for _ in case.attempts():
            try:
                run_code("print(1)")
            except Exception as exc:
                case.handle(exc, tell_traceback)
        case.go_on()
        me.set_output("it printed 1")


@agent
def loop_with_messages(case: Case) -> None:
    messages: list[Any] = [user("read the file")]

    @traced_tool(name="read")
    def read_file(path: str) -> str:
        return case.fail()

    def tell(exc: BaseException) -> None:
        messages.append(tool(f"could not read: {exc}"))
        ask(*messages)

    with agent_scope("reader") as me:
        ask(*messages)
        messages.append({"role": "assistant", "content": "I read it."})
        for _ in case.attempts():
            try:
                messages.append(tool(read_file("a.txt")))
            except Exception as exc:
                case.handle(exc, tell)
        case.go_on()
        ask(*messages, user("and now?"))
        me.set_output("read")


@agent
def dispatcher(case: Case) -> None:
    @traced_tool
    def weather(city: str) -> str:
        return case.fail()

    tools = {"weather": weather}
    with agent_scope("dispatcher") as me:
        ask(user("how is the weather?"))
        for _ in case.attempts():
            try:
                with tool_scope("weather", call_id="call_7", arguments={"city": "Rome"}) as call:
                    call.set_result(tools["weather"](city="Rome"))
            except Exception as exc:
                case.handle(exc, tell_json)
        case.go_on()
        me.set_output("sunny")


@agent
def dispatcher_that_traces_nothing_else(case: Case) -> None:
    with agent_scope("dispatcher") as me:
        for _ in case.attempts():
            try:
                with tool_scope("clock", arguments={"zone": "UTC"}) as call:
                    call.set_result(case.fail())
            except Exception as exc:
                case.handle(exc, tell_repr)
        case.go_on()
        me.set_output("noon")


@agent
def dispatcher_of_unknown_tools(case: Case) -> None:
    tools: dict[str, Callable[[], str]] = {}

    def look_up(name: str) -> Callable[[], str]:
        if case.fate == "retried" and case.tries:
            tools[name] = lambda: "fine"
        case.tries += 1
        return tools[name]

    with agent_scope("dispatcher") as me:
        ask(user("use the tool"))
        for _ in case.attempts():
            try:
                with tool_scope("launch_rocket", call_id="c1", arguments={}) as call:
                    call.set_result(look_up("launch_rocket")())
            except KeyError as exc:
                case.handle(exc, tell_text)
        case.go_on()
        me.set_output("launched")


@agent
def dispatcher_that_answers_in_blocks(case: Case) -> None:
    @traced_tool
    def lookup(key: str) -> str:
        return case.fail()

    with agent_scope("blocks") as me:
        for _ in case.attempts():
            try:
                with tool_scope("lookup", call_id="toolu_1", arguments={"key": "k"}):
                    lookup(key="k")
            except OSError as exc:
                case.handle(exc, tell_blocks)
        case.go_on()
        me.set_output("done")


@agent
def tool_around_a_tool(case: Case) -> None:
    """The outer tool returns "Error: …" as its own result, and that goes to the model."""

    @traced_tool
    def fetch(url: str) -> str:
        return case.fail()

    @traced_tool
    def summarize(url: str) -> str:
        for _ in case.attempts():
            try:
                return fetch(url)
            except OSError as exc:
                if case.fate == "reported":
                    return f"Error: {exc}"
                case.handle(exc, tell_error)
        case.go_on()
        return ""

    with agent_scope("summarizer") as me:
        result = summarize("https://a.example")
        ask(user("summarize"), tool(result))
        me.set_output("a summary")


@agent
def own_retry_decorator(case: Case) -> None:
    def retry(times: int) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            @functools.wraps(function)
            def call(*args: Any) -> Any:
                for number in range(times):
                    try:
                        return function(*args)
                    except OSError:
                        if number == times - 1:
                            raise
                return None

            return call

        return decorate

    @retry(len(list(case.attempts())))
    @traced_tool
    def upload(name: str) -> str:
        return case.fail()

    with agent_scope("uploader") as me:
        try:
            upload("a")
        except OSError as exc:
            case.handle(exc, tell_typed)
        case.go_on()
        me.set_output("uploaded")


@agent
def own_retrying_object(case: Case) -> None:
    """As tenacity does it: the outcome is kept in an object, and looked at later."""

    class Outcome:
        error: BaseException | None = None
        value: str = ""

    @traced_tool
    def query(sql: str) -> str:
        return case.fail()

    with agent_scope("analyst") as me:
        outcome = Outcome()
        for _ in case.attempts():
            outcome = Outcome()
            try:
                outcome.value = query("SELECT 1")
            except Exception as exc:
                outcome.error = exc
        if outcome.error is not None:
            case.handle(outcome.error, tell_text)
        case.go_on()
        me.set_output(outcome.value or "one")


@agent
def while_loop_with_a_budget(case: Case) -> None:
    @traced_tool
    def step(goal: str) -> str:
        return case.fail()

    with agent_scope("worker") as me:
        budget = len(list(case.attempts()))
        while budget:
            budget -= 1
            try:
                step("goal")
                break
            except OSError as exc:
                case.handle(exc, tell_error)
                continue
            finally:
                budget += 0
        case.go_on()
        me.set_output("reached")


@agent
def plan_and_execute(case: Case) -> None:
    @traced_tool
    def execute(step: str) -> str:
        return case.fail() if step == "second" else f"{step} done"

    notes: list[str] = []
    with agent_scope("planner") as me:
        ask(user("make a plan"))
        for step in ("first", "second", "third"):
            for _ in case.attempts() if step == "second" else range(1):
                try:
                    notes.append(execute(step))
                except Exception as exc:
                    case.handle(exc, lambda exc: notes.append(f"second failed: {exc}"))
        ask(user("review"), *map(user, notes))
        case.go_on()
        me.set_output("all three steps are done")


@agent
def fallback_to_another_tool(case: Case) -> None:
    @traced_tool
    def primary(query: str) -> str:
        return case.fail()

    @traced_tool
    def secondary(query: str) -> str:
        return "an older answer"

    with agent_scope("searcher") as me:
        for _ in case.attempts():
            try:
                answer = primary("q")
            except OSError as exc:
                case.handle(exc, tell_typed)
                answer = "" if case.fate == "retried" else secondary("q")
        case.go_on()
        me.set_output(answer)


@agent
def errors_in_a_list(case: Case) -> None:
    """Errors are collected while the work goes on, and dealt with at the end."""

    @traced_tool
    def check(name: str) -> str:
        return case.fail() if name == "b" else "ok"

    errors: list[Exception] = []
    with agent_scope("checker") as me:
        for name in ("a", "b", "c"):
            for _ in case.attempts() if name == "b" else range(1):
                try:
                    check(name)
                except Exception as exc:
                    errors.append(exc)
        for exc in errors:
            case.handle(exc, tell_text)
        case.go_on()
        me.set_output("all checked")


@agent
def summary_of_errors_in_the_answer(case: Case) -> None:
    @traced_tool
    def convert(page: int) -> str:
        return case.fail() if page == 2 else "text"

    problems: list[str] = []
    with agent_scope("converter") as me:
        for page in (1, 2, 3):
            for _ in case.attempts() if page == 2 else range(1):
                try:
                    convert(page)
                except Exception as exc:
                    case.handle(exc, lambda exc: problems.append(f"page 2: {exc}"))
        case.go_on()
        me.set_output({"pages": 3, "problems": problems})


@agent
def state_machine(case: Case) -> None:
    @traced_tool
    def transition(state: str) -> str:
        return case.fail()

    with agent_scope("machine") as me:
        state, left = "start", len(list(case.attempts()))
        while state != "end":
            try:
                left -= 1
                transition("start")
                state = "end"
            except OSError as exc:
                case.handle(exc, tell_prompt)
                state = "start" if left else "end"
        case.go_on()
        me.set_output(state)


@agent
def callbacks(case: Case) -> None:
    """The framework calls ``on_error``, which decides."""

    @traced_tool
    def crawl(url: str) -> str:
        return case.fail()

    def run(work: Callable[[], Any], on_error: Callable[[Exception], None]) -> Any:
        try:
            return work()
        except Exception as exc:
            on_error(exc)
            return None

    with agent_scope("crawler") as me:
        for _ in case.attempts():
            run(lambda: crawl("https://a.example"), lambda exc: case.handle(exc, tell_repr))
        case.go_on()
        me.set_output("crawled")


@agent
def pipeline_of_steps(case: Case) -> None:
    @traced_tool
    def clean(text: str) -> str:
        return text.strip()

    @traced_tool
    def translate(text: str) -> str:
        return case.fail()

    with agent_scope("pipeline") as me:
        for _ in case.attempts():
            try:
                functools.reduce(lambda text, step: step(text), (clean, translate), " a ")
            except Exception as exc:
                case.handle(exc, tell_text)
        case.go_on()
        me.set_output("translated")


@agent
def class_based_agent(case: Case) -> None:
    class Assistant:
        @traced_tool
        def look(self, where: str) -> str:
            return case.fail()

        def act(self) -> str:
            for _ in case.attempts():
                try:
                    return self.look("there")
                except Exception as exc:
                    self.on_error(exc)
            return "nothing"

        def on_error(self, exc: Exception) -> None:
            case.handle(exc, tell_typed)

    with agent_scope("assistant") as me:
        me.set_output(Assistant().act())
        case.go_on()


@agent
def static_and_class_methods(case: Case) -> None:
    class Tools:
        @staticmethod
        @traced_tool
        def add(a: int) -> str:
            return case.fail()

    with agent_scope("adder") as me:
        for _ in case.attempts():
            try:
                Tools.add(1)
            except Exception as exc:
                case.handle(exc, tell_json)
        case.go_on()
        me.set_output("2")


@agent
def registry_with_call_ids(case: Case) -> None:
    """The model is told only that call c9 failed, in a message for that call."""

    @traced_tool
    def delete(path: str) -> str:
        return case.fail()

    def tell(exc: BaseException) -> None:
        ask(user("delete it"), tool("The tool failed.", "c9"))

    with agent_scope("deleter") as me:
        for _ in case.attempts():
            try:
                with tool_scope("delete", call_id="c9", arguments={"path": "/a"}):
                    delete("/a")
            except Exception as exc:
                case.handle(exc, tell)
        case.go_on()
        me.set_output("deleted")


# Texts that are hard to find again


class Long(Case):
    """A message of several thousand characters."""

    def make(self) -> BaseException:
        return ValueError(f"{self.text}: " + ", ".join(f"field {n} is missing" for n in range(300)))


class Lines(Case):
    """A message of several lines, as of a validation."""

    def make(self) -> BaseException:
        return ValueError(
            f"2 validation errors\n  {self.text}\n    Field required [type=missing]\n  other\n    bad"
        )


class Foreign(Case):
    """A message that is not ASCII."""

    def make(self) -> BaseException:
        return OSError(f"Datei nicht gefunden: größe – {self.text} 🚀 設定")


class Secret(Case):
    """A message with a secret in it."""

    def make(self) -> BaseException:
        return PermissionError(
            f"{self.text}: the key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD was refused"
        )


class Short(Case):
    """A message of one letter."""

    def make(self) -> BaseException:
        return ValueError("x")


class Missing(Case):
    """A KeyError, whose text has quotes around it."""

    def make(self) -> BaseException:
        return KeyError("user_id")


class Empty(Case):
    """No message at all."""

    def make(self) -> BaseException:
        return TimeoutError()


def plain_loop(case: Case, tell: Tell) -> None:
    """Call one tool, and deal with its failure."""

    @traced_tool
    def work(what: str) -> str:
        return case.fail()

    with agent_scope("plain") as me:
        ask(user("go"))
        for _ in case.attempts():
            try:
                work("this")
            except Exception as exc:
                case.handle(exc, tell)
        case.go_on()
        me.set_output("worked")


def add_texts() -> None:
    """Put an agent into the table for each kind of text and each way of telling it."""
    for kind, tells in (
        (Long, (tell_short, tell_json)),
        (Lines, (tell_error, tell_repr)),
        (Foreign, (tell_json, tell_traceback)),
        (Secret, (tell_text, tell_json)),
        (Short, (tell_error, tell_repr, tell_text)),
        (Missing, (tell_text, tell_typed)),
        (Empty, (tell_typed, tell_error)),
    ):
        for tell in tells:
            name = f"{kind.__name__.lower()}_text_told_by_{tell.__name__}"

            def run(case: Case, kind: type[Case] = kind, tell: Tell = tell) -> None:
                plain_loop(kind(case.name, case.fate), tell)

            AGENTS[name] = run


add_texts()


# Exceptions that change on the way


@agent
def raise_from(case: Case) -> None:
    @traced_tool
    def load(page: str) -> str:
        return case.fail()

    with agent_scope("loader") as me:
        for _ in case.attempts():
            try:
                try:
                    load("p")
                except OSError as exc:
                    raise AgentError(f"step failed: {exc}") from exc
            except AgentError as exc:
                case.handle(exc, tell_text)
        case.go_on()
        me.set_output("loaded")


@agent
def raise_from_inside_a_tool(case: Case) -> None:
    @traced_tool
    def connect(host: str) -> str:
        return case.fail()

    @traced_tool
    def query(host: str) -> str:
        try:
            return connect(host)
        except OSError as exc:
            raise AgentError("the database is out of reach today") from exc

    with agent_scope("dba") as me:
        for _ in case.attempts():
            try:
                query("db1")
            except AgentError as exc:
                case.handle(exc, tell_typed)
        case.go_on()
        me.set_output("queried")


@agent
def three_tools_deep(case: Case) -> None:
    @traced_tool
    def inner(n: int) -> str:
        return case.fail()

    @traced_tool
    def middle(n: int) -> str:
        return inner(n)

    @traced_tool
    def outer(n: int) -> str:
        return middle(n)

    with agent_scope("deep") as me:
        for _ in case.attempts():
            try:
                outer(1)
            except Exception as exc:
                case.handle(exc, tell_traceback)
        case.go_on()
        me.set_output("deep enough")


@agent
def finally_and_cleanup(case: Case) -> None:
    @traced_tool
    def write(path: str) -> str:
        return case.fail()

    @traced_tool
    def clean_up(path: str) -> str:
        return "clean"

    with agent_scope("writer") as me:
        for _ in case.attempts():
            try:
                try:
                    write("/a")
                finally:
                    clean_up("/a")
            except OSError as exc:
                case.handle(exc, tell_error)
        case.go_on()
        me.set_output("written")


@agent
def context_manager_that_swallows(case: Case) -> None:
    class Guard:
        def __enter__(self) -> Guard:
            return self

        def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> bool:
            if exc is not None:
                if case.fate == "escaped":
                    return False
                case.handle(exc, tell_repr)
            return exc is not None

    @traced_tool
    def risky(n: int) -> str:
        return case.fail()

    with agent_scope("guarded") as me:
        for _ in case.attempts():
            with Guard():
                risky(1)
        case.go_on()
        me.set_output("safe")


@agent
def exit_stack(case: Case) -> None:
    @traced_tool
    def open_door(n: int) -> str:
        return case.fail()

    def decide(kind: Any, exc: BaseException | None, tb: Any) -> bool:
        if exc is None or case.fate == "escaped":
            return False
        case.handle(exc, tell_text)
        return True

    with agent_scope("porter") as me:
        for _ in case.attempts():
            with contextlib.ExitStack() as stack:
                stack.push(decide)
                open_door(1)
        case.go_on()
        me.set_output("open")


@agent
def suppressing(case: Case) -> None:
    @traced_tool
    def notify(who: str) -> str:
        return case.fail()

    with agent_scope("notifier") as me:
        if case.fate in ("swallowed", "retried", "open"):
            for _ in case.attempts():
                with contextlib.suppress(OSError):
                    notify("them")
        else:
            try:
                notify("them")
            except OSError as exc:
                case.handle(exc, tell_text)
        case.go_on()
        me.set_output("notified")


@agent
def group_of_errors(case: Case) -> None:
    @traced_tool
    def probe(n: int) -> str:
        return case.fail()

    def probe_all() -> None:
        errors: list[Exception] = []
        try:
            probe(1)
        except OSError as exc:
            errors.append(exc)
        if errors:
            raise ExceptionGroup("some probes failed", errors)

    def tell(exc: BaseException) -> None:
        assert isinstance(exc, ExceptionGroup)
        ask(user("probe"), tool("; ".join(str(each) for each in exc.exceptions)))

    with agent_scope("prober") as me:
        for _ in case.attempts():
            try:
                probe_all()
            except ExceptionGroup as exc:
                case.handle(exc, tell)
        case.go_on()
        me.set_output("probed")


@agent
def raised_again_later(case: Case) -> None:
    """A failure that is kept, and raised when the result is asked for."""

    class Lazy:
        error: Exception | None = None

        def result(self) -> str:
            if self.error is not None:
                raise self.error
            return "fine"

    @traced_tool
    def compute(n: int) -> str:
        return case.fail()

    with agent_scope("lazy") as me:
        for _ in case.attempts():
            lazy = Lazy()
            try:
                compute(1)
            except Exception as exc:
                lazy.error = exc
            try:
                lazy.result()
            except OSError as exc:
                case.handle(exc, tell_typed)
        case.go_on()
        me.set_output("computed")


# Generators


@agent
def stream_that_breaks(case: Case) -> None:
    @traced_tool
    def stream(n: int) -> Any:
        yield "one"
        yield case.fail()

    with agent_scope("streamer") as me:
        for _ in case.attempts():
            try:
                for _piece in stream(2):
                    pass
            except OSError as exc:
                case.handle(exc, tell_error)
        case.go_on()
        me.set_output("streamed")


# Agents in agents


@agent
def subagent_that_fails(case: Case) -> None:
    @traced_tool
    def dig(where: str) -> str:
        return case.fail()

    with agent_scope("lead") as lead:
        for _ in case.attempts():
            try:
                with agent_scope("digger", input="dig") as digger:
                    if case.fate == "retried":
                        for _ in range(2):
                            with contextlib.suppress(OSError):
                                dig("here")
                    else:
                        dig("here")
                    digger.set_output("dug")
            except OSError as exc:
                case.handle(exc, tell_text)
        case.go_on()
        lead.set_output("treasure")


@agent
def subagent_that_swallows(case: Case) -> None:
    @traced_tool
    def cite(paper: str) -> str:
        return case.fail()

    with agent_scope("author") as author:
        with agent_scope("librarian") as librarian:
            found = ""
            for _ in case.attempts():
                try:
                    found = cite("p")
                except OSError as exc:
                    case.handle(exc, lambda exc: None)
                    if case.fate == "reported":
                        found = f"I could not: {exc}"
            case.go_on()
            librarian.set_output(found or "nothing to cite")
        ask(user("write"), tool(found))
        author.set_output("a paper")


@agent
def subagents_three_deep(case: Case) -> None:
    @traced_tool
    def bolt(n: int) -> str:
        return case.fail()

    @traced_agent(name="mechanic")
    def mechanic(n: int) -> str:
        for attempt in case.attempts():
            try:
                return bolt(n)
            except OSError:
                if attempt == len(list(case.attempts())) - 1:
                    raise
        return ""

    @traced_agent(name="foreman")
    def foreman(n: int) -> str:
        return mechanic(n)

    with agent_scope("director") as director:
        try:
            foreman(3)
        except Exception as exc:
            case.handle(exc, tell_prompt)
        case.go_on()
        director.set_output("built")


@agent
def traced_agents_only(case: Case) -> None:
    @traced_tool
    def send(mail: str) -> str:
        return case.fail()

    @traced_agent
    def mailer(task: str) -> str:
        for _ in case.attempts():
            try:
                send("m")
            except OSError as exc:
                if case.fate == "reported":
                    return f"not sent, because of {exc}"
                case.handle(exc, tell_text)
        case.go_on()
        return "sent"

    mailer("send it")


@agent
def subagent_that_is_run_again(case: Case) -> None:
    @traced_tool
    def dig(where: str) -> str:
        return case.fail()

    with agent_scope("lead") as lead:
        for _ in case.attempts():
            try:
                with agent_scope("digger", input="dig here") as digger:
                    digger.set_output(dig("here"))
            except OSError as exc:
                case.handle(exc, tell_error)
        case.go_on()
        lead.set_output("treasure")


@agent
def model_turn_that_fails(case: Case) -> None:
    """The model's service fails; the text goes into the next prompt, or nowhere."""
    with agent_scope("writer") as me:
        for _ in case.attempts():
            try:
                with model_turn("small-model", input=[user("write")]) as turn:
                    turn.set_output(case.fail())
            except OSError as exc:
                case.handle(exc, tell_prompt)
        case.go_on()
        me.set_output("a poem")


@agent
def dispatcher_that_sets_the_result(case: Case) -> None:
    """The error is caught inside the scope of the call, and set as its result."""

    @traced_tool
    def search(query: str) -> str:
        return case.fail()

    with agent_scope("searcher") as me:
        ask(user("search"))
        for _ in case.attempts():
            with tool_scope("search", call_id="call_3", arguments={"query": "q"}) as call:
                try:
                    result = search(query="q")
                except OSError as exc:
                    if case.fate == "escaped":
                        raise
                    result = "nothing found" if case.fate != "reported" else f"Error: {exc}"
                    call.set_result(result, is_error=case.fate in ("reported", "retried"))
                case.go_on()
        ask(user("search"), tool(result, "call_3"))
        me.set_output("found")


@agent
def delegate_tool(case: Case) -> None:
    """A subagent behind a tool, whose error text is the tool's result."""

    @traced_tool
    def scan(port: int) -> str:
        return case.fail()

    @traced_tool
    def delegate(task: str) -> str:
        with agent_scope("scanner", input=task) as scanner:
            for attempt in case.attempts():
                try:
                    scanner.set_output(scan(80))
                except OSError:
                    if case.fate != "retried" or attempt:
                        raise
        return "scanned"

    with agent_scope("lead") as lead:
        try:
            ask(user("scan"), tool(delegate("scan")))
        except Exception as exc:
            case.handle(exc, tell_json)
        case.go_on()
        lead.set_output("safe")


# Failures as data


class Returned(Case):
    """The tool gives its failure back."""

    def fail(self, *_: Any) -> Any:
        try:
            return {"value": super().fail()}
        except OSError:
            return {"error": self.text}


@agent
def returned_errors(case: Case) -> None:
    given = Returned(case.name, case.fate)

    @traced_tool
    def api(path: str) -> Any:
        return given.fail()

    with agent_scope("client") as me:
        for _ in case.attempts():
            answer = api("/items")
            if "error" in answer:
                if case.fate == "reported":
                    ask(user("items"), tool(json.dumps(answer)))
                elif case.fate == "escaped":
                    raise AgentError(answer["error"])
        case.go_on()
        me.set_output("items")


@agent
def results_marked_as_errors(case: Case) -> None:
    def is_error(result: str) -> bool:
        return result.startswith("Error")

    given = Returned(case.name, case.fate)

    @traced_tool(is_error=is_error)
    def shell(command: str) -> str:
        answer = given.fail()
        return f"Error: {answer['error']}" if "error" in answer else "fine"

    with agent_scope("operator") as me:
        for _ in case.attempts():
            answer = shell("ls")
            if answer.startswith("Error"):
                if case.fate == "reported":
                    ask(user("ls"), tool(answer))
                elif case.fate == "escaped":
                    raise AgentError(answer)
        case.go_on()
        me.set_output("listed")


# Said by hand


@agent
def recorded_by_hand(case: Case) -> None:
    """Nothing is traced but the agent, which says what it caught."""
    with agent_scope("honest") as me:
        if case.fate == "retried":
            work = traced_tool(case.fail)
            for _ in range(2):
                with suppressed(OSError):
                    work()
        else:
            try:
                case.fail()
            except OSError as exc:
                record_exception(exc)
                case.handle(exc, tell_error)
        case.go_on()
        me.set_output("well")


@agent
def suppressed_by_hand(case: Case) -> None:
    work = traced_tool(case.fail)
    with agent_scope("tidy") as me:
        for _ in case.attempts():
            if case.fate in ("reported", "escaped"):
                try:
                    work()
                except OSError as exc:
                    case.handle(exc, tell_blocks)
            else:
                with suppressed(OSError):
                    work()
        case.go_on()
        me.set_output("tidy")


@needs_monitoring
def caught_in_plain_code(case: Case) -> None:
    """The failing function is not traced at all, but for the attempts at it."""
    work = traced_tool(case.fail) if case.fate == "retried" else case.fail
    with agent_scope("plain code") as me:
        for _ in case.attempts():
            try:
                work()
            except OSError as exc:
                case.handle(exc, tell_text)
        ask(user("go on"))
        case.go_on()
        me.set_output("fine")


@needs_monitoring
def caught_inside_a_tool(case: Case) -> None:
    """The tool catches its own error and returns "Error: …", which is told, or "", which is not."""

    @traced_tool
    def read(path: str) -> str:
        if case.fate in ("escaped", "retried"):
            return case.fail()
        try:
            return case.fail()
        except OSError as exc:
            result = f"Error: {exc}" if case.fate == "reported" else ""
        if case.fate == "open":
            ask(user("what else could be read?"))
        case.go_on()
        return result

    with agent_scope("reader") as me:
        for _ in case.attempts():
            try:
                result = read("a.txt")
                ask(user("read"), tool(result))
            except OSError:
                if case.fate == "escaped":
                    raise
        case.go_on()
        me.set_output("read")


# Threads


@agent
def thread_pool_results(case: Case) -> None:
    @traced_tool
    def fetch(url: str) -> str:
        return case.fail()

    with agent_scope("fetcher") as me, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in case.attempts():
            future = pool.submit(fetch, "https://a.example")
            try:
                future.result()
            except OSError as exc:
                case.handle(exc, tell_text)
        case.go_on()
        me.set_output("fetched")


@agent
def future_exception(case: Case) -> None:
    @traced_tool
    def fetch(url: str) -> str:
        return case.fail()

    with agent_scope("fetcher") as me, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in case.attempts():
            error = pool.submit(fetch, "https://a.example").exception()
            if error is not None:
                case.handle(error, tell_repr)
        case.go_on()
        me.set_output("fetched")


@agent
def as_completed_results(case: Case) -> None:
    @traced_tool
    def rank(item: int) -> Any:
        return case.fail() if item == 1 else item

    with agent_scope("ranker") as me, concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = {pool.submit(rank, item): item for item in range(3)}
        for future in concurrent.futures.as_completed(waiting):
            try:
                future.result()
            except OSError as exc:
                if case.fate == "retried":
                    rank(waiting[future])
                else:
                    case.handle(exc, tell_json)
        case.go_on()
        me.set_output("ranked")


@agent
def worker_thread_and_queue(case: Case) -> None:
    @traced_tool
    def job(n: int) -> str:
        return case.fail()

    results: queue.Queue[Any] = queue.Queue()

    def worker() -> None:
        for _ in case.attempts():
            try:
                results.put(job(1))
            except Exception as exc:
                results.put(exc)

    with agent_scope("boss") as me:
        thread = threading.Thread(target=worker)
        thread.start()
        thread.join()
        while not results.empty():
            result = results.get()
            if isinstance(result, Exception):
                case.handle(result, tell_typed)
        case.go_on()
        me.set_output("worked")


@agent
def subagents_in_threads(case: Case) -> None:
    @traced_tool
    def dig(n: int) -> str:
        return case.fail()

    def run(n: int) -> str:
        with agent_scope(f"digger {n}") as digger:
            for attempt in case.attempts() if n else range(1):
                try:
                    digger.set_output(dig(n) if n else "nothing")
                except OSError:
                    if case.fate != "retried" or attempt:
                        raise
        return "dug"

    with agent_scope("lead") as me, concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run, n) for n in range(2)]
        concurrent.futures.wait(futures)
        for future in futures:
            try:
                future.result()
            except OSError as exc:
                case.handle(exc, tell_prompt)
        case.go_on()
        me.set_output("dug")


# asyncio


@agent
def async_loop(case: Case) -> None:
    @traced_tool
    async def call(name: str) -> str:
        await asyncio.sleep(0)
        return case.fail()

    async def main() -> None:
        async with agent_scope("async") as me:
            for _ in case.attempts():
                try:
                    await call("n")
                except OSError as exc:
                    case.handle(exc, tell_text)
            case.go_on()
            me.set_output("called")

    asyncio.run(main())


@agent
def gather_with_exceptions(case: Case) -> None:
    @traced_tool
    async def call(n: int) -> str:
        return case.fail() if n == 1 else "ok"

    async def main() -> None:
        async with agent_scope("gatherer") as me:
            results = await asyncio.gather(*(call(n) for n in range(3)), return_exceptions=True)
            for n, result in enumerate(results):
                if isinstance(result, OSError):
                    if case.fate == "retried":
                        await call(n)
                    else:
                        case.handle(result, tell_error)
            case.go_on()
            me.set_output("gathered")

    asyncio.run(main())


@agent
def gather_that_raises(case: Case) -> None:
    @traced_tool
    async def call(n: int) -> str:
        return case.fail()

    async def main() -> None:
        async with agent_scope("gatherer") as me:
            for _ in case.attempts():
                try:
                    await asyncio.gather(call(1))
                except OSError as exc:
                    case.handle(exc, tell_repr)
            case.go_on()
            me.set_output("gathered")

    asyncio.run(main())


@agent
def gathered_subagents(case: Case) -> None:
    @traced_tool
    async def look(where: str) -> str:
        return case.fail()

    async def sub(name: str) -> str:
        async with agent_scope(name) as me:
            if name == "good":
                return "fine"
            for attempt in case.attempts():
                try:
                    me.set_output(await look("there"))
                except OSError:
                    if case.fate != "retried" or attempt:
                        raise
        return "looked"

    async def main() -> None:
        async with agent_scope("lead") as me:
            results = await asyncio.gather(sub("good"), sub("bad"), return_exceptions=True)
            for result in results:
                if isinstance(result, OSError):
                    case.handle(result, tell_text)
            case.go_on()
            me.set_output("both are back")

    asyncio.run(main())


@agent
def task_group(case: Case) -> None:
    @traced_tool
    async def call(n: int) -> str:
        return case.fail()

    async def main() -> None:
        async with agent_scope("grouper") as me:
            for _ in case.attempts():
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(call(1))
                except* OSError as caught:
                    for exc in caught.exceptions:
                        case.handle(exc, tell_typed)
            case.go_on()
            me.set_output("grouped")

    asyncio.run(main())


@agent
def tasks_that_are_waited_for(case: Case) -> None:
    @traced_tool
    async def call(n: int) -> str:
        return case.fail()

    async def main() -> None:
        async with agent_scope("waiter") as me:
            for _ in case.attempts():
                done, _pending = await asyncio.wait({asyncio.create_task(call(1))})
                for task in done:
                    error = task.exception()
                    if error is not None:
                        case.handle(error, tell_json)
            case.go_on()
            me.set_output("waited")

    asyncio.run(main())


@agent
def background_task(case: Case) -> None:
    """A task that nobody awaits; its ``done`` callback decides."""

    @traced_tool
    async def index(n: int) -> str:
        return case.fail()

    async def main() -> None:
        async with agent_scope("indexer") as me:
            errors: list[BaseException] = []
            for _ in case.attempts():
                task = asyncio.create_task(index(1))
                if case.fate in ("reported", "escaped"):
                    task.add_done_callback(lambda done: errors.append(done.exception() or AgentError()))
                await asyncio.sleep(0.001)
            for exc in errors:
                case.handle(exc, tell_text)
            case.go_on()
            me.set_output("indexing")

    asyncio.run(main())


@agent
def to_thread(case: Case) -> None:
    @traced_tool
    def blocking(n: int) -> str:
        return case.fail()

    async def main() -> None:
        async with agent_scope("threader") as me:
            for _ in case.attempts():
                try:
                    await asyncio.to_thread(blocking, 1)
                except OSError as exc:
                    case.handle(exc, tell_traceback)
            case.go_on()
            me.set_output("done")

    asyncio.run(main())


@agent
def limited_by_a_semaphore(case: Case) -> None:
    @traced_tool
    async def call(n: int) -> str:
        return case.fail()

    async def main() -> None:
        limit = asyncio.Semaphore(1)

        async def guarded(n: int) -> Any:
            async with limit:
                try:
                    return await call(n)
                except OSError as exc:
                    return exc

        async with agent_scope("limited") as me:
            for _ in case.attempts():
                for result in await asyncio.gather(guarded(1)):
                    if isinstance(result, OSError):
                        case.handle(result, tell_error)
            case.go_on()
            me.set_output("limited")

    asyncio.run(main())


@agent
def async_stream(case: Case) -> None:
    @traced_tool
    async def stream(n: int) -> Any:
        yield 1
        yield case.fail()

    async def main() -> None:
        async with agent_scope("listener") as me:
            for _ in case.attempts():
                try:
                    async for _piece in stream(1):
                        pass
                except OSError as exc:
                    case.handle(exc, tell_blocks)
            case.go_on()
            me.set_output("heard")

    asyncio.run(main())


@agent
def wait_for_a_slow_tool(case: Case) -> None:
    """The tool's own time limit."""

    class Slow(Case):
        def make(self) -> BaseException:
            return TimeoutError(f"{self.text}: gave up after 5 s")

    slow = Slow(case.name, case.fate)

    @traced_tool
    async def call(n: int) -> str:
        return slow.fail()

    async def main() -> None:
        async with agent_scope("patient") as me:
            for _ in case.attempts():
                try:
                    await asyncio.wait_for(call(1), 30)
                except TimeoutError as exc:
                    case.handle(exc, tell_text)
            case.go_on()
            me.set_output("waited")

    asyncio.run(main())


def run(name: str, fate: str) -> None:
    """Run one agent in a conversation of its own; what escapes ends here."""
    case = Case(name, fate)
    with contextlib.suppress(Exception), conversation_scope(f"{name}.{fate}"):
        AGENTS[name](case)


def main() -> None:
    """Run all agents with one fate; those that are to die run in a child each."""
    fate, *names = sys.argv[1:]
    for name in names or AGENTS:
        if fate != "open":
            run(name, fate)
            continue
        pid = os.fork()
        if pid == 0:
            try:
                run(name, fate)
            finally:
                os._exit(3)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, (name, status)


if __name__ == "__main__":
    main()
