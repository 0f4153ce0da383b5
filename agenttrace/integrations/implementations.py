"""
Every class that implements a method of an abstract one, the program's own too.

For libraries whose seam is a class that others derive from, as ``Model`` is in agent frameworks.
Nothing is hooked into the making of classes: those that came meanwhile are found by `look_again`.
Invariants: a method is replaced where it is defined, and once; after ``undo`` each class has the
function that it was defined with, unless somebody patched over us. Cost: about 0.2 µs a class at
each look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any
from weakref import WeakSet

from agenttrace.integrations.patching import Patch

__all__ = ["Implementations"]

_FORMER = "_agenttrace_former"
"""On a replacement: the function that stood there."""


class Implementations(Patch):
    """The methods of all classes derived from one; for ``Library`` a patch like any other."""

    def __init__(
        self, base: type, builders: Mapping[str, Callable[[Any], Any]], passing: tuple[type, ...] = ()
    ) -> None:
        """
        Describe what is replaced.

        Args:
            base: The abstract class.
            builders: Names of methods to what makes the replacement of a function.
            passing: Classes that, with those derived from them, only hand on to others.
        """
        self._base = base
        self._builders = builders
        self._passing = passing
        self._seen: WeakSet[type] = WeakSet()
        self._is_applied = False

    def apply(self) -> None:
        """Replace the methods of the classes that there are."""
        missing = [name for name in self._builders if not callable(getattr(self._base, name, None))]
        if missing:
            raise AttributeError(f"{self._base.__qualname__} has no {' and no '.join(missing)}")
        self._is_applied = True
        self.look_again()

    def look_again(self) -> None:
        """Replace the methods of classes that were made since."""
        if self._is_applied:
            for found in _classes_of(self._base):
                if found not in self._seen:
                    self._seen.add(found)
                    if not issubclass(found, self._passing):
                        self._replace_in(found)

    def undo(self) -> None:
        """Put the functions back, where ours still stand."""
        self._is_applied = False
        for found in list(self._seen):
            for name in self._builders:
                former = getattr(vars(found).get(name), _FORMER, None)
                if former is not None:
                    setattr(found, name, former)
        self._seen.clear()

    def _replace_in(self, found: type) -> None:
        for name, build in self._builders.items():
            function = vars(found).get(name)
            # A dataclass with slots is made twice of one body: the second has ours already.
            if type(function) is FunctionType and not hasattr(function, _FORMER):
                ours = build(function)
                setattr(ours, _FORMER, function)
                setattr(found, name, ours)


def _classes_of(base: type) -> Iterator[type]:
    """Give every class derived from *base*; one with two ways to it twice."""
    waiting: list[type] = type.__subclasses__(base)
    while waiting:
        found = waiting.pop()
        waiting.extend(type.__subclasses__(found))
        yield found
