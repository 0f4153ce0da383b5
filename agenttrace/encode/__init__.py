"""Encode: any value to bounded, redacted JSON bytes. The one place that imports orjson."""

from __future__ import annotations

__all__: list[str] = []
