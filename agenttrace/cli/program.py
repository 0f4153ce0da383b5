"""
Run somebody's program as ``python`` itself would, with tracing switched on.

Invariant: the program sees the ``__main__``, ``sys.argv``, ``sys.path[0]`` and
tracebacks that it would see without us, and the process ends as it would: exit
code, message and signal are left to the interpreter. What we add is said once,
on stderr, after the program's own exit handlers.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
import zipfile
from collections.abc import Callable
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple

from agenttrace.errors import AgentTraceError, contained

__all__ = ["Program", "ProgramMissing", "Rerun", "load_program", "run_program"]


class Program(NamedTuple):
    """What is to be run."""

    target: str
    """Path of a script, folder or zip file; or the dotted name of a module."""
    is_module: bool
    arguments: tuple[str, ...]
    database: str | None
    """Where to record; None is wherever agenttrace is set up to."""
    patterns: tuple[str, ...] = ()
    """Functions that are traced by their names."""


class Rerun(NamedTuple):
    """What is to be run again, with what was recorded given back."""

    program: Program
    folder: str
    """Where it ran."""
    conversation_id: str
    others: tuple[str, ...]
    """The other conversations that the program had in that run."""
    database: str
    db_option: str
    """What a printed command has to end with to read the same database."""
    mode: str
    to_run: tuple[str, ...]
    """Tools that run themselves."""
    is_recorded: bool
    """The replay is a run of its own in the database."""
    debug: bool
    cause: Any
    """The finding that a debugger stops at; None for none."""


class ProgramMissing(AgentTraceError):
    """Say that there is no such script or module, with Python's own exit code for that."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _Main(NamedTuple):
    code: CodeType
    file: str | None
    loader: object
    spec: importlib.machinery.ModuleSpec | None
    package: str | None
    cached: str | None
    argv0: str
    path0: str
    source: bytes | None = None
    """Of a script; others have a loader that gives it."""


def run_program(
    program: Program, *, report: Callable[[], None], at_exit: Callable[[Callable[[], None]], object]
) -> None:
    """
    Run *program* in this process as ``__main__``.

    Args:
        program: What to run. Tracing must be switched on already.
        report: Called once at exit, in this process only, after the program's own exit handlers.
        at_exit: Has a function called when all has been stored.

    Raises:
        ProgramMissing: There is nothing to run; nothing was changed.
        BaseException: Whatever the program raises, for the interpreter to deal with; its hook
            is made to show the program's frames alone.
    """
    own_pid = os.getpid()
    interrupted = False

    def report_here() -> None:
        if os.getpid() == own_pid:
            report()
            if interrupted:
                _keep_interrupt()

    try:
        main = _trace_named(load_program(program))
        at_exit(report_here)
        module = _install_main(main, program)
        exec(main.code, module.__dict__)
    except (SystemExit, ProgramMissing):
        raise
    except BaseException as exc:
        interrupted = isinstance(exc, KeyboardInterrupt)
        _hide_own_frames(exc)
        raise


def load_program(program: Program) -> _Main:
    """
    Find and compile the program, and set ``sys.path[0]`` as Python would.

    Raises:
        ProgramMissing: No such script or module.
        Exception: What compiling it, or importing its parent package, raises.
    """
    if program.is_module:
        return _load_module(program.target)
    path = program.target
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        return _load_container(path)
    return _load_script(path)


def _trace_named(main: _Main) -> _Main:
    """Compile the program anew where functions of its own are to be traced by their names."""
    by_name = sys.modules.get("agenttrace.integrations.by_name")
    if by_name is None or main.file is None:
        return main
    code = None
    with contained("cli.trace"):
        source = main.source
        if source is None and main.spec is not None:
            get_source = getattr(main.loader, "get_source", None)
            source = None if get_source is None else get_source(main.spec.name)
        code = None if source is None else by_name.recompile(source, main.code.co_filename, "__main__")
    return main if code is None else main._replace(code=code)


