"""Hostile arguments and results never change a traced call's outcome, and leave its two rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import agenttrace
from agenttrace import agent_scope, traced_tool
from tests.property.hostile import cook, recipes
from tests.reading import query

EXAMPLES = 500


class Refused(Exception):
    pass


@traced_tool
def give_back(value: Any, *rest: Any, **named: Any) -> Any:
    return value


@traced_tool
def refuse(value: Any) -> Any:
    raise Refused(value)


@pytest.mark.slow
class TestHostileArguments:
    """The design's promise: recorded in a marked, bounded form; the user's call is untouched."""

    def test_outcome_and_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """500 examples: the very object comes back or is raised with; call and result are stored."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        agenttrace.configure(database=tmp_path / "t.db", max_blob_bytes=8192)
        made = [0]

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(recipe=recipes)
        def check(recipe: tuple[str, Any]) -> None:
            value = cook(recipe)
            assert give_back(value, value, key=value) is value
            with pytest.raises(Refused) as caught:
                refuse(value)
            assert caught.value.args[0] is value
            made[0] += 1

        with agent_scope("hostile", input={"a": {1, 2}}):
            check()
        result = agenttrace.flush()
        assert made[0] >= EXAMPLES and result.pending == result.dropped == 0
        counts = dict(
            query(
                tmp_path / "t.db",
                "SELECT kind || ' ' || coalesce(status, ''), count(*) FROM trajectory_events GROUP BY 1",
            )
        )
        assert counts["tool_call "] == 2 * made[0]
        assert counts["tool_result ok"] == counts["tool_result error"] == counts["error "] == made[0]
        assert (
            query(tmp_path / "t.db", "SELECT max(length(CAST(payload AS BLOB))) FROM trajectory_events")[0][0]
            <= 4096
        )
        assert query(
            tmp_path / "t.db", "SELECT count(*) FROM trajectory_events WHERE NOT json_valid(payload)"
        ) == [(0,)]
