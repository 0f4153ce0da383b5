"""``agenttrace patterns`` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke, write_story
from tests.query.factory import START_MS, Story


def healthy(name: str, number: int) -> Story:
    story = Story(name, start_ms=START_MS + number * 60_000, process_id=f"{number:08x}00000001")
    lead = story.start("lead")
    story.call(lead, "list_files")
    story.end(lead)
    return story


class TestPatterns:
    """S4.12: what runs have in common."""

    def test_shapes_and_how_failed_ones_begin(self, database: Path, invoke: Invoke) -> None:
        """Each shape with a run to open, then the beginning that only failed runs have."""
        write_story(database, healthy("healthy0", 7))
        done = invoke("patterns", "--db", str(database))
        assert done.exit_code == 0
        assert "2 runs of 2 shapes" in done.stdout
        assert "lead(list_files → reader(read_file*n → parse) → fetch → publish)" in done.stdout
        assert f"agenttrace show healthy0 --db {database}" in done.stdout
        assert "1 of 1 failed run begins so" in done.stdout and "» lead » reader" in done.stdout
        assert "ok runs go on with (the run ends ok)" in done.stdout

    def test_as_json(self, database: Path, invoke: Invoke) -> None:
        """Programs get all of it."""
        data = json.loads(invoke("patterns", "--json").stdout)
        assert data["runs"] == 1 and data["patterns"][0]["failed"] == 1
        assert data["failing_prefix"]["steps"][0] == "lead"

    def test_where_nothing_fits(self, database: Path, invoke: Invoke) -> None:
        """Nothing on stdout, a word on stderr."""
        done = invoke("patterns", "--agent", "nobody")
        assert (done.exit_code, done.stdout) == (0, "") and "no run fits" in done.stderr
