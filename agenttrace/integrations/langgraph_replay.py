"""
LangChain's tools and chat models in a replay: what was recorded comes in the place of what they do.

Invariants: LangChain's own code around them runs as ever: it checks arguments, calls back, makes
messages of results and of failures; the tool and the model that the program has are left as they are,
also while others use them. Nothing here is imported while no replay goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from agenttrace.capture.substitution import Outcome

__all__ = ["answering_tool"]

_COMMAND = frozenset(("goto", "graph", "update", "resume"))


def answering_tool(tool: Any, outcome: Outcome, call_id: Any) -> Any:
    """Give a tool like *tool* that gives or raises what was recorded, instead of doing anything."""

    def run(*_: Any, **__: Any) -> Any:
        return _result_of(tool, outcome, call_id)

    async def arun(*_: Any, **__: Any) -> Any:
        return _result_of(tool, outcome, call_id)

    made = copy.copy(tool)
    # Beside the fields, as pydantic's own private attributes are.
    vars(made)["_run"], vars(made)["_arun"] = run, arun
    return made


def _result_of(tool: Any, outcome: Outcome, call_id: Any) -> Any:
    if outcome.exception is not None:
        raise outcome.exception
    value = outcome.output
    if call_id and _is_command(value):
        value = _build_command(value)  # anything else that is no text LangChain would have made a text of
    elif call_id and isinstance(value, list) and value and all(map(_is_command, value)):
        value = [_build_command(one) for one in value]
    return (value, None) if getattr(tool, "response_format", "") == "content_and_artifact" else value


def _is_command(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and _COMMAND.issuperset(value)


def _build_command(parts: Mapping[str, Any]) -> Any:
    from langgraph.types import Command  # late: only who returned one has it

    update = parts.get("update")
    if isinstance(update, Mapping):
        update = {key: _build_messages(value) for key, value in update.items()}
    return Command(**{**parts, "update": update})


def _build_messages(value: Any) -> Any:
    """Give messages for what was recorded of them; anything else as it is."""
    from langchain_core.messages import convert_to_messages  # late, as above

    if isinstance(value, Mapping) and "role" in value and "content" in value:
        return convert_to_messages([value])[0]
    return [_build_messages(one) for one in value] if isinstance(value, list) else value
