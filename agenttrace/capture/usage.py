"""
Token counts in our columns, from whatever usage object a provider's SDK hands out.

Invariant: ``input_tokens`` counts all input, cache reads and writes included;
``output_tokens`` includes reasoning. Anthropic leaves the cached ones out of its
own ``input_tokens``, so they are added here; OpenAI includes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["COUNTS", "add_usage", "read_usage"]

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def read_usage(usage: Any, counts: Mapping[str, Any]) -> dict[str, Any]:
    """
    Give the usage columns of *usage* and *counts*; what neither says is left out.

    Args:
        usage: An SDK's usage object or mapping (OpenAI chat or responses, Anthropic), or None.
        counts: Columns by name; they win.

    Raises:
        TypeError: *counts* has a name that is no usage column.
    """
    columns = {} if usage is None else _read_object(usage)
    for name, value in counts.items():
        if name == "cost_usd":
            if value is not None:
                columns[name] = float(value)
        elif name in COUNTS:
            if value is not None:
                columns[name] = int(value)
        else:
            raise TypeError(f"set_usage() has no count {name!r}; there are {', '.join(COUNTS)} and cost_usd")
    return columns


def add_usage(total: dict[str, Any], columns: Mapping[str, Any]) -> None:
    """Add usage *columns* to *total*, which is changed."""
    for name, value in columns.items():
        total[name] = total[name] + value if name in total else value


def _read_object(usage: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    input_tokens = _first(usage, "input_tokens", "prompt_tokens")
    output_tokens = _first(usage, "output_tokens", "completion_tokens")
    cache_read = _first(usage, "cache_read_input_tokens")
    cache_write = _first(usage, "cache_creation_input_tokens")
    if cache_read is not None or cache_write is not None:
        input_tokens = (input_tokens or 0) + (cache_read or 0) + (cache_write or 0)
    else:
        cache_read = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
        cache_read = cache_read if cache_read is not None else _first(usage, "cache_read_tokens")
        cache_write = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cache_write_tokens")
        cache_write = cache_write if cache_write is not None else _first(usage, "cache_write_tokens")
    details = ("completion_tokens_details", "output_tokens_details")
    reasoning = _detail(usage, details, "reasoning_tokens")
    reasoning = reasoning if reasoning is not None else _detail(usage, details, "thinking_tokens")
    found = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_write,
        "reasoning_tokens": reasoning if reasoning is not None else _first(usage, "reasoning_tokens"),
    }
    columns.update({name: value for name, value in found.items() if value is not None})
    return columns


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _first(source: Any, *names: str) -> int | None:
    for name in names:
        value = _get(source, name)
        if isinstance(value, int) and not isinstance(value, bool):
            return int(value)
    return None


def _detail(source: Any, groups: tuple[str, ...], name: str) -> int | None:
    for group in groups:
        inner = _get(source, group)
        if inner is not None:
            value = _first(inner, name)
            if value is not None:
                return value
    return None
