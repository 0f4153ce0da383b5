"""Fixtures that take one of the two ways of recording, or each in turn."""

from __future__ import annotations

import pytest

from tests.ways import WAYS, take_way

__all__: list[str] = []


@pytest.fixture(params=WAYS)
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once in C, where that is compiled, and once in Python."""
    take_way(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture
def python_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in Python alone, because it looks at what only that way has."""
    take_way("python", monkeypatch)
