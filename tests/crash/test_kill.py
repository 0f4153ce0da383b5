"""
A real program, killed at a drawn moment: what it was told is recorded, is recorded.

Each program runs threads, tasks and forked children at once, each in an agent of its
own, and acknowledges a call on a pipe after it has returned. A writer that rests
(``flush_interval_s=60``) leaves all to the ring; a busy one is killed amid its work.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.crash.amounts import draw_seed, scaled
from tests.crash.children import run_program
from tests.crash.law import Kept, hold
from tests.reading import query

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.shared_ring]


def _kill(database: Path, part: str, kills: int, *signals: str, way: str = "default") -> Kept:
    """Kill programs, and hold what is left against what they had acknowledged."""
    seed = draw_seed(f"kill {part}")
    said = run_program(
        "mixed_program", database, seed, kills, *signals, way=way, AGENTTRACE_RING_BYTES="1048576"
    )
    acknowledged = json.loads(said)
    assert len(acknowledged) > 5 * kills
    assert not [word for word in acknowledged if word.startswith("wrong")]
    kept = hold(database, acknowledged)
    assert query(database, "SELECT status, count(*) FROM agent_sessions GROUP BY 1") == [
        ("interrupted", kills)
    ]
    ended = query(
        database,
        "SELECT kind, count(*) FROM trajectory_events WHERE status = 'interrupted' AND agent_name = 'root'"
        " AND (tool_name IS NULL OR tool_name = 'never_ends') GROUP BY 1",
    )
    assert sorted(ended) == [("agent_end", kills), ("tool_result", kills)]
    parents = query(
        database,
        "SELECT DISTINCT parent_agent_id = substr(agent_id, 1, instr(agent_id, '-')) || 'root' FROM agents"
        " WHERE parent_agent_id IS NOT NULL",
    )
    assert parents == [(1,)], "an agent under another program's root"
    return kept


class TestKill:
    """The design's promise for a process that is ended from outside, or ends itself without a word."""

    @pytest.mark.parametrize("part", range(4))
    def test_at_four_times_hundred_moments(self, part: int, tmp_path: Path) -> None:
        """SIGKILL: each acknowledged call once, whole, in its agent; what was open is interrupted."""
        kept = _kill(tmp_path / "t.db", f"native {part}", scaled(100), "SIGKILL")
        kinds = {name.partition("-")[2].rstrip("0123456789") for name in kept.numbers}
        assert kinds == {"thread", "task", "fork"}

    def test_at_hundred_moments_in_python_alone(self, tmp_path: Path) -> None:
        """The same where the ring is Python's."""
        _kill(tmp_path / "t.db", "python", scaled(100), "SIGKILL", way="python")

    def test_other_deaths(self, tmp_path: Path) -> None:
        """SIGTERM, a crash in C, an abort and ``os._exit`` keep as much."""
        _kill(tmp_path / "t.db", "others", scaled(40), "SIGTERM", "SIGSEGV", "SIGABRT", "_exit")
