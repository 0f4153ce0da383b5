"""
Follow the OpenAI Agents SDK: runs, the agents of a run, their turns and their tool calls.

The seams are public where there is one: ``Runner.run``, ``run_sync`` and ``run_streamed`` are runs,
``RunHooks`` tell which agent is in control, the abstract ``Model`` is where turns are made; function
tools are seen where the SDK has them run. The SDK's own tracing is neither used nor touched, so
that it may be off, or go where the user sends it. Invariants: the user's hooks are called as ever,
results and exceptions are the SDK's; with tracing off nothing is done but looking at the switch.
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
    """The classes of models, once the SDK is imported."""

    patch: Implementations | None = None

    def look_again(self) -> None:
        """Follow the classes that came since."""
        if self.patch is not None:
            self.patch.look_again()


_models = _Models()


# What makes the replacements is imported with the SDK: a program without it needs none of it.


def _list_runs() -> Iterator[Patch]:
    from agenttrace.integrations.openai_agents_entries import (
        build_run,
        build_run_streamed,
        build_run_sync,
        build_stream_events,
    )

    runner = import_module("agents.run").Runner
    hooks_base = import_module("agents.lifecycle").RunHooksBase
    yield Patch(runner, "run", functools.partial(build_run, hooks_base=hooks_base, before=_models.look_again))
    yield Patch(
        runner,
        "run_sync",
        functools.partial(build_run_sync, hooks_base=hooks_base, before=_models.look_again),
    )
    yield Patch(
        runner,
        "run_streamed",
        functools.partial(build_run_streamed, hooks_base=hooks_base, before=_models.look_again),
    )
    yield Patch(import_module("agents.result").RunResultStreaming, "stream_events", build_stream_events)


def _list_models() -> Iterator[Patch]:
    from agenttrace.integrations.implementations import Implementations
    from agenttrace.integrations.openai_agents_turns import build_get_response, build_stream_response

    base = import_module("agents.models.interface").Model
    builders = {
        "get_response": functools.partial(build_get_response, inspect.signature(base.get_response)),
        "stream_response": functools.partial(build_stream_response, inspect.signature(base.stream_response)),
    }
    _models.patch = Implementations(base, builders)
    yield _models.patch


def _list_retries() -> Iterator[Patch]:
    from agenttrace.integrations.openai_agents_turns import (
        build_get_response_with_retry,
        build_stream_response_with_retry,
    )

    loop = import_module("agents.run_internal.run_loop")
    yield Patch(loop, "get_response_with_retry", build_get_response_with_retry)
    yield Patch(loop, "stream_response_with_retry", build_stream_response_with_retry)


def _list_tools() -> Iterator[Patch]:
    from agenttrace.integrations.openai_agents_tools import build_explain_failure, build_invoke

    for name in ("agents.tool", "agents.run_internal.tool_execution"):
        module = import_module(name)
        yield Patch(module, "_invoke_function_tool_with_metadata", build_invoke)
        yield Patch(module, "maybe_invoke_function_tool_failure_error_function", build_explain_failure)


def _list_native_tools() -> Iterator[Patch]:
    from agenttrace.integrations.openai_agents_tools import NATIVE_ACTIONS, build_log_failure, build_native

    actions = import_module("agents.run_internal.tool_actions")
    for name in NATIVE_ACTIONS:
        yield Patch(getattr(actions, name), "execute", build_native)
    yield Patch(actions, "log_tool_action_error", build_log_failure)


_PARTS = (_list_runs, _list_models, _list_retries, _list_tools, _list_native_tools)

# All once the package is whole: its modules take functions from each other as they are imported.
_LIBRARY = Library("openai_agents", {"agents": describe_parts("openai_agents", "openai-agents", _PARTS)})

install = _LIBRARY.install
uninstall = _LIBRARY.uninstall
