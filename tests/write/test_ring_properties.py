"""The ring against a model: a list of events, a bound, and nothing else."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agenttrace import native
from agenttrace.write.frames import FRAME_BYTES, iter_frames
from agenttrace.write.header import WORD_DROPS
from agenttrace.write.ring import FULL, NUDGE, Ring
from agenttrace.write.ring_base import Waiting
from agenttrace.write.ring_native import NativeRing
from tests.write.factory import build_info, read_bodies

_CAPACITY_BYTES = 4096


class RingMachine(RuleBasedStateMachine):
    """Put, put nested, drop, drain, in any order; the ring holds what the list holds."""

    kind: type[Ring] = Ring

    def __init__(self) -> None:
        super().__init__()
        self.ring = self.kind.create(build_info(":memory:"), _CAPACITY_BYTES, "memory", first=987_654_321)
        self.held: list[bytes] = []
        self.dropped = 0
        self.numbers: set[int] = set()

    def _room(self) -> int:
        return _CAPACITY_BYTES - sum(len(body) + FRAME_BYTES for body in self.held)

    def _expect(self, body: bytes) -> bool:
        fits = len(body) + FRAME_BYTES <= self._room()
        if fits:
            self.held.append(body)
        return fits

    @rule(body=st.binary(min_size=1, max_size=1024))
    def put(self, body: bytes) -> None:
        """An event goes in exactly when there is room."""
        outcome = self.ring.put(body)
        assert (outcome <= NUDGE) == self._expect(body)
        assert outcome in (0, NUDGE, FULL)

    @rule(
        bodies=st.lists(st.binary(min_size=1, max_size=700), min_size=1, max_size=4), drops=st.integers(0, 2)
    )
    def put_nested(self, bodies: list[bytes], drops: int) -> None:
        """Nested events go in together, as far as there is room; the others are counted."""
        self._put_nested(bodies, drops)
        self.dropped += drops + sum(not self._expect(body) for body in bodies)

    def _put_nested(self, bodies: list[bytes], drops: int) -> None:
        with self.ring._lock:
            for body in bodies:
                self.ring.put(body)
            for _ in range(drops):
                self.ring.count_drop("full")
        self.ring.absorb()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        """The drainer takes any number of events from the front; no two ever have the same number."""
        count = data.draw(st.integers(1, len(self.held)))
        frames = list(iter_frames(self.ring.read(self.ring.tail, self.ring.head), self.ring.tail))[:count]
        assert [frame.body for frame in frames] == self.held[:count]
        assert not self.numbers & {frame.number for frame in frames}
        self.numbers |= {frame.number for frame in frames}
        del self.held[:count]
        self.ring.advance(frames[-1].end)

    @rule()
    def rest(self) -> None:
        """The writer may rest exactly when nothing is left."""
        assert self.ring.rest() == (not self.held)

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        """Nothing is lost, doubled, torn or out of order."""
        assert read_bodies(self.ring) == self.held
        assert self.ring.dropped().get("full", 0) == self.dropped


class NativeRingMachine(RingMachine):
    """The same in C, where nothing is nested, but events may wait that came while the ring was being made."""

    def _put_nested(self, bodies: list[bytes], drops: int) -> None:
        self.ring._waiting.extend(Waiting(body) for body in bodies)
        self.ring._waiting.extend(Waiting(b"", 0, WORD_DROPS, 1) for _ in range(drops))
        self.ring.absorb()


RingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestARing = RingMachine.TestCase
if native.FUNCTIONS is not None:
    NativeRingMachine.kind = NativeRing
    NativeRingMachine.TestCase.settings = RingMachine.TestCase.settings
    TestANativeRing = NativeRingMachine.TestCase
