"""The page that describes the schema."""

from __future__ import annotations

import runpy
from pathlib import Path

from agenttrace.store.batch import EventSink

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "generate_schema_docs.py"


class TestSchemaPage:
    """docs/schema.md."""

    def test_is_current(self, sink: EventSink) -> None:
        """It is what the script writes: every column of every table and view has its word."""
        script = runpy.run_path(str(SCRIPT))
        page = script["render_page"](sink.database)
        assert script["PAGE"].read_text(encoding="utf-8") == page, f"run python scripts/{SCRIPT.name}"
