"""
New events as they are written, until the conversation ends.

Follows the row id, which only grows, so that nothing is shown twice or left out
however the clocks of several processes differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from agenttrace.query.viewer import TraceViewer
from agenttrace.store.rows import Event

__all__ = ["follow"]

_POLL_S = 0.2
_BATCH_ROWS = 1000
_RECOVER_EVERY = 25
"""Polls between two looks for processes that died, which end what they left open."""


def follow(
    viewer: TraceViewer,
    conversation_id: str,
    *,
    recover: Callable[[], object],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """
    Give the events of a conversation in the order of storage, and wait for more while it runs.

    Args:
        viewer: Where to read.
        conversation_id: Of which conversation.
        recover: Called now and then, to end what dead processes left open.
        pause: Waits the given seconds between two looks.
    """
    last_id = 0
    polls = 0
    while True:
        is_over = viewer.status(viewer.conversation(conversation_id)) != "running"
        while True:
            rows = viewer.reader.select(
                Event,
                "WHERE conversation_id = ? AND id > ? ORDER BY id LIMIT ?",
                [conversation_id, last_id, _BATCH_ROWS],
            )
            yield from rows
            if not rows:
                break
            last_id = rows[-1].id
        if is_over:
            return
        polls += 1
        if polls % _RECOVER_EVERY == 0:
            recover()
        pause(_POLL_S)
