"""Databases on disk, and ways to run the command line: in this process, and as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agenttrace.cli.main import cli
from agenttrace.store import EventSink
from tests.query.factory import Story, audit

__all__ = ["Invoke", "Shell"]

_ROOT = Path(__file__).parent.parent.parent

Invoke = Callable[..., Result]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process, at 80 columns; stdout and stderr apart."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(cli, list(args), catch_exceptions=False, **options)

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run ``python -m agenttrace`` in a process of its own."""

    def run(*args: str, python: tuple[str, ...] = ("-m", "agenttrace"), **options: Any) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "COLUMNS": "80", **options.pop("env", {})}
        options.setdefault("cwd", tmp_path)
        return subprocess.run(
            [sys.executable, *python, *args],
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )

    return run


def write_story(path: Path | str, story: Story, **options: Any) -> None:
    """Store a story in a database on disk."""
    sink = EventSink(path)
    story.write(sink, **options)
    sink.close()


@pytest.fixture
def database(clean_environment: Path) -> Path:
    """Give the default database, with the story ``audit`` in it."""
    path = clean_environment / "traces.db"
    write_story(path, audit())
    return path
