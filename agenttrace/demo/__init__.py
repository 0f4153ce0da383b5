"""
The demo: a real agent at work on a folder of Python code, with real failures to find.

It needs no key; ``agenttrace demo`` runs it and shows the recorded tree.
"""

from __future__ import annotations

from agenttrace.demo.run import run_demo

__all__ = ["run_demo"]
