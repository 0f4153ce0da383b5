"""
For tests of agents: a recorder in memory, its reading side, a stepping clock, counting ids.

The pytest fixture ``trajectory`` is made of these parts; they work without pytest, too.
"""

from __future__ import annotations

from agenttrace.testing.calls import Call
from agenttrace.testing.recorder import MemoryRecorder, memory_recorder
from agenttrace.testing.stepping import CountingIds, StepClock, strict_mode
from agenttrace.testing.trajectory import AgentRun, Trajectory

__all__ = [
    "AgentRun",
    "Call",
    "CountingIds",
    "MemoryRecorder",
    "StepClock",
    "Trajectory",
    "memory_recorder",
    "strict_mode",
]
