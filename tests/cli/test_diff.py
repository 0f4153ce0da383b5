"""``agenttrace diff`` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke


class TestDiff:
    """S4.12: two runs beside each other."""

    def test_of_a_run_with_itself(self, database: Path, invoke: Invoke) -> None:
        """Nothing differs, and the exit code is 0."""
        done = invoke("diff", "last", "last")
        assert done.exit_code == 0 and "no difference" in done.stdout

    def test_of_two_runs(self, database: Path, invoke: Invoke) -> None:
        """The exit code is 1, the first line of each run says how it went, and no line is too wide."""
        from agenttrace import TraceStore

        with TraceStore(database) as store:
            store.record_many(
                {"conversation_id": "other", "agent_id": "lead", "span_id": "1" * 16, **row}
                for row in ({"kind": "agent_start"}, {"kind": "agent_end", "status": "ok"})
            )
        done = (
            invoke("diff", "other", "last~1")
            if _is_newest("other", invoke)
            else invoke("diff", "other", "last")
        )
        assert done.exit_code == 1, done.output
        assert "they part here" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_as_json(self, database: Path, invoke: Invoke) -> None:
        """Programs get both sides, all differences and whether there are any."""
        data = json.loads(invoke("diff", "last", "last", "--json").stdout)
        assert data["is_same"] is True and data["differences"] == []
        assert data["a"] == data["b"] and data["a"]["calls"] > 0

    def test_without_a_run(self, database: Path, invoke: Invoke) -> None:
        """What cannot be found is named, with exit code 2."""
        done = invoke("diff", "nothing-like-it", "last")
        assert done.exit_code == 2 and "nothing-like-it" in done.output


def _is_newest(name: str, invoke: Invoke) -> bool:
    listed = json.loads(invoke("list", "--json").stdout)
    return bool(listed["conversations"][0]["id"] == name)
