"""
Follow pydantic-ai: the runs of its agents, the turns of their models, and their tool calls.

The seams are ``Agent.iter``, through which every run goes, the abstract ``Model``, and the
``ToolManager``, which checks and runs every call. Its own instrumentation (OpenTelemetry) is
neither used nor touched. Invariants: results, exceptions and streams are the library's; with tracing
off nothing is done but looking at the switch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from agenttrace.integrations.parts import describe_parts
from agenttrace.integrations.patching import Library, Patch

if TYPE_CHECKING:
    from agenttrace.integrations.implementations import Implementations

__all__ = ["install", "uninstall"]


class _Models:
    """The classes of models, once the library is imported."""

    patch: Implementations | None = None

    def look_again(self) -> None:
        """Follow the classes that came since."""
        if self.patch is not None:
            self.patch.look_again()


_models = _Models()


# What makes the replacements is imported with the library: a program without it needs none of it.


def _list_runs() -> Iterator[Patch]:
    from agenttrace.integrations.pydantic_ai_runs import build_iter

    agent = import_module("pydantic_ai.agent").Agent
    yield Patch(agent, "iter", functools.partial(build_iter, before=_models.look_again))


def _list_rejections() -> Iterator[Patch]:
    from agenttrace.integrations.pydantic_ai_runs import build_reject

    state = import_module("pydantic_ai._agent_graph").GraphAgentState
    yield Patch(state, "consume_output_retry", build_reject)


def _list_models() -> Iterator[Patch]:
    from agenttrace.integrations.implementations import Implementations
    from agenttrace.integrations.pydantic_ai_runs import build_request, build_request_stream

    base = import_module("pydantic_ai.models").Model
    passing = (
        import_module("pydantic_ai.models.wrapper").WrapperModel,
        import_module("pydantic_ai.models.fallback").FallbackModel,
    )
    builders = {
        "request": functools.partial(build_request, inspect.signature(base.request)),
        "request_stream": functools.partial(build_request_stream, inspect.signature(base.request_stream)),
    }
    _models.patch = Implementations(base, builders, passing)
    yield _models.patch


def _list_tools() -> Iterator[Patch]:
    from agenttrace.capture.failures import SIGNALS
    from agenttrace.integrations.pydantic_ai_tools import build_execute, build_validate

    exceptions = import_module("pydantic_ai.exceptions")
    SIGNALS.update((exceptions.ApprovalRequired, exceptions.CallDeferred))
    manager = import_module("pydantic_ai.tool_manager").ToolManager
    check = functools.partial(build_validate, records_refusal=False)
    yield Patch(manager, "validate_tool_call", check)
    yield Patch(manager, "execute_tool_call", build_execute)


def _list_output_tools() -> Iterator[Patch]:
    from agenttrace.integrations.pydantic_ai_tools import build_execute, build_refuse, build_validate

    manager = import_module("pydantic_ai.tool_manager").ToolManager
    check = functools.partial(build_validate, records_refusal=True)
    yield Patch(manager, "validate_output_tool_call", check)
    yield Patch(manager, "execute_output_tool_call", build_execute)
    yield Patch(manager, "_make_validation_failure", build_refuse)


_LIBRARY = Library(
    "pydantic_ai",
    {
        "pydantic_ai": describe_parts(
            "pydantic_ai",
            "pydantic-ai-slim",
            (_list_runs, _list_models, _list_tools, _list_output_tools, _list_rejections),
        )
    },
)

install = _LIBRARY.install
uninstall = _LIBRARY.uninstall
