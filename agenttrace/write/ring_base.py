"""
A ring's memory and words, and what a drainer does with them.

Owns ``head``, ``tail`` and the drop counters as they stand in the mapping. Invariants:
what lies between tail and head is whole and does not move; tail goes only forward,
and only over what is stored; the file goes only when nothing is left in it.
"""

from __future__ import annotations

import os
from _thread import RLock
from collections import deque
from collections.abc import Callable
from typing import Any

from agenttrace.errors import LOSSES
from agenttrace.write import ring_files
from agenttrace.write.header import (
    WORD_CLEAN,
    WORD_HEAD,
    WORD_SEEN,
    WORD_SHORT_SINCE,
    WORD_TAIL,
    WORD_TOLD,
    WORDS_AT,
    WORDS_BYTES,
    RingInfo,
    Shortage,
    read_drops,
    read_shortage,
)
from agenttrace.write.ring_memory import Memory
from agenttrace.write.side_files import SideFiles

__all__ = ["RingBase", "Waiting"]


class Waiting:
    """An event, or a number of drops (then ``body`` is empty), that waits for the lock's holder."""

    __slots__ = ("body", "count", "flags", "tried", "word")

    def __init__(self, body: bytes, flags: int = 0, word: int = WORD_HEAD, count: int = 0) -> None:
        self.body = body
        self.flags = flags
        self.word = word
        self.count = count
        self.tried = -1
        """What ``word`` held at the first try; -1 before."""


class RingBase:
    """What a ring is apart from putting events in."""

    def __init__(self, ring_id: str, info: RingInfo, memory: Memory, waiting: deque[Waiting]) -> None:
        self.ring_id = ring_id
        self.info = info
        self.process_id = info.process.process_id
        self.file = memory.file
        self.kind = "memory" if memory.file is None else "shared"
        """``shared`` outlives the process, ``memory`` does not."""
        self.kind_reason = memory.reason
        """Why it is smaller than asked for, or private memory; empty when all is as wished."""
        self.capacity_bytes = len(memory.mapping) - memory.data_at
        self.inline_bytes = self.capacity_bytes // 4
        """A longer event goes into a side file."""
        self.side_files = SideFiles(None if memory.file is None else memory.file.path, self.capacity_bytes)
        self.read_outside = self.side_files.read
        self.forget_outside = self.side_files.forget
        self._is_closed = False
        self.is_abandoned = False
        """It belongs to the process that this one was forked from."""
        self.pressed_until_s: float | None = None
        """Until when callers may wait for room, monotonic; None again once half of the ring is free."""
        self._data_at = memory.data_at
        self._size = len(memory.mapping)
        self._mapping = memory.mapping
        self._words: Any = memoryview(memory.mapping)[WORDS_AT : WORDS_AT + WORDS_BYTES].cast("Q")
        self._lock = RLock()  # protects head, the counters, the frames beyond head, and the fields below
        self._owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        self._waiting = waiting
        self._is_resting = True
        """The writer looks at nothing until it is called."""
        self._is_urged = False
        """The writer was called because half of the ring is full."""
        self._attention_at = -1
        """A frame that would end beyond this place is put carefully."""

    @property
    def is_closed(self) -> bool:
        """It takes no more events."""
        return self._is_closed

    @property
    def head(self) -> int:
        """Where the next frame will begin."""
        place: int = self._words[WORD_HEAD]
        return place

    @property
    def tail(self) -> int:
        """Where the first frame that is not in the database begins."""
        place: int = self._words[WORD_TAIL]
        return place

    def read(self, start: int, end: int) -> bytes:
        """Copy the stream from *start* to *end*; both between tail and head."""
        begin = start % self.capacity_bytes + self._data_at
        stop = begin + end - start
        if stop <= self._size:
            return self._mapping[begin:stop]
        rest = self._data_at + stop - self._size
        return self._mapping[begin : self._size] + self._mapping[self._data_at : rest]

    # The drainer never waits for the lock: its holder may be a signal handler's victim, and the
    # handler may wait for the drainer.

    def advance(self, place: int) -> None:
        """Give the room before *place* free: all that was there is committed."""
        self._words[WORD_TAIL] = place
        self._is_urged = False
        if not self.is_half_full():
            self.pressed_until_s = None
        self._rearm()

    def rest(self) -> bool:
        """Let the writer rest until a ``put`` gives NUDGE; False where something is there or just coming."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._waiting or self.head != self.tail:
                return False
            self.expect_writer(resting=True)
            return True
        finally:
            self._lock.release()

    def expect_writer(self, *, resting: bool) -> None:
        """Say that the writer looks by itself from now on (False), or that the next ``put`` is to call it."""
        self._is_resting = resting
        self._rearm()

    def is_empty(self) -> bool:
        """Tell whether all is stored, after every ``put`` that has begun."""
        with self._lock:
            return self.head == self.tail

    def is_half_full(self) -> bool:
        """Tell whether the writer should not wait any longer."""
        return (self.head - self.tail) * 2 > self.capacity_bytes

    def dropped(self) -> dict[str, int]:
        """Give the drops by reason, without zeros."""
        return read_drops(self._words)

    def begin_shortage(self, now_ns: int) -> None:
        """Note when the first event was dropped for want of room, as far as no note has told of it."""
        if not self._words[WORD_SHORT_SINCE]:
            self._words[WORD_SHORT_SINCE] = now_ns

    def shortage(self) -> Shortage | None:
        """Give the drops for want of room that no note has told of."""
        return read_shortage(self._words)

    def tell(self, shortage: Shortage) -> None:
        """Take note that a note has told of *shortage*; what was dropped meanwhile is the next one's."""
        self._words[WORD_SHORT_SINCE] = 0
        self._words[WORD_TOLD] = shortage.total

    def failures(self) -> dict[str, int]:
        """Give what recording failed at in this process beside the events, by place."""
        return dict(LOSSES)

    def waiting_count(self) -> int:
        """Tell how many nested events are not in yet."""
        return sum(1 for entry in tuple(self._waiting) if entry.body)

    def see(self, now_ns: int) -> None:
        """Note that the process was alive at *now_ns*."""
        self._words[WORD_SEEN] = now_ns

    def mark_clean(self) -> None:
        """Note that the process ends in order, for whoever should have to finish its work."""
        self._words[WORD_CLEAN] = 1

    def dispose(self) -> None:
        """Remove a closed ring, all of which is committed, and give its memory back."""
        if self.file is not None:
            ring_files.remove_ring(self.file.path)
        with self._lock:
            self._release()

    def abandon(self) -> None:
        """
        Leave an inherited ring to the parent, in a forked child.

        Its memory goes out of reach, so that a ``put`` that the fork interrupted cannot end
        in the parent's ring. The parent's lock is not the child's to lose.
        """
        self.is_abandoned = self._is_closed = True
        self._attention_at = -1
        self._release()

    def _release(self) -> None:
        try:
            self._words.release()
            self._mapping.close()
        except BufferError:
            return  # a reader in another thread has it; it ends with the process
        if self.file is not None:
            ring_files.disown(self.file)
            os.close(self.file.descriptor)

    def _rearm(self) -> None:
        # Without the lock a value may be overwritten by an older one, which is lower, and only costs time.
        room = self.capacity_bytes if self._is_urged else self.capacity_bytes // 2
        self._attention_at = self.tail + room
        if self._is_resting or self.is_closed:
            self._attention_at = -1
