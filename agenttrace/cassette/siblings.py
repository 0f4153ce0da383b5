"""
Which recorded run a live run is: several agents of one path, in whatever order they come.

Time says nothing here: five subagents that run at once begin and ask in another order each time. A live
run is a recorded one of the same path by its input, by what it has asked so far, and only then by the
order in which they began. Invariants: a recorded run is at most one live run; a choice made early is
taken back where a later question does not fit it, as long as what was given until then was the same; so
the outcome depends on what is asked, not on when. Cost: a look at one dictionary for each question; a
new assignment only where one does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agenttrace.cassette.likeness import alike, canonical
from agenttrace.cassette.recorded import RecordedCall, RecordedModelTurn, RecordedRun

__all__ = ["Ask", "Live", "Siblings"]

Recorded = RecordedCall | RecordedModelTurn


@dataclass(slots=True)
class Ask:
    """One question: a call of a tool, or a turn of a model."""

    family: str
    name: str
    inside: tuple[str, ...]
    value: Any
    """Arguments, or the chat; redacted."""
    key: str = ""

    def __post_init__(self) -> None:
        self.key = canonical(self.value)


@dataclass(slots=True)
class Live:
    """One run of an agent that goes on now."""

    path: tuple[str, ...]
    input: Any
    """What it was asked, redacted; None where nobody said."""
    parent: Live | None
    bound: int | None = None
    """Which of the recorded runs it is."""
    used: set[int] = field(default_factory=set)
    """Which calls and turns of that run were given."""
    given: list[tuple[Ask, Recorded]] = field(default_factory=list)
    operation: Any = None
    """Held, so that no other gets its id."""


class _Shelf:
    """What one recorded run has to give, by what is asked."""

    def __init__(self, run: RecordedRun) -> None:
        self.items: list[Recorded] = [*run.calls, *run.turns]
        self.asks = [_ask_of(one) for one in self.items]
        self.exact: dict[tuple[str, str, tuple[str, ...], str], list[int]] = {}
        self.named: dict[tuple[str, str], list[int]] = {}
        for at, ask in enumerate(self.asks):
            self.exact.setdefault((ask.family, ask.name, ask.inside, ask.key), []).append(at)
            self.named.setdefault((ask.family, ask.name), []).append(at)

    def find(self, ask: Ask, used: set[int], other_turns: bool) -> int | None:
        """Give the first that was asked just so and is not used; else one that may have been."""
        for at in self.exact.get((ask.family, ask.name, ask.inside, ask.key), ()):
            if at not in used:
                return at
        free = [at for at in self.named.get((ask.family, ask.name), ()) if at not in used]
        for is_elsewhere in (False, True):
            for at in free:
                known = self.asks[at]
                if (known.inside != ask.inside) is is_elsewhere and alike(known.value, ask.value):
                    return at
        if other_turns and ask.family == "turn":
            return next((at for at in free if _is_same_turn(self.asks[at], ask)), None)
        return None


def _ask_of(one: Recorded) -> Ask:
    if isinstance(one, RecordedCall):
        return Ask("call", one.tool, tuple(one.inside), one.arguments)
    return Ask("turn", one.model, tuple(one.inside), one.input)


def _is_same_turn(recorded: Ask, asked: Ask) -> bool:
    """Tell whether two chats are as long and have the same roles: then their words alone differ."""
    return bool(_shape_of(recorded.value) == _shape_of(asked.value))


def _shape_of(chat: Any) -> Any:
    if type(chat) is dict:
        lists = [chat[name] for name in ("messages", "input", "contents") if type(chat.get(name)) is list]
        chat = lists[0] if lists else chat
    if type(chat) is not list:
        return type(chat).__name__
    return [one.get("role") or one.get("type") if type(one) is dict else type(one).__name__ for one in chat]


class Siblings:
    """
    Holds which live run is which recorded one.

    Args:
        runs: What was recorded.
    """

    def __init__(self, runs: list[RecordedRun]) -> None:
        self.runs = runs
        self._shelves = [_Shelf(run) for run in runs]
        self._holders: dict[int, Live] = {}
        self._of_path: dict[tuple[str, ...], list[int]] = {}
        for at, run in enumerate(runs):
            self._of_path.setdefault(tuple(run.path), []).append(at)

    def complete(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Give the first recorded path that ends with *path*; itself where none does."""
        fitting = (known for known in self._of_path if known[-len(path) :] == path)
        return path if path in self._of_path else next(fitting, path)

    def begin(self, live: Live) -> None:
        """Take note of a run that begins, and choose a recorded one for it."""
        self._assign(live, [], set(), is_lenient=False)

    def take(self, live: Live, ask: Ask) -> Recorded | None:
        """
        Give what was recorded for a question, and count it as given; None where nothing was.

        Another choice of the recorded run is made where this one does not fit: first one that gave the
        same until now, then any. A turn of a model whose chat differs is looked for last.
        """
        for other_turns in (False, True) if ask.family == "turn" else (False,):
            if live.bound is not None:
                at = self._shelves[live.bound].find(ask, live.used, other_turns)
                if at is not None:
                    return self._give(live, ask, at)
            for is_lenient in (False, True):
                if self._assign(live, [ask], set(), is_lenient=is_lenient, other_turns=other_turns):
                    assert live.bound is not None, "it was just assigned"
                    at = self._shelves[live.bound].find(ask, live.used, other_turns)
                    assert at is not None, "it fits"
                    return self._give(live, ask, at)
        return None

    def _give(self, live: Live, ask: Ask, at: int) -> Recorded:
        assert live.bound is not None, "it is a recorded run"
        live.used.add(at)
        found = self._shelves[live.bound].items[at]
        live.given.append((ask, found))
        return found

    def _assign(
        self, live: Live, more: list[Ask], seen: set[int], *, is_lenient: bool, other_turns: bool = False
    ) -> bool:
        """Find a recorded run for *live*, moving others out of the way where they fit elsewhere too."""
        candidates = self._candidates(live)
        before = live.bound
        if before is not None:
            del self._holders[before]  # free for those that are moved out of the way
        for at in candidates:
            if at in seen:
                continue
            used = self._fit(live, more, at, is_lenient, other_turns)
            if used is None:
                continue
            seen.add(at)
            holder = self._holders.get(at)
            if holder is None or self._assign(holder, [], seen, is_lenient=False):
                live.bound, live.used = at, used
                self._holders[at] = live
                return True
        if before is not None:
            self._holders[before] = live
        return False

    def _candidates(self, live: Live) -> list[int]:
        """Give the recorded runs of its path, the likeliest first."""
        parent = live.parent

        def distance(at: int) -> tuple[bool, bool, bool]:
            run, holder = self.runs[at], self._holders.get(at)
            is_strange = parent is not None and parent.bound is not None and run.parent != parent.bound
            return is_strange, not _asks_alike(run.input, live.input), holder not in (None, live)

        return sorted(self._of_path.get(live.path, ()), key=distance)

    def _fit(
        self, live: Live, more: list[Ask], at: int, is_lenient: bool, other_turns: bool
    ) -> set[int] | None:
        """Give what would be used of a recorded run by all that was asked; None where it does not fit."""
        shelf, used = self._shelves[at], set[int]()
        for ask, given in live.given:
            found = shelf.find(ask, used, True)
            if found is None:
                if is_lenient:
                    continue
                return None
            if not is_lenient and not _same_end(given, shelf.items[found]):
                return None
            used.add(found)
        for ask in more:
            found = shelf.find(ask, used, other_turns)
            if found is None:
                return None
        return used

    def unused(self) -> Iterator[tuple[RecordedRun, Recorded]]:
        """Give what was recorded and never asked for."""
        for at, run in enumerate(self.runs):
            holder = self._holders.get(at)
            used = holder.used if holder is not None else set()
            for number, one in enumerate(self._shelves[at].items):
                if number not in used:
                    yield run, one

    def is_held(self, run: RecordedRun) -> bool:
        """Tell whether a live run is this one."""
        return any(self.runs[at] is run for at in self._holders)

    def nearest(self, live: Live, ask: Ask, measure: Callable[[Any, Any], float]) -> Recorded | None:
        """Give what was recorded that is most like a question: of this run, of its path, of any run."""
        own = [] if live.bound is None else [live.bound]
        places = [own, self._of_path.get(live.path, []), list(range(len(self.runs)))]
        for same_name in (True, False):
            for place in places:
                near = [
                    one
                    for at in place
                    for one, known in zip(self._shelves[at].items, self._shelves[at].asks, strict=True)
                    if known.family == ask.family and (known.name == ask.name) is same_name
                ]
                if near:
                    return max(near, key=lambda one: measure(one, ask))
        return None


def _asks_alike(recorded: Any, live: Any) -> bool:
    return recorded is None or live is None or alike(recorded, live)


def _same_end(one: Recorded, other: Recorded) -> bool:
    """Tell whether two recorded calls or turns ended alike, so that giving either was the same."""
    if one is other:
        return True
    if isinstance(one, RecordedCall) and isinstance(other, RecordedCall):
        return (
            one.status == other.status
            and canonical(one.output) == canonical(other.output)
            and canonical(one.stream and one.stream.get("items"))
            == canonical(other.stream and other.stream.get("items"))
            and _words(one.error) == _words(other.error)
        )
    if isinstance(one, RecordedModelTurn) and isinstance(other, RecordedModelTurn):
        outputs = (one.payload.get("output"), other.payload.get("output"))
        return one.status == other.status and canonical(outputs[0]) == canonical(outputs[1])
    return False


def _words(error: dict[str, Any] | None) -> Any:
    return None if error is None else (error.get("type"), error.get("message"))
