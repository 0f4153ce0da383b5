"""
A framework followed part by part: what one part has lost takes no other part with it.

Invariant: a module of that name which is not the framework (a program's own ``agents``, say) is
left alone and nothing is said of it.
"""

from __future__ import annotations

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
        # Late: 5 ms, for programs that have such a module.
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version(distribution)
        except PackageNotFoundError:
            return
        for part in parts:
            try:
                patches = list(part())
            except Exception as exc:
                note_problem(name, f"{distribution} {found} cannot be followed in full: {exc}")
            else:
                yield from patches

    return describe
