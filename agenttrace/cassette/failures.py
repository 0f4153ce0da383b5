"""
Recorded exceptions, made again: the class, the message, the causes, the lines.

Invariants: ``str`` of what is made is the recorded message; a handler for the recorded class catches it
wherever that class can be found, and else the difference is told; the traceback below the tool shows the
recorded files and lines, by code objects that carry them and never run. Nothing here raises.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, TracebackType
from typing import Any

from agenttrace.capture.describe import build_error

__all__ = ["build_exception", "find_class"]

_FRAMES_LIMIT_COUNT = 100
_CAUSES_LIMIT_COUNT = 16
_CLASSES_LIMIT_COUNT = 20_000
_OS_ERROR = re.compile(r"\[Errno (\d+)\] (.*?)(?:: (['\"].*['\"]))?", re.DOTALL)
_LEAVES = re.compile(r" \(\d+ sub-exceptions?\)\Z")
_LITERAL = re.compile(r"[\[({'\"0-9-]")

_code = compile("def frame():\n    yield\n", "<recorded>", "exec").co_consts[0]
assert isinstance(_code, CodeType), "the function's code is a constant"


def build_exception(error: Mapping[str, Any], note: Callable[[str], object]) -> BaseException:
    """
    Make the exception that *error* describes, with its traceback and its causes.

    Args:
        error: ``{type, module, message, frames, cause, leaves, notes}``.
        note: Is told what could not be made as it was.
    """
    made = _build_one(error, note)
    inner, described = made, error
    for _ in range(_CAUSES_LIMIT_COUNT):
        cause = described.get("cause")
        if not isinstance(cause, Mapping):
            break
        # Whether it was raised from it or amid it is not recorded: both show it.
        inner.__cause__ = inner.__context__ = _build_one(cause, note)
        inner, described = inner.__cause__, cause
    return made


def _build_one(error: Mapping[str, Any], note: Callable[[str], object]) -> BaseException:
    name, module = str(error.get("type") or "Exception"), str(error.get("module") or "builtins")
    message = error.get("message")
    text = message if isinstance(message, str) else "" if message is None else repr(message)
    frames = [one for one in error.get("frames") or () if isinstance(one, dict)]
    cls = find_class(module, name, [str(one.get("file")) for one in frames])
    made: BaseException | None = None
    leaves = error.get("leaves")
    if isinstance(leaves, list):
        made = _build_group(cls, text, leaves, note)
    if made is None and cls is not None:
        made = _construct(cls, text)
    if made is None:
        made = _stand_in(cls, module, name, text, note)
    for line in error.get("notes") or ():
        if isinstance(line, str):
            made.add_note(line)
    return made.with_traceback(_build_traceback(frames))


def find_class(module: str, name: str, files: Iterable[str] = ()) -> type[BaseException] | None:
    """Find the exception class *name* of *module*; of a program's own also where it is imported now."""
    try:
        holder = sys.modules.get(module) or importlib.import_module(module)
    except Exception:  # whatever importing somebody's module raises: then it is not there
        holder = None
    candidates = [] if holder is None else [holder]
    if module == "__main__":
        wanted = set(files)
        candidates += [one for one in list(sys.modules.values()) if getattr(one, "__file__", None) in wanted]
    for one in candidates:
        found = getattr(one, name, None)
        if isinstance(found, type) and issubclass(found, BaseException) and found.__name__ == name:
            return found
    names = {getattr(one, "__name__", None) for one in candidates} | {module}
    return next((one for one in _iter_classes() if one.__name__ == name and one.__module__ in names), None)


def _iter_classes() -> Iterator[type[BaseException]]:
    """Give every exception class there is: some stand in functions or in other classes."""
    waiting: list[type[BaseException]] = [BaseException]
    seen = {BaseException}
    while waiting and len(seen) < _CLASSES_LIMIT_COUNT:
        one = waiting.pop()
        yield one
        for each in type.__subclasses__(one):
            if each not in seen and not getattr(each, "__agenttrace_stand_in__", False):
                seen.add(each)
                waiting.append(each)


