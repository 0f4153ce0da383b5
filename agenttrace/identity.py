"""
Who is recording: this process, its host, and the commit it runs from.

Invariant: reads a few small files and starts no program; what cannot be read is
left empty.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from agenttrace import clock
from agenttrace._version import VERSION
from agenttrace.events import ProcessInfo, new_id

__all__ = ["describe_process", "read_git_commit", "redact_argv"]

_ARGV_LIMIT_COUNT = 200


def describe_process(
    span_prefix: str, parent_process_id: str | None, redact_text: Callable[[str], str]
) -> ProcessInfo:
    """
    Describe the running process.

    Args:
        span_prefix: 8 hex digits that begin its span ids, and its process id.
        parent_process_id: The process that forked this one, when it recorded too.
        redact_text: Takes secrets out of a text; the arguments pass through it.
    """
    return ProcessInfo(
        process_id=span_prefix + new_id(8),
        host=socket.gethostname(),
        boot_id=_read_text("/proc/sys/kernel/random/boot_id"),
        pid=os.getpid(),
        python_version=platform.python_version(),
        agenttrace_version=VERSION,
        argv=json.dumps(redact_argv(sys.argv, redact_text), ensure_ascii=False),
        cwd=_current_folder(),
        git_commit=read_git_commit(_current_folder()),
        started_ms=clock.now_ms(),
        parent_process_id=parent_process_id,
    )


def redact_argv(argv: list[str], redact_text: Callable[[str], str]) -> list[str]:
    """Take secrets out of a command line, also where `--password` and its value are two words."""
    kept: list[str] = []
    previous = ""
    for word in argv[:_ARGV_LIMIT_COUNT]:
        word = str(word).encode("utf-8", "replace").decode("utf-8")
        redacted = redact_text(word)
        if redacted == word and previous.startswith("-") and "=" not in previous:
            pair = redact_text(f"{previous} {word}")
            if pair != f"{previous} {word}":
                redacted = pair.partition(" ")[2] or "[redacted]"
        kept.append(redacted)
        previous = word
    return kept


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was removed


def _read_text(path: str | Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(100_000).strip()
    except OSError:
        return ""


def read_git_commit(folder: str) -> str | None:
    """Give the commit that *folder*'s work tree stands on; None outside one. Runs no git."""
    if not folder:
        return None
    for place in (Path(folder), *Path(folder).parents):
        dot_git = place / ".git"
        if dot_git.is_file():
            pointer = _read_text(dot_git).partition("gitdir:")[2].strip()
            return _read_head((place / pointer).resolve()) if pointer else None
        if dot_git.is_dir():
            return _read_head(dot_git)
    return None


def _read_head(git_folder: Path) -> str | None:
    head = _read_text(git_folder / "HEAD")
    if not head.startswith("ref:"):
        return head or None
    name = head[4:].strip()
    common = _read_text(git_folder / "commondir")
    folders = [git_folder, (git_folder / common).resolve()] if common else [git_folder]
    for folder in folders:
        commit = _read_text(folder / name)
        if commit:
            return commit
        for line in _read_text(folder / "packed-refs").splitlines():
            commit, _, packed_name = line.partition(" ")
            if packed_name == name:
                return commit
    return None
