"""
A program that starts children in every way there is, and prints who each says its parent is.

``python process_program.py DATABASE|- METHOD``: a database switches tracing on in code, inside
the main guard; ``-`` leaves that to the environment. Prints one JSON object: for each way of
starting a child the pairs of (parent that the child saw, agent that started it).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import agenttrace
from agenttrace import agent_scope, traced_tool

CHILD = "import agenttrace\nwith agenttrace.agent_scope('child') as child: print(child.parent_agent_id)"
Pairs = list[tuple[str | None, str]]


@traced_tool
def work(number: int) -> int:
    return number * 2


def report(name: str, pipe: Any = None) -> str | None:
    """Be an agent that calls a tool, and say under whom."""
    with agent_scope(name) as agent:
        work(1)
    if pipe is not None:
        pipe.send(agent.parent_agent_id)
    return agent.parent_agent_id


def run_processes(context: Any) -> Pairs:
    """One child of each of two agents."""
    pairs: Pairs = []
    for name in ("first", "second"):
        with agent_scope(name) as agent:
            ours, theirs = context.Pipe()
            process = context.Process(target=report, args=("child", theirs), name="Worker", daemon=True)
            process.start()
            pairs.append((ours.recv(), agent.agent_id))
            process.join()
            assert process.exitcode == 0 and process.name == "Worker"
    return pairs


def run_executor(context: Any, root: Any) -> Pairs:
    """Two agents and the root share one executor."""
    pairs: Pairs = []
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        waiting = []
        for name in ("first", "second"):
            with agent_scope(name) as agent:
                waiting.append((executor.submit(report, "child"), agent.agent_id))
        pairs += [(future.result(), caller) for future, caller in waiting]
        pairs += [(seen, root.agent_id) for seen in executor.map(report, ["child"] * 4, chunksize=2)]
    return pairs


def run_pool(make: Any, root: Any) -> Pairs:
    """Two agents and the root share one pool."""
    pairs: Pairs = []
    with make(1) as pool:
        with agent_scope("first") as first:
            applied = pool.apply_async(report, ("child",))
            mapped = pool.map_async(report, ["child"] * 3)
        with agent_scope("second") as second:
            # What the iterator does happens in a thread of the pool, and still belongs to this agent.
            lazily = list(pool.imap(report, (report("reader") and "child" for _ in range(2))))
            unordered = list(pool.imap_unordered(report, ["child"] * 3, chunksize=2))
            pairs += [(seen, second.agent_id) for seen in (*lazily, *unordered)]
        pairs += [(seen, first.agent_id) for seen in (applied.get(), *mapped.get())]
        pairs += [(seen, root.agent_id) for seen in pool.starmap(report, [("child",)] * 2)]
        pool.close()
        pool.join()
    return pairs


def run_subprocesses() -> Pairs:
    """Every way to start a program."""
    command = [sys.executable, "-c", CHILD]
    shell = f'"$PYTHON" -c "{CHILD}"'
    pairs: Pairs = []

    async def run_async() -> list[str]:
        made = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        shelled = await asyncio.create_subprocess_shell(
            shell,
            stdout=subprocess.PIPE,
            env={"PYTHON": sys.executable, "PYTHONPATH": os.environ["PYTHONPATH"]},
        )
        return [(await process.communicate())[0].decode() for process in (made, shelled)]

    os.putenv("PYTHON", sys.executable)  # a child inherits this, though os.environ knows nothing of it
    small = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    in_bytes = {os.fsencode(name): os.fsencode(value) for name, value in small.items()}
    with agent_scope("caller") as caller:
        said = [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout,
            subprocess.check_output(command, text=True, env=small),
            subprocess.check_output(command, text=True, env=in_bytes),
            subprocess.check_output(command, text=True, env=os.environ),
            subprocess.check_output(shell, text=True, shell=True),
            subprocess.check_output(["any", "-c", shell], text=True, executable="/bin/sh"),
            subprocess.check_output(command, text=True, close_fds=False),  # posix_spawn
            subprocess.check_output(command, text=True, preexec_fn=os.getpid),
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True).communicate()[0],
            *asyncio.run(run_async()),
        ]
        pairs += [(line.strip(), caller.agent_id) for line in said]
    assert small == {"PYTHONPATH": os.environ["PYTHONPATH"]}
    return pairs


def main(database: str, method: str) -> None:
    """Run what *method* names."""
    before = dict(os.environ)
    if database != "-":
        agenttrace.configure(database=Path(database), redact=["walnut"])
    results: dict[str, Pairs] = {}
    with agent_scope("root") as root:
        if method == "subprocess":
            results["subprocess"] = run_subprocesses()
        elif method == "threads":
            results["threads"] = run_pool(ThreadPool, root)
        else:
            context = multiprocessing.get_context(method)
            results["process"] = run_processes(context)
            results["executor"] = run_executor(context, root)
            results["pool"] = run_pool(context.Pool, root)
    assert dict(os.environ) == before
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
