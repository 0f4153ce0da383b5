"""
Real models as planners: the demo's messages in the shape of two providers, and back.

Owns the translation to Anthropic's Messages API and OpenAI's Chat Completions; the
SDKs are imported late, because the demo needs neither. Nothing here is needed
without ``--live``.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agenttrace.demo.planner import Message, Plan, PlannedCall, Planner, ToolSpec
from agenttrace.errors import ConfigError

__all__ = ["AnthropicPlanner", "OpenAIPlanner", "connect"]

_ANTHROPIC_MODEL = "claude-haiku-4-5"
_OPENAI_MODEL = "gpt-4o-mini"
_OUTPUT_LIMIT_TOKENS = 1_024


def connect(environ: Mapping[str, str] = os.environ) -> Planner:
    """
    Give a planner for the first provider whose key is set and whose SDK is installed.

    AGENTTRACE_DEMO_MODEL names another model than the small default.

    Raises:
        ConfigError: No key is set, or no SDK for a set key is installed; it says which.
    """
    known: dict[str, tuple[str, str, Callable[[Any, str], Planner], str]] = {
        "ANTHROPIC_API_KEY": ("anthropic", "Anthropic", AnthropicPlanner, _ANTHROPIC_MODEL),
        "OPENAI_API_KEY": ("openai", "OpenAI", OpenAIPlanner, _OPENAI_MODEL),
    }
    lacking = []
    for key, (module, client, planner, model) in known.items():
        if not environ.get(key):
            continue
        try:
            sdk = importlib.import_module(module)  # late: an optional dependency
        except ImportError:
            lacking.append(f"{key} is set, but the package {module} is not installed (pip install {module})")
            continue
        return planner(
            getattr(sdk, client)(api_key=environ[key]), environ.get("AGENTTRACE_DEMO_MODEL", model)
        )
    if not lacking:
        lacking = ["set ANTHROPIC_API_KEY or OPENAI_API_KEY; neither is set"]
    raise ConfigError(
        f"demo --live needs a model: {'; '.join(lacking)}. Without --live the demo needs no key."
    )


class AnthropicPlanner:
    """Plan with Anthropic's Messages API."""

    provider = "anthropic"

    def __init__(self, client: Any, model: str) -> None:
        self._client = client
        self.model = model

    def plan(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Plan:
        """Ask the model once."""
        answer = self._client.messages.create(
            model=self.model,
            max_tokens=_OUTPUT_LIMIT_TOKENS,
            system="\n".join(str(message["content"]) for message in messages if message["role"] == "system"),
            messages=build_anthropic_messages(messages),
            tools=[
                {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
                for tool in tools
            ],
        )
        usage = answer.usage
        cached = (
            getattr(usage, name, None) or 0
            for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
        )
        return Plan(
            text="".join(block.text for block in answer.content if block.type == "text"),
            calls=tuple(
                PlannedCall(block.id, block.name, dict(block.input))
                for block in answer.content
                if block.type == "tool_use"
            ),
            # Anthropic's own input_tokens leave the cached ones out.
            usage={"input_tokens": usage.input_tokens + sum(cached), "output_tokens": usage.output_tokens},
            finish_reason=str(answer.stop_reason),
            response_id=answer.id,
        )


class OpenAIPlanner:
    """Plan with OpenAI's Chat Completions API."""

    provider = "openai"

    def __init__(self, client: Any, model: str) -> None:
        self._client = client
        self.model = model

    def plan(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Plan:
        """Ask the model once."""
        answer = self._client.chat.completions.create(
            model=self.model,
            messages=build_openai_messages(messages),
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": dict(tool.parameters),
                    },
                }
                for tool in tools
            ],
        )
        choice = answer.choices[0]
        return Plan(
            text=choice.message.content or "",
            calls=tuple(
                PlannedCall(call.id, call.function.name, json.loads(call.function.arguments or "{}"))
                for call in choice.message.tool_calls or ()
            ),
            usage={
                "input_tokens": answer.usage.prompt_tokens,
                "output_tokens": answer.usage.completion_tokens,
            },
            finish_reason=str(choice.finish_reason),
            response_id=answer.id,
        )


def build_anthropic_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Render messages for Anthropic; tool results that follow each other share one user message."""
    rendered: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role == "user":
            rendered.append({"role": "user", "content": message["content"]})
        elif role == "assistant":
            said = [{"type": "text", "text": message["content"]}] if message["content"] else []
            calls = [
                {"type": "tool_use", "id": call["call_id"], "name": call["name"], "input": call["arguments"]}
                for call in message["calls"]
            ]
            rendered.append({"role": "assistant", "content": [*said, *calls]})
        elif role == "tool":
            result = {
                "type": "tool_result",
                "tool_use_id": message["call_id"],
                "content": message["content"],
                "is_error": message["is_error"],
            }
            if rendered and rendered[-1]["role"] == "user" and isinstance(rendered[-1]["content"], list):
                rendered[-1]["content"].append(result)
            else:
                rendered.append({"role": "user", "content": [result]})
    return rendered


def build_openai_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Render messages for OpenAI; arguments travel as JSON text."""
    rendered: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role == "tool":
            rendered.append(
                {"role": "tool", "tool_call_id": message["call_id"], "content": message["content"]}
            )
            continue
        out: dict[str, Any] = {"role": role, "content": message["content"]}
        if message.get("calls"):
            out["tool_calls"] = [
                {
                    "id": call["call_id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
                }
                for call in message["calls"]
            ]
        rendered.append(out)
    return rendered
