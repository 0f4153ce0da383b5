"""Read a trace database in a test, as a user would: sqlite3 over tables and views."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "open_store", "query", "run_python"]

ROOT = Path(__file__).resolve().parent.parent


def query(database: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Give the rows of *sql*."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def open_store(database: Path) -> Any:
    """Recover what dead processes left, and open the store."""
    from agenttrace import TraceStore
    from agenttrace.write.recovery import recover

    recover(str(database))
    return TraceStore(database)


def run_python(
    code: str, database: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run *code* in a child with tracing on into *database*."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={
            **os.environ,
            "AGENTTRACE": "1",
            "AGENTTRACE_DB": str(database),
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
