"""
Every test starts in a clean environment and ends with tracing off.

Owns the folders a test may write to: its database, its home and its rings, of
which none is the user's own. A test that needs a setting sets it itself.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import wrapt
from hypothesis import settings

__all__: list[str] = []

# The same examples every time: a test that fails now and then tells nobody anything.
# To look for new ones: pytest --hypothesis-profile=default.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("repeatable")

_SHARED_MEMORY = Path("/dev/shm")
_KEPT = ("AGENTTRACE_PURE", "AGENTTRACE_RING")
"""How this run of the tests was started; child processes follow it."""


@wrapt.when_imported("openai._base_client")
@wrapt.when_imported("anthropic._base_client")
def _leave_open_clients_alone(module: ModuleType) -> None:
    """
    Let no client that an earlier test left open close itself amid a later one.

    The garbage collector comes whenever it does, and the client's own ``__del__`` then starts a task in
    the loop that runs at that moment, which fails: its connections belong to a loop that is closed.
    """
    del module.AsyncHttpxClientWrapper.__del__


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is about rings in files, where this run is made without them (scripts/stress)."""
    from agenttrace.write import ring_files

    if os.environ.get("AGENTTRACE_RING") != "memory" and ring_files.fcntl is not None:
        return
    without = pytest.mark.skip(reason="this run is made without rings in files")
    for item in items:
        if item.get_closest_marker("shared_ring") is not None:
            item.add_marker(without)


@pytest.fixture(scope="session")
def _folder_for_rings() -> Iterator[Path]:
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="agenttrace-tests-", dir=parent))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _folder_for_homes() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="agenttrace-homes-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def clean_environment(
    _folder_for_rings: Path, _folder_for_homes: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """
    Give the test an environment of its own, and leave nothing running behind it.

    Yields:
        The folder that stands for the user's home; ``traces.db`` in it is the default database.
    """
    for name in [name for name in os.environ if name.startswith("AGENTTRACE")]:
        if name not in _KEPT:
            monkeypatch.delenv(name)
    home = Path(tempfile.mkdtemp(dir=_folder_for_homes))
    rings = Path(tempfile.mkdtemp(dir=_folder_for_rings))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("AGENTTRACE_DB", str(home / "traces.db"))
    monkeypatch.setenv("AGENTTRACE_RING_DIR", str(rings))
    yield home
    monkeypatch.delenv("AGENTTRACE", raising=False)
    _stop_tracing()
    shutil.rmtree(rings, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def _stop_tracing() -> None:
    """Switch tracing off and close what it opened; does nothing when no test has imported it."""
    agenttrace = sys.modules.get("agenttrace")
    if agenttrace is None:
        return
    for name in ("disable", "uninstall", "shutdown"):
        stop = getattr(agenttrace, name, None)
        if stop is not None:
            stop()
    runtime = sys.modules.get("agenttrace.runtime")
    if runtime is not None:
        # What one test was told about settings is not known to the next.
        with runtime.STATE.lock:
            runtime.STATE.given = {}
            runtime.STATE.settings = None
        runtime.start_from_environment()
    errors = sys.modules.get("agenttrace.errors")
    if errors is not None:
        errors.LOSSES.clear()
    clock = sys.modules.get("agenttrace.clock")
    if clock is not None:
        clock.use(None)
