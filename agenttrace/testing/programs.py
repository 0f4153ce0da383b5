"""
Run somebody's program inside a test, as ``python program.py`` would.

Invariants: the program sees itself as ``__main__``, its own arguments, its folder first on the path, and
the folder that it was started in; when it has ended, all of these are as before, and the modules of its
own folder that it brought in are forgotten, so that the next program begins afresh.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["run_program"]


def run_program(
    program: str | os.PathLike[str], *arguments: str, folder: str | os.PathLike[str] | None = None
) -> None:
    """
    Run a program to its end.

    Args:
        program: Path of a script, from the test's own folder or absolute; or ``-m`` and, as the first
            of the arguments, the name of a module.
        arguments: What it is given on its command line.
        folder: The working directory; where the test runs, unless given.

    Raises:
        AssertionError: It ended with an exit code that is not 0.
        BaseException: What the program raised.
    """
    __tracebackhide__ = True
    is_module = os.fspath(program) == "-m"
    name = arguments[0] if is_module else Path(program).name
    with _as_main(program, arguments, folder, is_module):
        try:
            if is_module:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(os.path.abspath(program), run_name="__main__")
        except SystemExit as exc:
            if exc.code not in (None, 0):
                raise AssertionError(f"{name} ended with exit code {exc.code}") from exc


@contextmanager
def _as_main(
    program: str | os.PathLike[str],
    arguments: tuple[str, ...],
    folder: str | os.PathLike[str] | None,
    is_module: bool,
) -> Iterator[None]:
    argv, path, cwd, main = sys.argv[:], sys.path[:], os.getcwd(), sys.modules.get("__main__")
    known = set(sys.modules)
    absolute = os.path.abspath(program)
    try:
        if folder is not None:
            os.chdir(folder)
        own = os.getcwd() if is_module else os.path.dirname(absolute)
        sys.path.insert(0, own)
        sys.argv[:] = ["-m", *arguments[1:]] if is_module else [absolute, *arguments]
        try:
            yield
        finally:
            _forget(known, os.path.join(os.path.realpath(own), ""))
    finally:
        sys.argv[:], sys.path[:] = argv, path
        os.chdir(cwd)
        if main is not None:
            sys.modules["__main__"] = main


def _forget(known: set[str], folder: str) -> None:
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file and os.path.realpath(file).startswith(folder) and "site-packages" not in file:
            del sys.modules[name]
