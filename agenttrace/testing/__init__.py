"""
For tests of agents: a recorder in memory, its reading side, a stepping clock, counting ids.

The pytest fixture ``trajectory`` is made of these parts; they work without pytest, too.
"""

from __future__ import annotations

from agenttrace.testing.calls import Call
from agenttrace.testing.programs import run_program
from agenttrace.testing.readings import AgentRun
from agenttrace.testing.recorder import MemoryRecorder, memory_recorder
from agenttrace.testing.stepping import CountingIds, StepClock, strict_mode
from agenttrace.testing.trajectory import Trajectory

__all__ = [
    "AgentRun",
    "Call",
    "CountingIds",
    "MemoryRecorder",
    "StepClock",
    "Trajectory",
    "memory_recorder",
    "run_program",
    "strict_mode",
]
