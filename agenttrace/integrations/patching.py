"""
Replace what other libraries have, when they are imported, and put exactly that back.

Owns the door to import hooks, and what is said of a library that cannot be followed.
Invariants: after ``undo`` the owner's own ``__dict__`` is as before, unless somebody
patched over us (then ours stays in between and does nothing); a library that has changed
loses what does not fit and nothing more, and neither its import nor the program fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import wrapt

from agenttrace.errors import contained, count_loss

__all__ = ["Library", "Patch", "awaited", "count_patches", "note_problem", "problems", "when_imported"]

_MISSING = object()

_problems: dict[str, list[str]] = {}
_libraries: list[Library] = []
"""Those that are installed."""


def note_problem(name: str, text: str) -> None:
    """
    Keep that the integration *name* cannot do something, for ``doctor`` to say; count and log it once.

    Args:
        name: As in ``INTEGRATIONS``.
        text: What is missing, and where: ``tenacity 4.1 has no BaseRetrying.iter``.
    """
    known = _problems.setdefault(name, [])
    if text not in known:
        known.append(text)
        count_loss(f"integrations.{name}")
        logging.getLogger("agenttrace").warning("install(%r): %s; the program is not affected", name, text)


def problems() -> dict[str, tuple[str, ...]]:
    """Give what integrations could not do in this process, by their names; {} when all is well."""
    return {name: tuple(texts) for name, texts in _problems.items() if texts}


def awaited(name: str) -> tuple[str, ...]:
    """Give the modules in which the integration *name* would replace something; () where it is another's."""
    return tuple(module for library in _libraries if library.name == name for module in library.modules)


def count_patches(name: str) -> int:
    """Count what the integration *name* has replaced by now."""
    return sum(library.patches_count for library in _libraries if library.name == name)


def when_imported(module_name: str, call: Callable[[ModuleType], object]) -> Callable[[], None]:
    """
    Call with the module *module_name*: at once if it is imported, else when it will be.

    Args:
        module_name: Absolute; it need not exist.
        call: What it raises is contained: the import goes on.

    Returns:
        A function that takes the wish back; after that *call* is not called any more.
    """
    wishes = [call]

    def on_import(module: ModuleType) -> None:
        for wish in tuple(wishes):
            with contained(f"integrations.{module_name}"):
                wish(module)

    wrapt.register_post_import_hook(on_import, module_name)
    return wishes.clear


class Patch:
    """One replaced attribute."""

    def __init__(self, owner: Any, name: str, build: Callable[[Any], Any]) -> None:
        """
        Describe a replacement.

        Args:
            owner: A class or module.
            name: The attribute.
            build: Makes the replacement from the former value.
        """
        self._owner = owner
        self._name = name
        self._build = build
        self._former: Any = _MISSING
        self._own: Any = _MISSING
        """What stood in the owner's own ``__dict__``; missing where the value is inherited."""
        self._ours: Any = None

    def apply(self) -> None:
        """Put the replacement in place; a second time does nothing."""
        if self._former is _MISSING:
            former = getattr(self._owner, self._name)
            self._own = vars(self._owner).get(self._name, _MISSING)
            self._ours = self._build(former)
            setattr(self._owner, self._name, self._ours)
            self._former = former

    def undo(self) -> None:
        """Put the former value back, where ours still stands."""
        if self._former is _MISSING:
            return
        if vars(self._owner).get(self._name, _MISSING) is self._ours:
            if self._own is _MISSING:
                delattr(self._owner, self._name)
            else:
                setattr(self._owner, self._name, self._own)
        self._former = self._own = _MISSING


class Library:
    """All patches of one library, made when its modules are imported."""

    def __init__(self, name: str, modules: Mapping[str, Callable[[ModuleType], Iterable[Patch]]]) -> None:
        """
        Describe what is replaced.

        Args:
            name: Of the integration, as in ``INTEGRATIONS``.
            modules: Module names to what lists the patches of each; called with the module.
        """
        self.name = name
        self.modules = modules
        self._cancel: list[Callable[[], None]] = []
        self._patches: list[Patch] = []

    @property
    def patches_count(self) -> int:
        """How many patches are in place."""
        return len(self._patches)

    def install(self) -> None:
        """Patch what is imported, and what will be."""
        if not self._cancel:
            _libraries.append(self)
            for module_name, describe in self.modules.items():
                self._cancel.append(when_imported(module_name, self._applier(describe)))

    def uninstall(self) -> None:
        """Put back what stood there, and wait for no import any more."""
        for cancel in self._cancel:
            cancel()
        self._cancel.clear()
        if self in _libraries:
            _libraries.remove(self)
        while self._patches:
            self._patches.pop().undo()

    def _applier(self, describe: Callable[[ModuleType], Iterable[Patch]]) -> Callable[[ModuleType], None]:
        def apply_all(module: ModuleType) -> None:
            try:
                for patch in describe(module):
                    self._apply(patch, module)
            except Exception as exc:
                self._note(module, exc)

        return apply_all

    def _apply(self, patch: Patch, module: ModuleType) -> None:
        try:
            patch.apply()
        except Exception as exc:
            self._note(module, exc)
        else:
            self._patches.append(patch)

    def _note(self, module: ModuleType, exc: Exception) -> None:
        note_problem(self.name, f"{_describe_version(module)} cannot be followed in full: {exc}")


def _describe_version(module: ModuleType) -> str:
    """Give a module with its distribution's version, where that is known by the same name."""
    from importlib.metadata import PackageNotFoundError, version  # late: only a message needs it

    try:
        return f"{module.__name__} ({version(module.__name__.partition('.')[0])})"
    except PackageNotFoundError:
        return module.__name__
