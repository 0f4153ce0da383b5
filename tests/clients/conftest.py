"""A provider on loopback, and a database that is read as a user would read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.provider import Provider
from tests.frameworks.conftest import Rows, rows

__all__ = ["Provider", "Rows", "provider", "rows"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Start a provider that must be asked for exactly what it was told to answer."""
    with Provider() as started:
        yield started
