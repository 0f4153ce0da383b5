"""
Which clause catches: read a code object's bytecode where an exception was handled.

The interpreter says at which instruction a handler begins. Some of these only tidy up and
raise again; a ``try`` with several clauses begins at the first, whichever one matches.

Invariant: nothing of the program runs here. A clause whose type cannot be known without
that (``except self.errors:``) counts as one that may match. Cost: one disassembly per code
object that handles something worth keeping, then a dict look-up.
"""

from __future__ import annotations

import dis
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

__all__ = ["Clause", "Handler", "Handlers", "line_that_catches", "read_handlers"]

_CODES_LIMIT_COUNT = 4_000
_UNKNOWN: Any = object()
_PURE = frozenset(
    "LOAD_GLOBAL LOAD_NAME LOAD_ATTR LOAD_FAST LOAD_FAST_CHECK LOAD_DEREF LOAD_CONST BUILD_TUPLE "
    "LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW LOAD_CLASSDEREF LOAD_FROM_DICT_OR_GLOBALS LOAD_FROM_DICT_OR_DEREF "
    "LOAD_CLOSURE PUSH_NULL CALL KW_NAMES CALL_KW CALL_FUNCTION_EX BINARY_SUBSCR BINARY_OP LIST_EXTEND "
    "BUILD_LIST CALL_INTRINSIC_1 LOAD_METHOD LOAD_SMALL_INT NOP EXTENDED_ARG COPY CACHE PRECALL".split()
)
"""Instructions that may compute the type of a clause."""


class Clause(NamedTuple):
    """One ``except`` of a ``try``."""

    line: int
    types: tuple[dis.Instruction, ...]
    """The instructions that give its type or types."""


class Handler(NamedTuple):
    """What begins at one instruction."""

    line: int
    """Where there are no clauses: of the ``with``, the bare ``except``, or the first line in ``finally``."""
    clauses: tuple[Clause, ...]
    is_group: bool
    """The clauses are ``except*``: each leaf has its own."""
    is_sure: bool
    """It is an ``except``, and not a ``with`` or ``finally``."""


class Handlers:
    """The handlers of all code objects that were asked for."""

    def __init__(self) -> None:
        # By id, and with the code object kept: hashing one walks through its whole bytecode.
        self._codes: dict[int, tuple[CodeType, dict[int, Handler | None]]] = {}

    def at(self, code: CodeType, offset: int) -> Handler | None:
        """Give the handler that begins at *offset*; None for one that only passes the exception on."""
        known = self._codes.get(id(code))
        if known is None:
            if len(self._codes) >= _CODES_LIMIT_COUNT:
                self._codes.clear()
            known = self._codes[id(code)] = (code, read_handlers(code))
        return known[1].get(offset)


def read_handlers(code: CodeType) -> dict[int, Handler | None]:
    """Give all handlers of *code* by the offset at which they begin."""
    instructions = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "EXTENDED_ARG")]
    at = {one.offset: number for number, one in enumerate(instructions)}
    lines = _lines_of(code)
    return {
        one.offset: _read_handler(instructions, number, at, lines, code.co_firstlineno)
        for number, one in enumerate(instructions)
        if one.opname == "PUSH_EXC_INFO"
    }


def _lines_of(code: CodeType) -> dict[int, int]:
    return {
        offset: line
        for start, end, line in code.co_lines()
        if line is not None
        for offset in range(start, end, 2)
    }


def _read_handler(
    instructions: list[dis.Instruction], number: int, at: dict[int, int], lines: dict[int, int], default: int
) -> Handler | None:
    following = instructions[number + 1 :]
    if not following or following[0].opname == "RERAISE":
        return None
    line = next((lines[one.offset] for one in following if one.offset in lines), default)
    if following[0].opname == "WITH_EXCEPT_START":
        return Handler(line, (), False, False)
    is_group = [one.opname for one in following[:2]] == ["BUILD_LIST", "COPY"]
    start = number + (3 if is_group else 1)
    clauses: list[Clause] = []
    while True:
        clause, start = _read_clause(instructions, start, at, lines, is_group)
        if clause is None:
            break
        clauses.append(clause)
    if clauses:
        return Handler(clauses[0].line, tuple(clauses), is_group, True)
    # POP_TOP at once: the exception is thrown away, by a bare `except` (or a `finally` that leaves).
    return Handler(line, (), False, False)


def _read_clause(
    instructions: list[dis.Instruction], start: int, at: dict[int, int], lines: dict[int, int], is_group: bool
) -> tuple[Clause | None, int]:
    """Read the clause that begins at *start*; gives it, and where the next one would begin."""
    match = "CHECK_EG_MATCH" if is_group else "CHECK_EXC_MATCH"
    number = start
    while number < len(instructions) and instructions[number].opname in _PURE:
        number += 1
    if number >= len(instructions) or instructions[number].opname != match:
        return None, start
    types = tuple(instructions[start:number])
    jump = next((n for n in range(number + 1, number + 6) if "JUMP_IF" in instructions[n].opname), None)
    if jump is None:
        return None, start
    first = min(lines.get(one.offset, 1 << 30) for one in (*types, instructions[number], instructions[jump]))
    target = at.get(instructions[jump].argval, len(instructions))
    if is_group and target < len(instructions) and instructions[target].opname == "POP_TOP":
        target += 1
    return Clause(first, types), target


def line_that_catches(handler: Handler, exc: BaseException, frame: FrameType) -> int | None:
    """Give the line of the clause of *handler* that takes *exc*; None when none does."""
    if not handler.clauses:
        return handler.line
    possible: int | None = None
    bases = type(exc).__mro__
    for clause in handler.clauses:
        types = _evaluate(clause.types, frame)
        if types is _UNKNOWN:
            if possible is None:
                possible = clause.line
        elif _takes(types, bases):
            return clause.line
    return possible


def _takes(types: Any, bases: tuple[type, ...]) -> bool:
    if isinstance(types, tuple):
        return any(_takes(one, bases) for one in types)
    return any(types is base for base in bases)


def _evaluate(instructions: tuple[dis.Instruction, ...], frame: FrameType) -> Any:
    """Compute the type of a clause from names and attributes of modules and classes; else unknown."""
    stack: list[Any] = []
    for one in instructions:
        name = one.opname
        if name in ("LOAD_GLOBAL", "LOAD_NAME"):
            stack.append(_look_up(str(one.argval), frame))
        elif name == "LOAD_ATTR" and stack:
            stack.append(_attribute(stack.pop(), str(one.argval)))
        elif name == "BUILD_TUPLE" and len(stack) >= (one.arg or 0):
            count = one.arg or 0
            items = tuple(stack[len(stack) - count :])
            del stack[len(stack) - count :]
            stack.append(_UNKNOWN if any(item is _UNKNOWN for item in items) else items)
        elif name != "NOP":
            return _UNKNOWN
    return stack[0] if len(stack) == 1 else _UNKNOWN


def _look_up(name: str, frame: FrameType) -> Any:
    for names in (frame.f_globals, frame.f_builtins):
        if type(names) is dict and name in names:
            return names[name]
    return _UNKNOWN


def _attribute(owner: Any, name: str) -> Any:
    if type(owner) is ModuleType:
        return owner.__dict__.get(name, _UNKNOWN)
    if type(owner) is type:
        for base in owner.__mro__:
            if name in base.__dict__:
                found = base.__dict__[name]
                return found if isinstance(found, type) else _UNKNOWN
    return _UNKNOWN
