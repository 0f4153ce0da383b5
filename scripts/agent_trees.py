#!/usr/bin/env python
"""
Grow random trees of agents over threads, pools, processes and programs, and check each record.

The long form of tests/stress/test_agent_tree.py: ``python scripts/agent_trees.py --seconds 600``.
Prints each seed as it fails, with where its database is; exits with 1 if any did.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.reading import open_store
from tests.stress.agent_tree import grow, list_nodes
from tests.stress.test_agent_tree import check_record, run_tree


def main() -> int:
    """Try seeds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--seconds", type=float, default=600, help="how long to try (default 600)")
    parser.add_argument("--first-seed", type=int, default=1000, help="seeds count up from here")
    parser.add_argument("--nodes", type=int, default=60, help="agents in the largest trees")
    options = parser.parse_args()
    end_s = time.monotonic() + options.seconds
    seed, agents_count, failed = options.first_seed, 0, []
    while time.monotonic() < end_s:
        draw = random.Random(seed)
        tree = grow(seed, draw.randint(5, options.nodes), starting_count=draw.randint(0, 12))
        folder = Path(tempfile.mkdtemp(prefix="agent-tree-"))
        os.environ["AGENTTRACE_RING_DIR"] = str(folder / "rings")
        try:
            run_tree(tree, folder / "t.db")
            open_store(folder / "t.db")
            check_record(tree, folder / "t.db")
        except Exception as exc:
            failed.append(seed)
            print(f"seed {seed} failed, see {folder}: {type(exc).__name__}: {str(exc)[:3000]}", flush=True)
        agents_count += len(list_nodes(tree))
        seed += 1
    print(f"{seed - options.first_seed} trees of {agents_count} agents; {len(failed)} failed {failed or ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
