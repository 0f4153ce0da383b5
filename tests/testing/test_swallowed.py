"""The recorder of a test sees what the code under test swallows."""

from __future__ import annotations

import sys

import pytest

from agenttrace import agent_scope
from agenttrace.testing import Trajectory

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")


class TestTrajectoryFixture:
    """``trajectory.failures(fate="swallowed")``."""

    def test_sees_what_no_call_left(self, trajectory: Trajectory) -> None:
        """An exception that is caught before it leaves any operation, with no decorator near it."""
        with agent_scope("lead"):
            try:
                raise TimeoutError("no answer")
            except TimeoutError:
                pass
        (failure,) = trajectory.failures(fate="swallowed")
        assert failure.error_type == "TimeoutError"
        assert failure.handled_at is not None and failure.handled_at.startswith(__file__)

    def test_sees_it_amid_a_scope(self, trajectory: Trajectory) -> None:
        """It can be asked for while the agent still runs."""
        with agent_scope("lead"):
            try:
                raise TimeoutError("no answer")
            except TimeoutError:
                pass
            assert [row.error_type for row in trajectory.failures()] == ["TimeoutError"]