def _load_script(path: str) -> _Main:
    absolute = os.path.join(os.getcwd(), path)  # not normalised: Python keeps ./ as well
    try:
        with io.open_code(absolute) as file:
            source = file.read()
    except OSError as exc:
        message = f"can't open file {absolute!r}: [Errno {exc.errno}] {exc.strerror}"
        raise ProgramMissing(message, 2) from exc
    folder = os.path.dirname(os.path.realpath(path))
    _set_first_path(folder)
    if absolute.endswith(".pyc"):
        loader: importlib.machinery.SourcelessFileLoader | importlib.machinery.SourceFileLoader
        loader = importlib.machinery.SourcelessFileLoader("__main__", absolute)
        code = loader.get_code("__main__")
        assert code is not None
    else:
        loader = importlib.machinery.SourceFileLoader("__main__", absolute)
        code = compile(source, absolute, "exec", dont_inherit=True)
        return _Main(code, absolute, loader, None, None, None, path, folder, source)
    return _Main(code, absolute, loader, None, None, None, path, folder)


def _load_container(path: str) -> _Main:
    absolute = os.path.join(os.getcwd(), path)
    _set_first_path(absolute)
    spec = importlib.machinery.PathFinder.find_spec("__main__", [absolute])
    code = _code_of(spec)
    if spec is None or code is None:
        raise ProgramMissing(f"can't find '__main__' module in {absolute!r}", 1)
    return _Main(code, spec.origin, spec.loader, spec, spec.parent, spec.cached, path, absolute)


def _load_module(name: str) -> _Main:
    folder = os.getcwd()
    sys.argv[0] = "-m"
    _set_first_path(folder)
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
            if spec is None:
                reason = f"{name!r} is a package and cannot be directly executed"
                raise ProgramMissing(f"No module named {name}.__main__; {reason}", 1)
    except (ModuleNotFoundError, ValueError) as exc:
        if isinstance(exc, ModuleNotFoundError) and not name.startswith(exc.name or ""):
            raise  # the parent package itself imports something that is not there
        raise ProgramMissing(f"No module named {name}", 1) from exc
    if spec is None:
        raise ProgramMissing(f"No module named {name}", 1)
    code = _code_of(spec)
    if code is None:
        raise ProgramMissing(f"No code object available for {spec.name}", 1)
    return _Main(code, spec.origin, spec.loader, spec, spec.parent, spec.cached, spec.origin or name, folder)


def _code_of(spec: importlib.machinery.ModuleSpec | None) -> CodeType | None:
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    if spec is None or get_code is None:
        return None
    code = get_code(spec.name)
    return code if isinstance(code, CodeType) else None


def _set_first_path(folder: str) -> None:
    """Put *folder* where Python puts it; with ``-P`` or PYTHONSAFEPATH it goes nowhere."""
    if sys.flags.safe_path:
        return
    if sys.path:
        sys.path[0] = folder
    else:
        sys.path.append(folder)


def _install_main(main: _Main, program: Program) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(
        __file__=main.file,
        __loader__=main.loader,
        __spec__=main.spec,
        __package__=main.package,
        __builtins__=builtins,
        __cached__=main.cached,
    )
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    sys.modules["__main__"] = module
    sys.argv[:] = [main.argv0, *program.arguments]
    return module


def _hide_own_frames(exc: BaseException) -> None:
    """Let the interpreter's hook, whichever the program chose, see the traceback without our frames."""
    theirs = exc.__traceback__
    while theirs is not None and _is_own(theirs):
        theirs = theirs.tb_next
    chosen = sys.excepthook

    def hook(exc_type: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is exc:
            traceback = theirs
            value = value.with_traceback(theirs)
        chosen(exc_type, value, traceback)

    sys.excepthook = hook


def _keep_interrupt() -> None:
    """
    Let the process still end by SIGINT.

    The interpreter notes an unhandled KeyboardInterrupt in a flag that any later ``exec`` of text
    clears, and imports do that (dataclasses, named tuples). Raising one in such an exec sets it.
    """
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return


def _is_own(traceback: TracebackType) -> bool:
    file = traceback.tb_frame.f_code.co_filename
    return file == __file__ or file.startswith("<frozen importlib")
