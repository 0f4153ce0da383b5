"""
Run a command of ours as a person does, and time it: the whole process, from its start to its end.

Invariant: bytecode is there, as after any installation (written to a folder of its own, and once before
anything is timed), and no setting of ours comes from outside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["clean_environment", "run_ms"]

_ROOT = Path(__file__).parent.parent


def clean_environment(bytecode: Path) -> dict[str, str]:
    """Give the environment of a command whose bytecode lies in *bytecode*."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AGENTTRACE") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONPYCACHEPREFIX": str(bytecode), "COLUMNS": "80"}


def run_ms(environment: dict[str, str], *arguments: str) -> float:
    """
    Run ``agenttrace`` with *arguments*.

    Raises:
        CalledProcessError: It did not exit with 0.
    """
    began_s = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "agenttrace", *arguments],
        check=True,
        capture_output=True,
        env=environment,
        cwd=_ROOT,
    )
    return (time.perf_counter() - began_s) * 1000
