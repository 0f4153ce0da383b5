"""
What coding agents ask over the Model Context Protocol: the questions of the command line, as tools.

Owns the tools, what they take and what they answer; only ``serve`` knows the protocol's SDK, which is
an extra. Invariants: nothing is written but what dead processes left and the index of words; every
answer has at most the tokens that were asked for; what was recorded stands in it as data only.
"""

from __future__ import annotations

__all__: list[str] = []
