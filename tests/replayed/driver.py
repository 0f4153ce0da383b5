"""
Run a program in a replay, in a process that can reach nobody: ``driver.py DATABASE PROGRAM [argument ...]``.

The last conversation of DATABASE is given back. Prints what the program prints, ends as it ends, and says
on stderr, as the last line, ``replayed=…`` with how much was given back and what was never asked for.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from typing import Any


def _refuse(*what: Any, **_: Any) -> Any:
    raise AssertionError(f"a replay tried to reach somebody: {what!r:.200}")


def main() -> None:
    database, program, *arguments = sys.argv[1:]
    import agenttrace

    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _refuse)
    socket.getaddrinfo = _refuse  # type: ignore[assignment]
    subprocess.Popen.__init__ = _refuse  # type: ignore[assignment]
    sys.argv = [program, *arguments]
    sys.path.insert(0, os.path.dirname(program))
    with agenttrace.replay(
        "last", database=database, mode=os.environ.get("REPLAY_MODE", "strict")
    ) as playing:
        try:
            runpy.run_path(program, run_name="__main__")
        finally:
            sys.stdout.flush()
            told = {"replayed": playing.replayed, "ran": playing.ran, "unused": playing.unused()}
            print(
                json.dumps(
                    {**told, "notes": playing.notes, "refusals": [str(one) for one in playing.refusals]}
                ),
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