def _construct(cls: type[BaseException], text: str) -> BaseException | None:
    """Make one of *cls* whose text is *text*, by its constructor or past it; None where neither does."""
    for arguments in _iter_arguments(cls, text):
        try:
            made = cls(*arguments)
            if type(made) is cls and _text_of(made) == text:
                return made
        except Exception:  # its constructor wants something else
            continue
    try:
        made = cls.__new__(cls, text)
        made.args = (text,)
        if type(made) is cls and _text_of(made) == text:
            return made
    except Exception:
        return None
    return None


def _iter_arguments(cls: type[BaseException], text: str) -> Iterator[tuple[Any, ...]]:
    if issubclass(cls, OSError) and (found := _OS_ERROR.fullmatch(text)) is not None:
        number, words, name = found.groups()
        yield (int(number), words) if name is None else (int(number), words, _literal(name))
    if _LITERAL.match(text):
        value = _literal(text)
        if type(value) is tuple:
            yield value
        if type(value) is list or text.startswith("["):
            listed = _json(text)
            if type(listed) is list:
                yield tuple(listed)  # arguments that are no plain values are recorded as a list
        if value is not None:
            yield (value,)
    yield (text,)
    if not text:
        yield ()


def _text_of(exc: BaseException) -> str:
    """Give the text that would be recorded of it."""
    return str(build_error(exc, is_brief=True)["message"])


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _build_group(
    cls: type[BaseException] | None, text: str, leaves: list[Any], note: Callable[[str], object]
) -> BaseException | None:
    inner = [_build_one(one, note) for one in leaves if isinstance(one, dict)]
    if not inner:
        return None
    message = _LEAVES.sub("", text)
    only_errors = all(isinstance(one, Exception) for one in inner)
    for kind in (cls, ExceptionGroup if only_errors else BaseExceptionGroup):
        try:
            if kind is not None and issubclass(kind, BaseExceptionGroup):
                return kind(message, inner)
        except Exception:  # a group class of somebody's own
            continue
    return None


def _stand_in(
    cls: type[BaseException] | None, module: str, name: str, text: str, note: Callable[[str], object]
) -> BaseException:
    """Make one of a class of the same name, below the recorded one or its nearest base that allows it."""
    bases: list[Any] = [Exception]
    if cls is not None:
        bases = [one for one in cls.__mro__ if issubclass(one, BaseException)]
    for base in bases:
        try:
            kind: Any = type(name, (base,), _members(module, text))
            made: BaseException = kind.__new__(kind)
            made.args = (text,)
            if str(made) != text:
                continue
        except Exception:  # a class that allows none below it
            continue
        if base is not cls:
            lacks = "cannot be imported" if cls is None else "cannot be made from its message"
            note(f"{module}.{name} {lacks}: a class of that name below {base.__name__} stands for it")
        return made
    return Exception(text)


def _members(module: str, text: str) -> dict[str, Any]:
    return {
        "__module__": module,
        "__agenttrace_stand_in__": True,
        "__init__": lambda self, *args, **kwargs: None,
        "__str__": lambda self: text,
    }


def _build_traceback(frames: list[dict[str, Any]]) -> TracebackType | None:
    """Chain traceback entries that show the recorded frames, the outermost first."""
    traceback: TracebackType | None = None
    for one in reversed(frames[-_FRAMES_LIMIT_COUNT:]):
        line, file = one.get("line"), one.get("file")
        if type(line) is not int or line < 1 or type(file) is not str:
            continue
        try:
            traceback = _add_frame(traceback, file, line, str(one.get("function") or "?"))
        except (ValueError, OverflowError, TypeError):
            continue
    return traceback


def _add_frame(inner: TracebackType | None, file: str, line: int, function: str) -> TracebackType:
    name = function.rpartition(".")[2] or function
    code = _code.replace(co_filename=file, co_firstlineno=line, co_name=name, co_qualname=function)
    # A generator that never runs has a frame; nothing need be raised for it.
    made = FunctionType(code, _globals_of(file))()
    return TracebackType(inner, made.gi_frame, made.gi_frame.f_lasti, line)


def _globals_of(file: str) -> dict[str, Any]:
    """Give the names of the module that a file is, for debuggers to look into."""
    for one in list(sys.modules.values()):
        if getattr(one, "__file__", None) == file:
            return vars(one)
    return {"__name__": "recorded", "__file__": file}
