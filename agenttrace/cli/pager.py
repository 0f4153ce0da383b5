"""
A pager for what is longer than the screen, and none for what is not.

Invariants: only what goes to a terminal is paged; what fits the screen is printed as ever; leaving the
pager early ends the command quietly, with exit code 0; without a pager that can be started, all is printed.
``AGENTTRACE_PAGER`` goes before ``PAGER``; "" or ``cat`` means none. Cost: one screen of text is held back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import subprocess

__all__ = ["PagedStream", "leave_pager", "page_output", "pager_option"]

_WANTED = "agenttrace.pager"
_USUAL = ["less", "-R"]
_OPEN: list[PagedStream] = []
"""The stream of the command at hand, while there is one; a command has one thread."""


def pager_option(command: Any) -> Any:
    """Add ``--no-pager`` to a command whose output may be long."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.meta[_WANTED] = not value

    add = click.option(
        "--no-pager",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Print straight to the terminal, also what is longer than the screen.",
    )
    return add(command)


def page_output() -> IO[str]:
    """
    Give what the command at hand is to print to: stdout, or on a terminal a stream that may start a pager.

    It is closed, and the pager waited for, when the command ends.
    """
    ctx = click.get_current_context(silent=True)
    command = _choose_pager()
    if ctx is None or not ctx.meta.get(_WANTED, True) or not command or not sys.stdout.isatty():
        return sys.stdout
    stream: Any = PagedStream(sys.stdout, command, shutil.get_terminal_size().lines)
    _OPEN.append(stream)
    ctx.call_on_close(leave_pager)
    return stream  # type: ignore[no-any-return]


def leave_pager() -> None:
    """Wait until the pager is left, if one runs, so that what is said next does not run into its page."""
    while _OPEN:
        _OPEN.pop().close()


def _choose_pager() -> list[str]:
    for name in ("AGENTTRACE_PAGER", "PAGER"):
        if name in os.environ:
            try:
                command = shlex.split(os.environ[name])
            except ValueError:
                return []
            return [] if command[:1] in ([], ["cat"]) else command
    return [] if os.environ.get("TERM", "dumb") == "dumb" else _USUAL


class PagedStream:
    """
    Holds text back until it is longer than a screen, then hands it and all that follows to a pager.

    Args:
        terminal: Where short text goes.
        command: The pager.
        height: Lines of the screen.
    """

    def __init__(self, terminal: IO[str], command: list[str], height: int) -> None:
        self._terminal = terminal
        self._command = command
        self._room = max(1, height - 1)
        self._held: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._is_open = True
        self.encoding = getattr(terminal, "encoding", None) or "utf-8"
        self.errors = "backslashreplace"

    def isatty(self) -> bool:
        """Say that colours and the terminal's width are wanted."""
        return True

    def fileno(self) -> int:
        """Give the terminal's number, of which the width is asked."""
        return self._terminal.fileno()

    def write(self, text: str) -> int:
        """Hold text back, or hand it on; BrokenPipeError when the pager was left."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(text)
        elif not self._is_open:
            self._terminal.write(text)
        else:
            self._held.append(text)
            self._room -= text.count("\n")
            if self._room < 0:
                self._start()
        return len(text)

    def flush(self) -> None:
        """Do nothing: what is held back is written at the end, and a pager reads when it wants to."""

    def close(self) -> None:
        """Print what was held back, or wait until the pager is left."""
        process, self._process = self._process, None
        if process is None:
            self._release()
            return
        try:
            assert process.stdin is not None
            process.stdin.close()
        except OSError:
            pass  # it was left early
        while True:
            try:
                process.wait()
                return
            except KeyboardInterrupt:
                continue  # meant for the pager, which stays

    def _start(self) -> None:
        import subprocess  # late: most output fits the screen

        environment = {"LESS": "FRX", **os.environ}
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                env=environment,
                encoding=self.encoding,
                errors=self.errors,
            )
        except OSError:
            self._release()
            return
        assert self._process.stdin is not None
        held, self._held = self._held, []
        self._process.stdin.write("".join(held))

    def _release(self) -> None:
        self._is_open = False
        held, self._held = self._held, []
        self._terminal.write("".join(held))
        self._terminal.flush()
