"""The ring: what goes in comes out, once, in order; what does not fit is said."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import pytest

from agenttrace.write import ring as ring_module
from agenttrace.write.frames import FRAME_BYTES, iter_frames, parse_outside
from agenttrace.write.ring import CLOSED, DONE, FULL, NUDGE, OVERSIZE
from agenttrace.write.ring_base import Waiting
from tests.write.factory import build_ring, read_bodies


@pytest.mark.usefixtures("each_way")
class TestPut:
    def test_keeps_order_through_many_rounds(self) -> None:
        """Events come out as they went in while the ring is filled and emptied over and over."""
        ring = build_ring(ring_bytes=4096)
        for number in range(2000):
            body = b"%d" % number * (1 + number % 90)
            assert ring.put(body) <= NUDGE
            assert read_bodies(ring) == [body]
            ring.advance(ring.head)

    def test_says_when_there_is_no_room(self) -> None:
        """A full ring takes nothing more, and keeps all that it has, until tail moves."""
        ring = build_ring(ring_bytes=4096)
        bodies = [b"%03d" % number + b"x" * 97 for number in range(4096 // (100 + FRAME_BYTES))]
        assert all(ring.put(body) <= NUDGE for body in bodies)
        assert ring.put(b"y" * 120) == FULL
        assert read_bodies(ring) == bodies
        ring.advance(next(iter_frames(ring.read(ring.tail, ring.head), ring.tail)).end)
        assert ring.put(b"y" * 100) <= NUDGE
        assert read_bodies(ring) == [*bodies[1:], b"y" * 100]

    def test_fills_the_ring_to_the_last_byte(self) -> None:
        """A frame that ends exactly at the capacity fits."""
        ring = build_ring(ring_bytes=4096)
        for _ in range(4):
            assert ring.put(b"z" * (1024 - FRAME_BYTES)) <= NUDGE
        assert ring.put(b"z") == FULL
        assert len(read_bodies(ring)) == 4

    def test_sends_large_events_elsewhere(self) -> None:
        """More than a quarter of the ring is for a side file."""
        ring = build_ring(ring_bytes=4096)
        ring.expect_writer(resting=True)
        assert ring.put(b"x" * 1025) == OVERSIZE
        assert ring.put(b"x" * 1024) == NUDGE

    def test_calls_the_writer_out_of_its_rest_once(self) -> None:
        """NUDGE for the first event of a resting writer, then none until half of the ring is full."""
        ring = build_ring(ring_bytes=4096)
        assert ring.rest()
        outcomes = [ring.put(b"x" * 84) for _ in range(40)]
        assert outcomes[0] == NUDGE
        assert outcomes.count(NUDGE) == 2
        assert outcomes[20] == NUDGE  # 21 frames of 100 bytes are more than half
        ring.advance(ring.head)
        assert ring.put(b"x") == DONE

    def test_lets_no_writer_rest_over_an_event(self) -> None:
        """``rest`` refuses while something is left, so that no event waits for the next one."""
        ring = build_ring()
        ring.put(b"x")
        assert not ring.rest()
        ring.advance(ring.head)
        assert ring.rest()

    def test_takes_an_empty_event_without_a_trace(self) -> None:
        """A frame is never empty."""
        ring = build_ring()
        assert ring.put(b"") <= NUDGE
        assert ring.head == ring.tail

    def test_takes_nothing_once_closed(self) -> None:
        """After ``close`` the head stands still."""
        ring = build_ring()
        ring.put(b"x")
        end = ring.close()
        assert ring.put(b"y") == CLOSED
        assert ring.put_outside(b"y") == CLOSED
        assert ring.head == end
        assert not ring.close_empty()

    def test_is_safe_under_threads(self) -> None:
        """Eight threads at once: every event whole, once, each thread's in its order."""
        ring = build_ring(ring_bytes=8 * 1024 * 1024)

        def work(name: int) -> None:
            for number in range(2000):
                ring.put(b"%d %d " % (name, number) + b"x" * (number % 97))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen: dict[int, list[int]] = {name: [] for name in range(8)}
        for body in read_bodies(ring):
            name, number, _ = body.split(b" ")
            seen[int(name)].append(int(number))
        assert all(numbers == list(range(2000)) for numbers in seen.values())


