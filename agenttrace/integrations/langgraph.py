"""
Follow LangGraph 1.x, and the models and tools of langchain-core that it stands on.

Graphs, nodes and subgraphs are agents, chat models turns, tools calls; the modules beside this one
say how. Owns which attributes are replaced. Invariant: what a version lacks is noted for ``doctor``
and costs no more than what stood there; with tracing off, graphs and models are called directly.
Cost: a program without LangChain loads this file alone; the others took it 10 ms.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from types import ModuleType

from agenttrace.capture.failures import SIGNALS
from agenttrace.integrations.patching import Library, Patch, note_problem

__all__ = ["install", "uninstall"]


def _part(name: str, function: str) -> Callable[[ModuleType], Iterable[Patch]]:
    """Give the *function* of the module *name* beside this one, loaded once it is called."""

    def describe(module: ModuleType) -> Iterable[Patch]:
        found: Iterable[Patch] = getattr(importlib.import_module(f"{__package__}.{name}"), function)(module)
        return found

    return describe


def _describe_graphs(module: ModuleType) -> Iterable[Patch]:
    """List the patches of ``langgraph.pregel``, which every version has."""
    from agenttrace.integrations.langgraph_runs import GraphRun  # late, as the module says
    from agenttrace.integrations.langgraph_streams import trace_stream

    graph = module.Pregel
    yield Patch(graph, "stream", lambda stream: trace_stream(stream, GraphRun))
    yield Patch(graph, "astream", lambda stream: trace_stream(stream, GraphRun))
    if find_spec("langgraph.pregel._runner") is None:
        note_problem("langgraph", f"langgraph {_version()} runs its nodes elsewhere: they are no agents")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # late: only a message needs it

    try:
        return version("langgraph")
    except PackageNotFoundError:
        return "of no known version"


class _Signal(Patch):
    """An exception that is no error while LangGraph is followed; nothing is replaced."""

    def __init__(self, kind: type[Exception]) -> None:
        self._kind = kind

    def apply(self) -> None:
        """Know it."""
        SIGNALS.add(self._kind)

    def undo(self) -> None:
        """Take it for an error again."""
        SIGNALS.discard(self._kind)


def _describe_errors(module: ModuleType) -> Iterable[Patch]:
    """Know what LangGraph raises to steer a graph."""
    yield _Signal(module.GraphBubbleUp)


_LIBRARY = Library(
    "langgraph",
    {
        "langchain_core.language_models.chat_models": _part("langgraph_models", "describe_models"),
        "langchain_core.callbacks.manager": _part("langgraph_tokens", "describe_callbacks"),
        "langchain_core.tools.base": _part("langgraph_tools", "describe_tools"),
        "langgraph.errors": _describe_errors,
        "langgraph.pregel": _describe_graphs,
        "langgraph.pregel._runner": _part("langgraph_nodes", "describe_runner"),
        "langgraph.prebuilt.tool_node": _part("langgraph_tools", "describe_tool_node"),
    },
)

install = _LIBRARY.install
uninstall = _LIBRARY.uninstall
