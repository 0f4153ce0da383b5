"""
The two ways of recording, for tests that hold for both: C, and Python alone.

Where the C part is not compiled there is one way only; CI asserts that it is compiled.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from agenttrace import native
from agenttrace.capture import bodies, span_ids
from agenttrace.encode import keys, plain, scan

__all__ = ["TWINS", "WAYS", "environment_of", "take_way"]

WAYS = ("python",) if native.FUNCTIONS is None else ("native", "python")

TWINS: tuple[tuple[str, Any, Any], ...] = (
    ("encode_plain", plain.encode_plain, plain.encode_plain_in_python),
    ("tool_call_body", bodies.tool_call_body, bodies.tool_call_body_in_python),
    ("tool_result_body", bodies.tool_result_body, bodies.tool_result_body_in_python),
    ("span_id", span_ids.span_id, span_ids.span_id_in_python),
    ("has_key_of", keys.has_key_of, keys.has_key_of_in_python),
    ("find_runs", scan.find_runs, scan.find_runs_in_python),
)
"""Each function's name, the one in use, and the one in Python."""

_USERS = (
    "capture.bodies",
    "capture.context",
    "capture.detectors",
    "capture.span_ids",
    "encode.codec",
    "encode.keys",
    "encode.normalize",
    "encode.plain",
    "encode.redact_formats",
    "encode.scan",
)


def take_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one of ``WAYS`` for what this test makes from now on."""
    if way == "python":
        monkeypatch.setattr(native, "FUNCTIONS", None)
    for user in _USERS:
        module = importlib.import_module(f"agenttrace.{user}")
        for name, in_use, in_python in TWINS:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, in_python if way == "python" else in_use)


def environment_of(way: str) -> dict[str, str]:
    """Give the environment for a process that takes the Python way, or (``default``) this one's."""
    return {"AGENTTRACE_PURE": "1"} if way == "python" else {}
