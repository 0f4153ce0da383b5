"""
The pytest plugin: the fixture ``trajectory`` for tests of agents.

pytest loads this module in every run, also in projects that never use the fixture,
so nothing but the fixture's own body imports what recording needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agenttrace.testing import Trajectory

__all__ = ["trajectory"]


@pytest.fixture
def trajectory() -> Iterator[Trajectory]:
    """
    Record what the test's agents do, in memory, and give it to be asserted about.

    Recording is on whatever the environment or the project's settings say; no value is
    cut or redacted, and nothing reaches a disk.
    """
    from agenttrace.testing import Trajectory, memory_recorder  # late: see above

    with memory_recorder() as recorder:
        yield Trajectory(recorder)
