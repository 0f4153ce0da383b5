"""A signal handler may fork while the first event makes the ring: parent and child each keep their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading import ROOT


@pytest.mark.shared_ring
@pytest.mark.crash
@pytest.mark.slow
class TestForkWhileMaking:
    def test_at_every_call(self, tmp_path: Path) -> None:
        """The child never clears the memory that it shares with the parent for a moment."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.fork_while_making", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["tried"] > 20
        assert found["wrong"] == []
