"""The ring in C beside the ring in Python: the same memory, and no moment in between."""

from __future__ import annotations

import gc
import mmap
import signal
import sys
import threading
import tracemalloc
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace import native
from agenttrace.events import MARK
from agenttrace.write import header
from agenttrace.write.frames import OUTSIDE, iter_frames
from agenttrace.write.ring import CLOSED, DONE, FULL, NUDGE, OVERSIZE, Ring
from agenttrace.write.ring_base import Waiting
from agenttrace.write.ring_native import NativeRing, choose_ring
from tests.write.factory import build_info, build_ring, read_bodies

pytestmark = pytest.mark.skipif(native.FUNCTIONS is None, reason="this installation has the Python way only")

_INFO = build_info(":memory:", process_id="0123456789abcdef")
_PUTS = st.tuples(st.just("put"), st.binary(max_size=1100))
_STEPS = st.lists(
    st.one_of(
        _PUTS,
        _PUTS,
        st.tuples(st.just("wait"), st.binary(max_size=900)),
        st.tuples(st.just("absorb"), st.none()),
        st.tuples(st.just("outside"), st.binary(min_size=1, max_size=6000)),
        st.tuples(st.just("drop"), st.sampled_from(header.DROP_REASONS)),
        st.tuples(st.just("drain"), st.none()),
        st.tuples(st.just("rest"), st.none()),
        st.tuples(st.just("expect"), st.booleans()),
        st.tuples(st.just("close_empty"), st.none()),
    ),
    max_size=60,
)


def _do(ring: Ring, what: str, value: Any) -> Any:
    if what == "put":
        return ring.put(value)
    if what == "wait":
        return ring._waiting.append(Waiting(value))
    if what == "absorb":
        return ring.absorb()
    if what == "outside":
        return ring.put_outside(value)
    if what == "drop":
        ring.absorb()
        return ring.count_drop(value)
    if what == "drain":
        return ring.advance(ring.head)
    if what == "rest":
        return ring.rest()
    if what == "expect":
        return ring.expect_writer(resting=value)
    return ring.close_empty()


def _image(ring: Ring) -> tuple[bytes, bytes]:
    """Give words and frames; the ring's random id is left out."""
    memory = ring._mapping[:]
    words = slice(header.WORDS_AT, header.WORDS_AT + header.WORDS_BYTES)
    return memory[words], memory[ring._data_at :]


class TestBothWays:
    @given(_STEPS, st.integers(0, 2**62))
    def test_leave_the_same_memory(self, steps: list[tuple[str, Any]], first: int) -> None:
        """Whatever is asked of a ring, both ways answer the same and write the same bytes."""
        rings = [kind.create(_INFO, 4096, "memory", first=first) for kind in (Ring, NativeRing)]
        for what, value in steps:
            answers = [_do(ring, what, value) for ring in rings]
            assert answers[0] == answers[1], what
            assert _image(rings[0]) == _image(rings[1]), what
        assert rings[0].is_closed == rings[1].is_closed
        assert rings[0].dropped() == rings[1].dropped()

    @given(st.binary(max_size=300))
    def test_have_the_same_check_sum(self, data: bytes) -> None:
        """CRC-32 as everybody computes it, also of nothing and of long texts."""
        for tried in (data, data * 37, b""):
            assert native.FUNCTIONS.crc32(tried) == zlib.crc32(tried)

    def test_share_their_constants(self) -> None:
        """What is written out in C is what it is in Python."""
        given = native.FUNCTIONS.CONSTANTS
        assert given == {
            "MARK": MARK,
            "WORDS_AT": header.WORDS_AT,
            "WORDS_BYTES": header.WORDS_BYTES,
            "WORD_HEAD": header.WORD_HEAD,
            "WORD_TAIL": header.WORD_TAIL,
            "WORD_DROPS": header.WORD_DROPS,
            "OUTSIDE": OUTSIDE,
            "DONE": DONE,
            "NUDGE": NUDGE,
            "FULL": FULL,
            "OVERSIZE": OVERSIZE,
            "CLOSED": CLOSED,
        }
        assert header.DROP_REASONS[0] == "full"

    def test_are_chosen_by_what_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """C where it is compiled, otherwise Python."""
        assert choose_ring() is NativeRing
        monkeypatch.setattr(native, "FUNCTIONS", None)
        assert choose_ring() is Ring


