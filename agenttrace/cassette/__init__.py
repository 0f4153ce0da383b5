"""
What `agenttrace.replay` is made of: what was recorded, in the order in which it was asked for.

A `Cassette` holds the runs, calls and model turns of one conversation, as plain data that can be
saved and read. A `Player` gives them back to a program that runs again.
"""

from __future__ import annotations

from agenttrace.cassette.cassette import Cassette
from agenttrace.cassette.player import Player
from agenttrace.cassette.recorded import Missing, RecordedCall, RecordedModelTurn, RecordedRun
from agenttrace.cassette.replaying import Playing, replay

__all__ = [
    "Cassette",
    "Missing",
    "Player",
    "Playing",
    "RecordedCall",
    "RecordedModelTurn",
    "RecordedRun",
    "replay",
]
