"""Random agent loops: the rows are those of an oracle, whoever traces, fails, hands back and forgets."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from agenttrace import agent_scope, model_turn, tool_scope, traced_tool
from agenttrace.testing import memory_recorder
from tests.capture.loops import FORMS, Chat, Form, Request, Result

WATCHED = sys.version_info >= (3, 12)
TOOLS = ("traced", "scoped", "plain", "changed")
"""What the loop offers: two that are traced, one that is not, one whose arguments the program changes."""


def work(call_id: str, fails: bool) -> str:
    if fails:
        raise ValueError(f"{call_id} ran out of paper")
    return f"{call_id} is done"


@traced_tool
def traced(key: str, fails: bool, note: str = "") -> str:
    return work(key, fails)


@traced_tool
def changed(key: str, fails: str) -> str:
    return work(key, fails == "True")


@dataclass
class Planned:
    """One call of the plan."""

    request: Request
    fails: bool
    is_unknown: bool
    is_bad: bool
    is_dropped: bool
    extra: str
    is_given_id: bool

    @property
    def kind(self) -> str:
        return "none" if self.is_unknown or self.is_bad else self.request.name

    def run(self) -> str:
        """Do what the loop does for it."""
        key = self.request.call_id
        if self.is_unknown:
            raise LookupError(f"{key} asks for {self.request.name}, which is no tool")
        if self.is_bad:
            raise TypeError(f"{key} has arguments that are no JSON")
        if self.kind == "traced":
            return traced(key, fails=self.fails, **({"note": self.extra} if self.extra else {}))
        if self.kind == "changed":
            return changed(key, str(self.fails))
        if self.kind == "scoped":
            given = {"call_id": key} if self.is_given_id else {"arguments": self.request.arguments}
            with tool_scope("scoped", **given) as call:
                text = work(key, self.fails)
                call.set_result(text)
            return text
        return work(key, self.fails)


@dataclass
class Plan:
    """A loop: for each answer its calls, how they are made, and what becomes of the history."""

    form: Form
    turns: list[list[Planned]] = field(default_factory=list)
    way: str = "one by one"
    compacts: bool = False
    resends: bool = False


def draw_plan(rng: random.Random) -> Plan:
    """Draw a plan; ids are told apart by a letter, so that none is part of another."""
    form = FORMS[rng.choice(list(FORMS))]
    plan = Plan(
        form,
        way=rng.choice(["one by one", "threads", "tasks"]),
        compacts=rng.random() < 0.3,
        resends=rng.random() < 0.3,
    )
    for turn in range(rng.randrange(1, 5)):
        calls = []
        for number in range(rng.randrange(1, 6)):
            is_unknown = rng.random() < 0.15
            is_bad = not is_unknown and form.name != "anthropic" and rng.random() < 0.15
            fails = rng.random() < 0.35
            key = f"k{turn}-{number}z"
            name = "frobnicate" if is_unknown else rng.choice(TOOLS)
            arguments: Any = '{"key": ' if is_bad else {"fails": fails, "key": key}
            calls.append(
                Planned(
                    Request(key, name, arguments),
                    fails,
                    is_unknown,
                    is_bad,
                    is_dropped=rng.random() < 0.2,
                    extra=rng.choice(["", "filled in"]),
                    is_given_id=rng.random() < 0.5,
                )
            )
        if all(call.is_dropped for call in calls):
            calls[0].is_dropped = False  # else the whole turn is forgotten, which is a plan of its own
        plan.turns.append(calls)
    return plan


def run_all(way: str, calls: list[Planned], rng: random.Random) -> dict[str, Result]:
    """Make the calls in the way of the plan, in any order; give what each is handed back as."""

    def make(call: Planned) -> Result:
        try:
            return Result(call.request.call_id, call.run())
        except (ValueError, LookupError, TypeError) as exc:
            return Result(call.request.call_id, f"Error: {exc}", True)

    shuffled = rng.sample(calls, len(calls))
    if way == "threads":
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(make, shuffled))
    elif way == "tasks":

        async def gather() -> list[Result]:
            async def later(call: Planned) -> Result:
                await asyncio.sleep(0)
                return make(call)

            return list(await asyncio.gather(*(later(call) for call in shuffled)))

        results = asyncio.run(gather())
    else:
        results = [make(call) for call in shuffled]
    return {result.call_id: result for result in results}


def follow(plan: Plan, rng: random.Random) -> None:
    """Run the loop."""
    with agent_scope("a"):
        chat = Chat(model_turn, plan.form, TOOLS)
        for calls in plan.turns:
            chat.ask(*(call.request for call in calls))
            if plan.compacts:
                kept = len(plan.form.kept(plan.form.answer([call.request for call in calls])))
                chat.messages = [{"role": "user", "content": "a summary"}, *chat.messages[-kept:]]
            results = run_all(plan.way, calls, rng)
            chat.tell(*(results[call.request.call_id] for call in calls if not call.is_dropped))
            if plan.resends:
                with pytest.raises(OSError), model_turn("m", input=list(chat.messages)):
                    raise OSError("503")
        chat.ask()


Row = tuple[Any, ...]


def expected(plan: Plan) -> dict[str, Counter[Row]]:
    """Say which rows the plan leaves."""
    calls: Counter[Row] = Counter()
    failures: Counter[Row] = Counter()
    dropped: Counter[Row] = Counter()
    for call in (call for calls in plan.turns for call in calls):
        key, name = call.request.call_id, call.request.name
        is_traced = call.kind in ("traced", "scoped", "changed")
        has_failed = call.fails or call.kind == "none"
        known_id = None if call.kind == "changed" else key
        if is_traced or not call.is_dropped:
            calls[(name, known_id, "error" if has_failed else "ok", not is_traced)] += 1
        if is_traced and call.is_dropped and known_id is not None:
            dropped[(key,)] += 1
        if not has_failed:
            continue
        fate = "swallowed" if call.is_dropped else "reported"
        if is_traced:
            failures[(name, "ValueError", fate)] += 1
        elif call.is_dropped:
            if WATCHED:  # caught, and nobody knows which call it was
                raised = "LookupError" if call.is_unknown else "TypeError" if call.is_bad else "ValueError"
                failures[(None, raised, fate)] += 1
        elif call.is_unknown:
            failures[(name, "UnknownTool", fate)] += 1
        elif call.is_bad:
            failures[(name, "TypeError" if WATCHED else "InvalidArguments", fate)] += 1
        else:
            failures[(name, "ValueError" if WATCHED else "ReturnedFailure", fate)] += 1
    if plan.resends:
        failures[(None, "OSError", "retried")] += len(plan.turns)
    return {"calls": calls, "failures": failures, "dropped": dropped}


def found(recorder: Any) -> dict[str, Counter[Row]]:
    """Read the same from what was recorded."""
    events = recorder.events()
    ends = {event.span_id: event for event in events if event.kind == "tool_result"}
    starts = [event for event in events if event.kind == "tool_call"]
    assert len(ends) == len(starts) == len([event for event in events if event.kind == "tool_result"])
    return {
        "calls": Counter(
            (
                event.tool_name,
                event.call_id,
                ends[event.span_id].status,
                event.payload.get("rebuilt", False),
            )
            for event in starts
        ),
        "failures": Counter((one.tool_name, one.error_type, one.fate) for one in recorder.failures()),
        "dropped": Counter((event.call_id,) for event in events if event.kind == "result_dropped"),
    }


def check(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    plan = draw_plan(rng)
    print(plan)
    with memory_recorder() as recorder:
        follow(plan, rng)
    assert found(recorder) == expected(plan)


class TestRandomLoops:
    @pytest.mark.parametrize("seed", range(40))
    def test_leave_the_rows_of_the_oracle(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls with their ids and ends, failures with their fates, dropped results: each once."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        check(seed)

    @pytest.mark.slow
    def test_leave_the_rows_of_the_oracle_again_and_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hundred and fifty more, drawn anew on each run."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        first = random.SystemRandom().randrange(1_000_000)
        for seed in range(first, first + 150):
            check(seed)

    def test_can_tell_a_wrong_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The oracle is not blind: without the ids, without the rebuilding, its rows are others."""
        from agenttrace.capture import calls, rebuilt

        def nothing(*_: Any) -> None:
            return None

        broken: list[tuple[Any, str, Callable[..., Any]]] = [
            (calls, "claim_id", nothing),
            (rebuilt, "_tell", nothing),
            (rebuilt, "note_missing", nothing),
            (rebuilt, "find_told", nothing),
        ]
        for module, name, replacement in broken:
            with monkeypatch.context() as patch:
                patch.setattr(module, name, replacement)
                wrong = 0
                for seed in range(12):
                    rng = random.Random(seed)
                    plan = draw_plan(rng)
                    with memory_recorder() as recorder:
                        follow(plan, rng)
                    wrong += found(recorder) != expected(plan)
                assert wrong or (name == "find_told" and not WATCHED), name
