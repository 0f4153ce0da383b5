"""The runs of a few seeds that no threshold was chosen by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.diagnosis.bench import Case, record

SEEDS = range(1000, 1004)


@pytest.fixture(scope="package")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    """Record the runs of a few seeds, once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bench")
        patch.setenv("AGENTTRACE_RING_DIR", str(folder))
        database = folder / "traces.db"
        print("seeds", SEEDS)
        return database, record(database, SEEDS)
