"""
Functions traced by their names, as if each were decorated with ``traced_tool``.

A module that is meant is compiled from its source with the decorator above each function that fits;
so a table of tools that the module makes of its functions holds the traced ones, as does
``from module import function``. Invariants: nothing is written to a bytecode cache, no name is added
to a module, and lines stay where they are; what cannot be decorated (a property, say) stays as it
is; where anything goes wrong, the module is what it would be without us. Cost: modules that are not
meant cost their import one look at each pattern.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from agenttrace.capture.decorator import traced_tool, tracer_of
from agenttrace.errors import contained
from agenttrace.integrations.patterns import Pattern, parse_patterns

__all__ = ["follow", "recompile", "stop", "trace_named", "unfitted"]

_DECORATORS = ("traced_tool", "traced_agent")


class _Finder:
    """Stands first among the finders, and lets the others find."""

    def __init__(self) -> None:
        self.patterns: tuple[Pattern, ...] = ()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give what the others find, with its loader told to compile anew; None for what is not meant."""
        meant = _meant(name)
        if not meant:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                with contained("integrations.by_name"):
                    _equip(spec.loader)
                return spec
        return None


_FINDER = _Finder()


def follow(texts: Iterable[str]) -> None:
    """
    Trace the functions that are meant from now on; a second call replaces the first.

    Args:
        texts: Patterns ``module:name``. Modules that are imported already keep what they have.

    Raises:
        ConfigError: One is no pattern.
    """
    wanted = list(texts)
    if wanted == [str(pattern) for pattern in _FINDER.patterns]:
        return
    _FINDER.patterns = parse_patterns(wanted)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def stop() -> None:
    """Trace no more functions by their names; those that are traced stay so."""
    _FINDER.patterns = ()
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)


def unfitted() -> list[str]:
    """Say of each pattern that nothing has fitted why; [] when all have found something."""
    return [pattern.explain() for pattern in _FINDER.patterns if not pattern.count]


def trace_named(value: Any) -> Any:
    """Decorate what a ``def`` and its own decorators gave; what cannot be decorated comes back as it is."""
    try:
        return value if tracer_of(value) is not None else traced_tool(value)
    except Exception:  # a property, or whatever else a decorator has made of a function
        return value


def recompile(source: str | bytes, path: str, module_name: str) -> CodeType | None:
    """
    Compile a module's source with the decorator above the functions that are meant.

    Returns:
        None where none is, or where it cannot be done; the plain code is right then.
    """
    meant = _meant(module_name)
    if not meant:
        return None
    for pattern in meant:
        pattern.note_module(module_name)
    try:
        tree = ast.parse(source, path)
        if not _decorate(tree, "", meant):
            return None
        code = compile(tree, path, "exec", dont_inherit=True)
    except Exception:  # a syntax error, say: whoever compiles it without us tells of it
        return None
    assert isinstance(code, CodeType), "a module's tree gives a module's code"
    return code


def _meant(module_name: str) -> list[Pattern]:
    return [pattern for pattern in _FINDER.patterns if pattern.fits_module(module_name)]


def _equip(loader: Any) -> None:
    """Let a loader that can give a module's source compile it with our decorators."""
    if hasattr(loader, "get_source") and hasattr(loader, "get_filename"):
        plain = type(loader).get_code
        loader.get_code = partial(_get_code, loader, plain)


def _get_code(loader: Any, plain: Any, module_name: str) -> Any:
    """Stand in for the loader's ``get_code``; imports call it once a module."""
    code = None
    with contained("integrations.by_name"):
        source = loader.get_source(module_name)
        if source is not None:
            code = recompile(source, loader.get_filename(module_name), module_name)
    return plain(loader, module_name) if code is None else code


# ------------------------------------------------------------------ the tree


def _decorate(node: ast.AST, prefix: str, patterns: list[Pattern]) -> int:
    """Decorate the functions in a module or class that are meant; gives how many those are."""
    count = 0
    for inner in _iter_definitions(node):
        name = prefix + inner.name
        if isinstance(inner, ast.ClassDef):
            count += _decorate(inner, f"{name}.", patterns)
            continue
        fitting = [pattern for pattern in patterns if pattern.fits_name(name)]
        if fitting:
            count += 1
            if not any(map(_is_ours, inner.decorator_list)):
                inner.decorator_list.insert(0, _build_decorator(inner))
    return count


def _iter_definitions(
    node: ast.AST,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Give the functions and classes of a module or class, also those under an ``if`` or ``try``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield child
        elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from _iter_definitions(child)


def _is_ours(decorator: ast.expr) -> bool:
    """Tell whether a function is decorated by hand already."""
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
    return name in _DECORATORS


def _build_decorator(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr:
    """Build ``__import__(…).trace_named``: the module gets no name for it."""
    place = function.decorator_list[0] if function.decorator_list else function
    text = f"__import__({__name__!r}, fromlist=('trace_named',)).trace_named"
    decorator = ast.parse(text, mode="eval").body
    for part in ast.walk(decorator):
        if isinstance(part, ast.expr):
            part.lineno = part.end_lineno = place.lineno
            part.col_offset = part.end_col_offset = place.col_offset
    return decorator