class TestAGate:
    def test_takes_only_a_ring_s_memory(self) -> None:
        """Memory that is read-only, too small, or no memory is refused; so is another kind of queue."""
        gate = native.FUNCTIONS.Gate
        memory = mmap.mmap(-1, 8192)
        for arguments, error in (
            ((b"x" * 8192, 4096, deque()), BufferError),
            ((memory, 100, deque()), ValueError),
            ((memory, 8192, deque()), ValueError),
            ((memory, -1, deque()), ValueError),
            ((memory, 4096, []), TypeError),
            ((None, 4096, deque()), TypeError),
            ((), TypeError),
        ):
            with pytest.raises(error):
                gate(*arguments)
        with pytest.raises(TypeError):
            gate(memory, 4096, waiting=deque())

    @pytest.mark.parametrize("body", ["text", None, bytearray(b"x"), 5])
    def test_takes_only_bytes(self, body: Any) -> None:
        """Anything else could change while it is copied."""
        with pytest.raises(TypeError):
            build_ring(ring_bytes=4096, kind="memory").put(body)

    def test_does_not_keep_its_memory_open(self) -> None:
        """The mapping can be closed as if there were no gate; from then on every step is a ValueError."""
        ring = NativeRing.create(_INFO, 4096, "memory")
        ring.put(b"x")
        ring._words.release()
        ring._mapping.close()
        for step in (
            lambda: ring.put(b"x"),
            lambda: ring.advance(1),
            lambda: ring.rest(),
            lambda: ring.close_empty(),
            lambda: ring.count_drop("full"),
            lambda: ring.put_outside(b"x"),
        ):
            with pytest.raises(ValueError):
                step()

    def test_lets_an_abandoned_ring_alone(self) -> None:
        """In a forked child nothing can reach the parent's memory, even while a reader still has it."""
        ring = NativeRing.create(_INFO, 4096, "memory")
        ring.put(b"x")
        memory = memoryview(ring._mapping)  # a reader, so that closing fails
        before = bytes(memory)
        ring.abandon()
        assert ring.put(b"y") == CLOSED
        assert bytes(memory) == before

    def test_puts_what_waited_in_first(self) -> None:
        """What came while the ring was being made goes in before the event that finds it made."""
        waiting = deque([Waiting(b"first"), Waiting(b"second")])
        ring = NativeRing.create(_INFO, 4096, "memory", waiting=waiting)
        assert ring.waiting_count() == 2
        assert ring.put(b"third") == NUDGE
        assert read_bodies(ring) == [b"first", b"second", b"third"]

    def test_counts_a_waiting_thing_that_is_none(self) -> None:
        """An entry of another shape is an error and a drop, and does not stand in the way of the next."""
        waiting: Any = deque([object(), Waiting("text"), Waiting(b"", word=200), Waiting(b"fine")])  # type: ignore[arg-type]
        ring = NativeRing.create(_INFO, 4096, "memory", waiting=waiting)
        for error in (AttributeError, TypeError, TypeError):
            with pytest.raises(error):
                ring.absorb()
        ring.absorb()
        assert read_bodies(ring) == [b"fine"]
        assert ring.dropped() == {"full": 3}

    def test_holds_no_reference(self) -> None:
        """Events, outcomes and refusals leave reference counts and memory as they were."""
        ring = NativeRing.create(_INFO, 65_536, "memory")
        body = b"x" * 500
        ring.put(body)
        held = (body, ring._mapping, ring._waiting)
        counts = [sys.getrefcount(each) for each in held]
        tracemalloc.start()
        try:
            for round_number in range(3):
                if round_number == 1:
                    before = tracemalloc.get_traced_memory()[0]
                for _ in range(2000):
                    ring.put(body)
                    ring._waiting.append(Waiting(body))
                    ring.absorb()
                    ring.advance(ring.head)
                    ring.rest()
                    try:
                        ring.put(None)  # type: ignore[arg-type]
                    except TypeError:
                        pass
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 50_000  # one object a round would be 150,000 and more
        assert counts == [sys.getrefcount(each) for each in held]

    def test_goes_with_its_ring(self) -> None:
        """A ring that nobody holds any more gives its memory back."""
        ring = NativeRing.create(_INFO, 4096, "memory")
        mapping = ring._mapping
        ring._words.release()
        del ring
        gc.collect()
        assert sys.getrefcount(mapping) == 2
        mapping.close()


@pytest.fixture
def alarms() -> Iterator[None]:
    """Put the handler of SIGALRM back, and the timer off."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class TestNothingComesBetween:
    def test_signal_handlers_that_record(self, alarms: None) -> None:
        """Each handler's event is whole, once, and stands before or behind the one that it came upon."""
        ring = NativeRing.create(_INFO, 65_536, "memory")
        ring.expect_writer(resting=False)
        handled: list[bytes] = []

        def handle(*_: Any) -> None:
            body = b"handler %d" % len(handled) * 20
            if ring.put(body) <= NUDGE:
                handled.append(body)
            if len(handled) < 200:
                signal.setitimer(signal.ITIMER_REAL, 0.0001)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
        mains: list[bytes] = []
        stored: list[bytes] = []
        while len(handled) < 200:
            body = b"main %d" % len(mains) * 30
            if ring.put(body) <= NUDGE:
                mains.append(body)
            else:
                end = ring.head
                stored += [frame.body for frame in iter_frames(ring.read(ring.tail, end), ring.tail)]
                ring.advance(end)
        stored += read_bodies(ring)
        assert [body for body in stored if body.startswith(b"main")] == mains
        assert [body for body in stored if body.startswith(b"handler")] == handled

    def test_threads(self) -> None:
        """Eight threads and a drainer that never stops: each event once, in its thread's order."""
        ring = NativeRing.create(_INFO, 65_536, "memory")
        ring.expect_writer(resting=False)
        seen: dict[int, list[int]] = {name: [] for name in range(8)}

        def work(name: int) -> None:
            for number in range(1000):
                body = b"%d %d " % (name, number) + b"x" * (number % 97)
                while ring.put(body) == FULL:
                    drain()

        lock = threading.Lock()

        def drain() -> None:
            with lock:
                end = ring.head
                for frame in iter_frames(ring.read(ring.tail, end), ring.tail):
                    name, number, _ = frame.body.split(b" ")
                    seen[int(name)].append(int(number))
                ring.advance(end)

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        drain()
        assert all(numbers == list(range(1000)) for numbers in seen.values())
