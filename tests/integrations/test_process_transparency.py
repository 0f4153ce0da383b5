"""A program's child processes behave with tracing on exactly as with tracing off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reading import ROOT

PROGRAM = ROOT / "tests" / "integrations" / "transparency_program.py"


def run_program(method: str, database: Path, switch: str) -> tuple[dict[str, Any], str]:
    """Give what the program printed, and what stood on its stderr."""
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", str(PROGRAM), method],
        env={**os.environ, "AGENTTRACE": switch, "AGENTTRACE_DB": str(database), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results, done.stderr


@pytest.mark.slow
class TestTransparency:
    """S0.19: results, errors with their texts and causes, exit codes, names, environment, warnings."""

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "subprocess"])
    def test_on_is_as_off(self, method: str, tmp_path: Path) -> None:
        """Every outcome is equal, down to the text of a remote traceback."""
        on, _ = run_program(method, tmp_path / "t.db", "1")
        off, _ = run_program(method, tmp_path / "t.db", "0")
        assert len(on) > 15
        assert {name: (value, off.get(name)) for name, value in on.items() if value != off.get(name)} == {}
        assert (tmp_path / "t.db").exists()
