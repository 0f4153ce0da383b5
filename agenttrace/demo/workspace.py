"""
The audited folder, and beside it a scratch folder of drafts in which things go wrong.

Owns every file the demo touches: the audited folder is only read, the drafts are
made in a temporary folder and removed with it. Paths are relative with "/", and
those that begin with ``drafts/`` stand in the scratch folder.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from agenttrace.errors import ConfigError

__all__ = ["DRAFTS", "Listing", "Workspace", "default_folder", "open_workspace"]

DRAFTS = "drafts/"

# Parsing costs about 0.3 s per MB of Python; the whole demo is to end within 3 s.
_FILES_LIMIT_COUNT = 400
_SIZE_LIMIT_BYTES = 1_500_000
_WALK_LIMIT_COUNT = 5_000
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist", "venv"})

_UNFINISHED = "def half_a_thought(\n"
_ENDLESS = "while True:\n    pass\n"
_GREETING = "print('hello')\n"


class Listing(NamedTuple):
    """The Python files of a workspace."""

    paths: list[str]
    """Of the audited folder, sorted, within the limits of the demo."""
    drafts: list[str]
    skipped_count: int
    """Files beyond the limits."""


class Workspace:
    """Turn the relative paths that agents speak of into real ones, and back."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        self.listing = _list_python(folder, scratch)

    @property
    def name(self) -> str:
        """What to call the audited folder in a sentence."""
        return self.folder.name or str(self.folder)

    def resolve(self, path: str) -> Path:
        """
        Find the real path of *path*.

        Raises:
            PermissionError: It leads out of the audited folder and the drafts.
        """
        is_draft = path.startswith(DRAFTS)
        base = self.scratch if is_draft else self.folder
        real = base / (path.removeprefix(DRAFTS) if is_draft else path)
        if not Path(os.path.normpath(real)).is_relative_to(base):
            raise PermissionError(f"{path!r} is outside the audited folder")
        return real

    def hold_lock(self, refusals_count: int) -> None:
        """Let another audit hold the report's lock, until it has refused *refusals_count* times."""
        (self.scratch / "report.lock").write_text(str(refusals_count), encoding="ascii")

    def take_lock(self) -> None:
        """
        Take the report's lock.

        Raises:
            BlockingIOError: Another audit still holds it.
        """
        lock = self.scratch / "report.lock"
        try:
            refusals_count = int(lock.read_text(encoding="ascii"))
        except FileNotFoundError:
            return
        if refusals_count > 1:
            lock.write_text(str(refusals_count - 1), encoding="ascii")
        else:
            lock.unlink()
        raise BlockingIOError("report.md is locked by another audit")


@contextmanager
def open_workspace(folder: str | None) -> Iterator[Workspace]:
    """
    Open *folder* for an audit, with fresh drafts beside it that go when the block ends.

    Raises:
        ConfigError: *folder* is not a folder.
    """
    root = Path(folder).resolve() if folder is not None else default_folder()
    if not root.is_dir():
        raise ConfigError(
            f"demo: {folder!r} is not a folder; name one that holds Python code, or none at all"
        )
    with tempfile.TemporaryDirectory(prefix="agenttrace-demo-") as scratch:
        yield Workspace(root, _write_drafts(Path(scratch).resolve()))


def default_folder() -> Path:
    """Give a part of Python's own standard library: the package ``http``."""
    import http  # late: only its place is wanted

    return Path(str(http.__file__)).resolve().parent


def _write_drafts(scratch: Path) -> Path:
    """Lay the traps: a syntax error, an endless loop, a link to nowhere, and one good file."""
    for name, text in (("unfinished.py", _UNFINISHED), ("endless.py", _ENDLESS), ("greeting.py", _GREETING)):
        (scratch / name).write_text(text, encoding="ascii")
    moved = scratch / "moved.py"
    try:
        moved.symlink_to(scratch / "gone.py")
    except OSError:  # Windows grants links to few; a folder in the file's place cannot be read either
        moved.mkdir()
    return scratch


def _list_python(folder: Path, scratch: Path) -> Listing:
    found = sorted(islice(_iter_python(folder), _WALK_LIMIT_COUNT))
    paths: list[str] = []
    total_bytes = 0
    for path, size_bytes in found:
        if len(paths) < _FILES_LIMIT_COUNT and total_bytes + size_bytes <= _SIZE_LIMIT_BYTES:
            total_bytes += size_bytes
            paths.append(path)
    drafts = sorted(f"{DRAFTS}{name}" for name in os.listdir(scratch) if name.endswith(".py"))
    return Listing(paths, drafts, len(found) - len(paths))


def _iter_python(folder: Path) -> Iterator[tuple[str, int]]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )
        for name in files:
            path = Path(parent, name)
            if name.endswith(".py") and (size_bytes := _size_bytes(path)) is not None:
                yield path.relative_to(folder).as_posix(), size_bytes


def _size_bytes(path: Path) -> int | None:
    """Give the size; 0 for a dangling link, as the audit will say so, and None for what is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None  # reading a pipe would never end
