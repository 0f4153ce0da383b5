"""Beside coverage's ``sysmon`` core, which uses ``sys.monitoring`` too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reading import ROOT

pytest.importorskip("coverage")

_PROGRAM = Path(__file__).with_name("beside_coverage.py")


def run(mode: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COVERAGE_CORE": "sysmon"}
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), mode], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
class TestBesideCoverage:
    """Neither disturbs the other."""

    def test_same_tree(self) -> None:
        """The same tree whether coverage measures the program or not, and coverage sees every line."""
        alone, beside = run("alone"), run("coverage")
        assert beside["core"] == "SysMonitor"
        assert alone["tree"] == beside["tree"]
        assert [row[0] for row in alone["tree"]].count("error") == 5
        source = _PROGRAM.read_text(encoding="utf-8").splitlines()
        unseen = [source[number - 1].strip() for number in beside["missing"]]
        assert 'return "never"' in unseen
        assert 'return f"Error: {exc}"' not in unseen and "repr(number)" not in unseen
