"""
The demo's one entry: a workspace, a crew, a conversation around it, a flush at the end.

Invariant: it prints nothing; who wants to follow gives ``on_progress``. It ends
within about 3 s on any folder, and leaves no file but the recorded database.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import agenttrace
from agenttrace.demo.agents import Crew, run_lead
from agenttrace.demo.live import connect
from agenttrace.demo.planner import Planner, RulePlanner
from agenttrace.demo.rules import RULES, TASK_PREFIX
from agenttrace.demo.tools import Tools, build_toolbox
from agenttrace.demo.workspace import open_workspace
from agenttrace.errors import AgentTraceError

__all__ = ["run_demo"]

_LOCK_REFUSALS_COUNT = 2
"""How often the report's lock is refused: one less than the attempts the lead makes."""


def run_demo(
    folder: str | None = None,
    *,
    live: bool = False,
    database: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> str:
    """
    Let a small team of agents audit the Python code in *folder*, recorded.

    Args:
        folder: What to audit; None is the package ``http`` of Python's own standard library.
            It is only read.
        live: Let a real model plan; needs ANTHROPIC_API_KEY or OPENAI_API_KEY and its SDK.
        database: Where to record; None is wherever agenttrace is set up to.
        on_progress: Takes one line of text at each step, from several threads.

    Returns:
        The id of the recorded conversation.

    Raises:
        ConfigError: *folder* is not a folder, or *live* lacks a key or an SDK.
        AgentTraceError: The live model failed.
    """
    planner_for = _planner_for(live)
    with open_workspace(folder) as workspace:
        if database is not None:
            agenttrace.configure(database=database)
        elif not agenttrace.is_enabled():
            agenttrace.configure(enabled=True)
        workspace.hold_lock(_LOCK_REFUSALS_COUNT)
        task = TASK_PREFIX + workspace.name
        about = {"folder": str(workspace.folder)}
        crew = Crew(build_toolbox(Tools(workspace)), planner_for, on_progress or _keep_quiet)
        try:
            with (
                _warnings_of_others_ignored(),
                agenttrace.conversation_scope(task=task, metadata=about) as scope,
            ):
                run_lead(crew, task)
        except Exception as exc:
            if not live:
                raise
            message = f"demo --live: {type(exc).__name__}: {exc}; what was recorded until then is kept"
            raise AgentTraceError(message) from exc
        finally:
            agenttrace.flush()
        return scope.conversation_id


def _planner_for(live: bool) -> Callable[[str], Planner]:
    if not live:
        return lambda name: RulePlanner(RULES[name])
    model = connect()
    return lambda _name: model


@contextmanager
def _warnings_of_others_ignored() -> Iterator[None]:
    """Keep what the parser warns of in the audited code away from stderr and from ``-W error``."""
    with warnings.catch_warnings():
        for category in (SyntaxWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield


def _keep_quiet(_line: str) -> None:
    return None
