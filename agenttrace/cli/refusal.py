"""
How a command ends when it cannot do what was asked: one line, one exit code.

The codes are a promise of ``docs/cli.md``; scripts rely on them.
"""

from __future__ import annotations

from typing import Any

import click

from agenttrace.cli.console import note

__all__ = ["EXIT_FINDINGS", "EXIT_NO_DATABASE", "EXIT_TOO_NEW", "EXIT_USAGE", "Refusal"]

EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_NO_DATABASE = 3
EXIT_TOO_NEW = 4


class Refusal(click.ClickException):
    """Ends a command with a message on stderr and the exit code of its cause."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        setattr(self, "exit_code", exit_code)  # noqa: B010  (click declares it on the class)

    def show(self, file: Any = None) -> None:
        """Write the message on stderr."""
        note(self.message)
