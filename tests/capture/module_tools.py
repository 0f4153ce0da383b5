"""Traced tools that can be pickled, because they stand in a module."""

from __future__ import annotations

import functools

from agenttrace import traced_tool


@traced_tool
def double(number: int) -> int:
    return number * 2


def _add(a: int, b: int) -> int:
    return a + b


add_one = traced_tool(functools.partial(_add, 1))


class Kit:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @traced_tool
    def scale(self, number: int) -> int:
        return number * self.factor
