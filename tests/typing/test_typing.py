"""The public types, as mypy sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__: list[str] = []

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent


@pytest.mark.slow
class TestPublicTypes:
    def test_survive_decoration(self, tmp_path: Path) -> None:
        """A decorated function keeps parameters, result and kind; a wrong call is a type error."""
        pytest.importorskip("mypy")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "mypy",
                "--config-file=setup.cfg",
                "--no-incremental",
                f"--cache-dir={tmp_path}",
                str(_HERE / "public.py"),
            ],
            cwd=_ROOT,
            env={**os.environ, "MYPYPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