@pytest.mark.usefixtures("python_way")
class TestANestedPut:
    """With the lock, which the way in C has not."""

    def test_waits_for_the_put_that_it_interrupts(self) -> None:
        """What is put while this thread holds the lock goes in right after, in its order."""
        ring = build_ring()
        with ring._lock:
            assert ring.put(b"inner 1") == DONE
            assert ring.put(b"inner 2") == DONE
            assert read_bodies(ring) == []
            assert ring.waiting_count() == 2
        assert ring.put(b"next") <= NUDGE
        assert read_bodies(ring) == [b"inner 1", b"inner 2", b"next"]

    def test_is_fetched_by_the_drainer_too(self) -> None:
        """Without another put, ``absorb`` puts it in, and asks for the writer."""
        ring = build_ring()
        ring.expect_writer(resting=True)
        with ring._lock:
            ring.put(b"inner")
            assert ring.absorb() == DONE
        assert ring.absorb() == NUDGE
        assert read_bodies(ring) == [b"inner"]

    @pytest.mark.parametrize("stop_at", range(6))
    def test_goes_in_once_whenever_the_holder_is_interrupted(
        self, stop_at: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An interrupt before, between or after copy, head and removal neither loses nor doubles an event."""
        ring = build_ring(ring_bytes=4096)
        steps = iter(range(100))

        class Interrupting(deque[Waiting]):
            def popleft(self) -> Waiting:
                if next(steps) == stop_at:
                    raise KeyboardInterrupt
                return super().popleft()

        pack = ring_module.pack_frame

        def interrupting_pack(body: bytes, number: int, flags: int = 0) -> bytes:
            if next(steps) == stop_at:
                raise KeyboardInterrupt
            return pack(body, number, flags)

        monkeypatch.setattr(ring_module, "pack_frame", interrupting_pack)
        ring._waiting = Interrupting(Waiting(b"inner %d" % number) for number in range(3))
        try:
            ring.absorb()
        except KeyboardInterrupt:
            ring.absorb()
        ring.put(b"after")
        assert read_bodies(ring) == [b"inner 0", b"inner 1", b"inner 2", b"after"]

    def test_is_counted_where_it_finds_no_room(self) -> None:
        """Nothing waits in a signal handler: without room the event is a counted drop."""
        ring = build_ring(ring_bytes=4096)
        while ring.put(b"x" * 500) <= NUDGE:
            pass
        with ring._lock:
            assert ring.put(b"y" * 500) == DONE
        ring.absorb()
        assert ring.dropped() == {"full": 1}
        assert b"y" * 500 not in read_bodies(ring)


@pytest.mark.usefixtures("each_way")
class TestCounts:
    def test_add_up_by_reason(self) -> None:
        """Drops are counted in the ring's head, nested ones too."""
        ring = build_ring()
        ring.count_drop("full")
        with ring._lock:  # in Python: as if nested
            ring.count_drop("writer_thread", 2)
        ring.count_drop("full", 3)
        assert ring.dropped() == {"full": 4, "writer_thread": 2}

    def test_are_handed_to_the_next_ring(self) -> None:
        """A second ring of a process goes on counting, and goes on with the places."""
        ring = build_ring(ring_bytes=4096, first=12_345, dropped={"full": 9})
        assert ring.dropped() == {"full": 9}
        assert (ring.head, ring.tail) == (12_345, 12_345)
        ring.put(b"x")
        (frame,) = iter_frames(ring.read(ring.tail, ring.head), ring.tail)
        assert frame.number == 12_345


@pytest.mark.usefixtures("each_way")
class TestALargeEvent:
    @pytest.mark.parametrize("kind", ["auto", "memory"])
    def test_keeps_its_place_in_the_order(self, kind: str, tmp_path: Path) -> None:
        """The ring names the side file where the event belongs; it is read back whole and removed."""
        ring = build_ring(tmp_path / "t.db", 4096, kind=kind)
        ring.put(b"before")
        assert ring.put_outside(b"L" * 50_000) <= NUDGE
        ring.put(b"behind")
        first, large, last = iter_frames(ring.read(ring.tail, ring.head), ring.tail)
        assert (first.body, large.outside, last.body) == (b"before", True, b"behind")
        outside = parse_outside(large.body)
        assert ring.read_outside(outside) == b"L" * 50_000
        ring.forget_outside(outside.number)
        with pytest.raises(ValueError):
            ring.read_outside(outside)
        ring.close()
        ring.dispose()

    def test_finds_bounded_room(self) -> None:
        """Side files may hold sixteen times the ring; then there is no room, until one is stored."""
        ring = build_ring(ring_bytes=4096, kind="memory")
        kept = 0
        while ring.put_outside(b"L" * 4000) <= NUDGE:
            kept += 1
        assert kept == 16
        ring.forget_outside(1)
        assert ring.put_outside(b"L" * 4000) <= NUDGE

    @pytest.mark.shared_ring
    def test_leaves_no_file_where_the_ring_has_no_room(self, tmp_path: Path) -> None:
        """A side file whose frame does not fit is removed at once."""
        ring = build_ring(tmp_path / "t.db", 4096)
        while ring.put(b"x" * 40) <= NUDGE:
            pass
        assert ring.file is not None
        assert ring.put_outside(b"L" * 9000) == FULL
        folder = Path(ring.file.path).parent
        assert [path.name for path in folder.iterdir()] == [Path(ring.file.path).name]
        ring.dispose()
