"""A provider on loopback, and a database that is read as a user would read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.provider import Provider
from tests.frameworks.conftest import Rows, rows

__all__ = ["Provider", "Rows", "provider", "rows"]


@pytest.fixture(autouse=True)
def no_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each client read an empty folder: nothing here is encrypted, and the real ones take it 40 ms."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Start a provider that must be asked for exactly what it was told to answer."""
    with Provider() as started:
        yield started
