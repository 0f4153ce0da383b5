"""Whatever a tree of agents runs on, it comes out as one conversation with every parent right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reading import ROOT, open_store, query
from tests.stress.agent_tree import WAYS, grow, list_nodes

__all__ = ["check_record", "run_tree"]

SEEDS = tuple(range(1, 9))
NODES_COUNT = 30


def run_tree(tree: dict[str, Any], database: Path) -> None:
    """Run the program on *tree*, with nothing but tracing switched on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "stress" / "agent_tree.py"), json.dumps(tree)],
        env={
            **os.environ,
            "AGENTTRACE": "1",
            "AGENTTRACE_DB": str(database),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def check_record(tree: dict[str, Any], database: Path) -> None:
    """Compare the record with the tree, by names alone."""
    nodes = {node["name"]: node for node in list_nodes(tree)}
    assert query(database, "SELECT count(DISTINCT conversation_id) FROM trajectory_events") == [(1,)]
    agents = query(
        database,
        "SELECT c.agent_name, p.agent_name, c.status, c.runs FROM agents c LEFT JOIN agents p"
        " ON p.conversation_id = c.conversation_id AND p.agent_id = c.parent_agent_id",
    )
    expected = [(name, name.rpartition(".")[0] or None, "ok", 1) for name in nodes]
    assert sorted(agents) == sorted(expected)
    # The operation around each start, by kind and name: the parent's run, or its call of delegate.
    around = query(
        database,
        "SELECT c.kind, coalesce(json_extract(c.payload, '$.arguments.name'), c.agent_name), c.agent_name,"
        " p.kind, p.tool_name, p.agent_name FROM trajectory_events c LEFT JOIN trajectory_events p"
        " ON p.span_id = c.parent_span_id AND p.kind IN ('agent_start', 'tool_call')"
        " WHERE c.kind IN ('agent_start', 'tool_call') AND coalesce(c.tool_name, '') NOT LIKE 'delegate%'",
    )
    wanted: list[tuple[Any, ...]] = []
    for name in nodes:
        parent = nodes.get(name.rpartition(".")[0])
        wanted += [("tool_call", name, name, "agent_start", None, name)] * 2
        if parent is None:
            wanted.append(("agent_start", name, name, None, None, None))
        elif parent["in_tool"]:
            wanted.append(("agent_start", name, name, "tool_call", "delegate", parent["name"]))
        else:
            wanted.append(("agent_start", name, name, "agent_start", None, parent["name"]))
    found = [tuple("delegate" if cell == "delegate_async" else cell for cell in row) for row in around]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))
    assert query(database, "SELECT count(*) FROM trajectory_events WHERE kind IN ('error', 'note')") == [(0,)]
    assert (
        query(
            database,
            "SELECT agent_id FROM trajectory_events GROUP BY agent_id HAVING count(*) != max(seq) + 1",
        )
        == []
    )


@pytest.mark.stress
@pytest.mark.slow
class TestAgentTree:
    """A random tree over tasks, threads, pools, processes and programs; only tracing is switched on."""

    @pytest.mark.parametrize("seed", SEEDS)
    def test_is_one_conversation(self, seed: int, tmp_path: Path) -> None:
        """Each agent names the right parent, each call its agent, each start the operation around it."""
        tree = grow(seed, NODES_COUNT)
        print(f"seed {seed}: {tree}")
        run_tree(tree, tmp_path / "t.db")
        open_store(tmp_path / "t.db")
        check_record(tree, tmp_path / "t.db")

    def test_every_way_is_drawn(self) -> None:
        """The trees use all the ways there are, in and out of tools, so that none goes untested."""
        nodes = [node for seed in SEEDS for node in list_nodes(grow(seed, NODES_COUNT))]
        parents = {(child["way"], node["in_tool"]) for node in nodes for child in node["children"]}
        assert {way for way, _ in parents} == set(WAYS)
        assert max(node["name"].count(".") for node in nodes) >= 4
