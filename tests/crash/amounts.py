"""
How much the fault tests do, and with which seed.

``FAULTS=5`` in the environment does five times as much (``scripts/stress`` sets it), and ``FAULTS_SEED=7``
repeats a run; without it each run draws a seed of its own, which is printed where a test fails.
"""

from __future__ import annotations

import os
import random
from zlib import crc32

__all__ = ["draw_seed", "scaled"]

_SCALE = float(os.environ.get("FAULTS", "1"))
_SEED = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().randrange(1 << 24))


def scaled(count: int) -> int:
    """Give *count* of the short form as it is in this run, at least 1."""
    return max(1, round(count * _SCALE))


def draw_seed(name: str) -> int:
    """Give the seed of one test, and say how to have it again."""
    print(f"FAULTS_SEED={_SEED}")
    return crc32(f"{_SEED} {name}".encode()) & 0xFF_FFFF
