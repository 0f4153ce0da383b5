"""
Which functions are meant by ``mypkg.tools:search_*``.

Invariant: a pattern remembers whether anything fitted it, so that a slip of the pen is said and not
silently nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase

from agenttrace.errors import ConfigError

__all__ = ["Pattern", "parse_patterns"]

_MODULE = re.compile(r"[\w.*?\[\]!-]+")
_OURS = frozenset({"agenttrace", "wrapt", "orjson", "peewee", "playhouse"})
"""What records cannot be recorded by it."""
_NAMES_SHOWN = 8


class Pattern:
    """One ``module:name``, each part with ``* ? [abc]`` as in a shell."""

    def __init__(self, module: str, name: str) -> None:
        """
        Take the two parts.

        Args:
            module: Fits whole dotted names; ``*`` fits dots too. ``__main__`` is the program itself.
            name: ``function``, or ``Class.method``; ``*`` fits no dot, nor names that begin with ``_``.
        """
        self.module = module
        self._names = name.split(".")
        self._is_meant_widely = any(sign in module.partition(".")[0] for sign in "*?[")
        self.count = 0
        """How many functions fitted."""
        self._modules: list[str] = []
        self._others: list[str] = []

    def __str__(self) -> str:
        return f"{self.module}:{'.'.join(self._names)}"

    def fits_module(self, name: str) -> bool:
        """Tell whether a module is meant; the standard library only where it is named."""
        top = name.partition(".")[0]
        if top in _OURS or (self._is_meant_widely and top in sys.stdlib_module_names):
            return False
        return fnmatchcase(name, self.module)

    def note_module(self, name: str) -> None:
        """Remember that a module that is meant was imported."""
        self._modules.append(name)

    def fits_name(self, qualified_name: str) -> bool:
        """Tell whether a function of such a module is meant, and count it."""
        parts = qualified_name.split(".")
        if len(parts) == len(self._names) and all(map(_fits_part, parts, self._names)):
            self.count += 1
            return True
        if len(self._others) < _NAMES_SHOWN and not parts[-1].startswith("_"):
            self._others.append(qualified_name)
        return False

    def explain(self) -> str:
        """Say why nothing fitted."""
        if not self._modules:
            return f"{self}: no module {self.module} was imported"
        where = self._modules[0] if len(self._modules) == 1 else f"{len(self._modules)} modules"
        there = f"there are {', '.join(self._others)}" if self._others else "it defines none"
        return f"{self}: no such function in {where}; {there}"


def _fits_part(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) and (name[0] != "_" or glob[0] == "_")


def parse_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """
    Read patterns.

    Raises:
        ConfigError: One is no ``module:name``; the message says what is missing.
    """
    found = []
    for text in texts:
        module, separator, name = text.strip().partition(":")
        parts = name.split(".")
        if not separator or not _MODULE.fullmatch(module) or not all(map(_MODULE.fullmatch, parts)):
            raise ConfigError(
                f"trace {text!r:.100}: give module:function, such as 'mypkg.tools:*', 'mypkg.*:search_*',"
                " 'mypkg.tools:Client.fetch' or '__main__:*'."
            )
        if "" in module.split("."):
            raise ConfigError(f"trace {text!r:.100}: {module!r:.60} is no dotted name of a module.")
        found.append(Pattern(module, name))
    return tuple(found)
