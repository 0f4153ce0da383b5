"""
The two ways of recording, for tests that hold for both: C, and Python alone.

Where the C part is not compiled there is one way only; CI asserts that it is compiled.
"""

from __future__ import annotations

import importlib

import pytest

from agenttrace import native
from agenttrace.encode.plain import encode_plain, encode_plain_in_python

__all__ = ["WAYS", "environment_of", "take_way"]

WAYS = ("python",) if native.FUNCTIONS is None else ("native", "python")


def take_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one of ``WAYS`` for what this test makes from now on."""
    if way == "python":
        monkeypatch.setattr(native, "FUNCTIONS", None)
    for name in ("codec", "normalize"):
        module = importlib.import_module(f"agenttrace.encode.{name}")
        chosen = encode_plain_in_python if way == "python" else encode_plain
        monkeypatch.setattr(module, "encode_plain", chosen)


def environment_of(way: str) -> dict[str, str]:
    """Give the environment for a process that takes the Python way, or (``default``) this one's."""
    return {"AGENTTRACE_PURE": "1"} if way == "python" else {}
