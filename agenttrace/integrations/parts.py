"""
A framework followed part by part: what one part has lost takes no other part with it.

Invariant: a module of that name which is not the framework (a program's own ``agents``, say) is
left alone and nothing is said of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

from agenttrace.integrations.patching import Patch, note_problem

__all__ = ["describe_parts"]


def describe_parts(
    name: str, distribution: str, parts: Iterable[Callable[[], Iterable[Patch]]]
) -> Callable[[ModuleType], Iterator[Patch]]:
    """
    Make what lists the patches of a framework, for ``Library``.

    Args:
        name: Of the integration, as in ``INTEGRATIONS``.
        distribution: What the framework is installed as; without it, there is nothing to follow.
        parts: Each lists its patches, and may fail where the framework has changed.
    """

    def describe(module: ModuleType) -> Iterator[Patch]:
        found = _version_of(module, distribution)
        if found is None:
            return

        def lacks(exc: Exception) -> None:
            note_problem(name, f"{distribution} {found} cannot be followed in full: {exc}")

        for part in parts:
            try:
                for patch in part():
                    try:
                        patch.apply()  # here, where the version is known; a second time does nothing
                    except Exception as exc:
                        lacks(exc)
                    else:
                        yield patch
            except Exception as exc:
                lacks(exc)

    return describe


def _version_of(module: ModuleType, distribution: str) -> str | None:
    """Give the version of *distribution*, if *module* is of it; None for another one of that name."""
    # Late: 5 ms, for programs that have such a module.
    from importlib import metadata

    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    own = os.path.realpath(str(found.locate_file(f"{module.__name__}/__init__.py")))
    file = getattr(module, "__file__", None)
    if os.path.exists(own) and (file is None or os.path.realpath(file) != own):
        return None
    return str(found.version)
