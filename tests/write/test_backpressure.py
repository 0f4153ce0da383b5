"""Who may be made to wait for room: code that holds nothing up."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from agenttrace.write.backpressure import may_wait


@pytest.fixture
def restored_handler() -> Iterator[None]:
    """Put the handler of SIGUSR1 back."""
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


class TestWaiting:
    def test_is_for_plain_code(self) -> None:
        """In the main thread and in others, outside everything below."""
        answers = [may_wait()]
        thread = threading.Thread(target=lambda: answers.append(may_wait()))
        thread.start()
        thread.join()
        assert answers == [True, True]

    def test_is_not_for_a_running_event_loop(self) -> None:
        """Neither in a coroutine nor in a callback; in a thread beside the loop it is."""

        async def work() -> tuple[bool, bool]:
            return may_wait(), await asyncio.to_thread(may_wait)

        assert asyncio.run(work()) == (False, True)
        assert may_wait()

    @pytest.mark.parametrize("shape", ["function", "method", "partial", "object"])
    def test_is_not_for_a_signal_handler(self, shape: str, restored_handler: None) -> None:
        """However deep below the handler, and whatever kind of callable that is."""
        answers: list[bool] = []

        class Handler:
            def method(self, *_: Any) -> None:
                deep()

            def __call__(self, *_: Any) -> None:
                deep()

        def deep() -> None:
            answers.append((lambda: may_wait())())

        def function(*_: Any) -> None:
            deep()

        handlers = {
            "function": function,
            "method": Handler().method,
            "partial": functools.partial(function, 1),
            "object": Handler(),
        }
        signal.signal(signal.SIGUSR1, handlers[shape])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert answers == [False]

    def test_is_not_for_a_finaliser(self) -> None:
        """Neither in ``__del__`` nor in a ``weakref.finalize`` callback."""
        answers: list[bool] = []

        class Dying:
            def __del__(self) -> None:
                answers.append(may_wait())

        dying = Dying()
        weakref.finalize(dying, lambda: answers.append(may_wait()))
        del dying
        gc.collect()
        assert answers == [False, False]
