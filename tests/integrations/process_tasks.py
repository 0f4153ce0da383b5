"""What the tests of child processes run in them; importable, as pickling wants it."""

from __future__ import annotations

import os
import signal
from typing import Any

from agenttrace import agent_scope, traced_tool

__all__ = ["be_agent", "call_tool", "die_in_tool", "fail_in_agent", "keep_secret"]


@traced_tool
def add_one(number: int) -> int:
    return number + 1


@traced_tool
def break_down(text: str) -> None:
    raise LookupError(text)


@traced_tool
def hang(written: Any) -> None:
    written.send("inside")
    os.kill(os.getpid(), signal.SIGKILL)


@traced_tool
def log_in(walnut: str, text: str) -> str:
    return text


def call_tool(number: int = 0) -> int:
    """Call a tool outside any scope of this process's own."""
    return add_one(number)


def be_agent(name: str = "child") -> tuple[str | None, str]:
    """Be an agent; give the parent that it saw, and its conversation."""
    with agent_scope(name) as agent:
        add_one(1)
    return agent.parent_agent_id, agent.conversation_id


def fail_in_agent(text: str = "broken") -> None:
    """Let an exception leave a tool and an agent."""
    with agent_scope("child"):
        break_down(text)


def die_in_tool(written: Any = None) -> None:
    """Die of SIGKILL in the middle of a tool's call."""
    with agent_scope("child"):
        hang(written)


def keep_secret() -> None:
    """Call a tool with what its process shall not store, and with more than it shall keep whole."""
    with agent_scope("child"):
        log_in("squirrel-nest", "x" * 3000)
