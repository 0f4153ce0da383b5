"""
A program: a random tree of agents over every way to run something beside something else.

``python agent_tree.py NODE`` runs the tree that NODE describes as JSON. Nothing in here knows
of tracing but the decorators: no ids are passed, and no settings. `grow` draws a tree.

Forks happen where a careful program has them, before any thread has work to do: beside busy
threads CPython itself locks up now and then. So pools that fork are made as a process begins,
and ``fork`` is only drawn for the children of an agent with a process of its own.

A node is ``{name, way, in_tool, children}``: ``way`` is how its parent starts it, ``in_tool``
whether it starts its children inside a call of a traced tool. A child's name is that of its
parent and a number, so that the record can be checked against the names alone.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool, ThreadPool
from typing import Any

from agenttrace import agent_scope, traced_agent, traced_tool

__all__ = ["WAYS", "grow", "list_nodes"]

Node = dict[str, Any]

LIGHT = ("call", "task", "thread", "thread_pool", "mp_thread_pool")
FORKING = ("fork", "fork_pool", "mp_fork_pool")
STARTING = ("spawn", "spawn_pool", "mp_spawn_pool", "forkserver", "subprocess", "async_subprocess")
WAYS = (*LIGHT, *FORKING, *STARTING)
_DAEMONIC = ("mp_fork_pool", "mp_spawn_pool")
"""A worker of such a pool may have no child processes of multiprocessing."""
_OWN_PROCESS = {*FORKING, *STARTING}
_NOT_IN_DAEMONS = {"fork", "fork_pool", "mp_fork_pool", "spawn", "spawn_pool", "mp_spawn_pool", "forkserver"}


def grow(seed: int, nodes_count: int, starting_count: int = 6) -> Node:
    """
    Draw a tree of *nodes_count* agents.

    Args:
        seed: The same seed gives the same tree.
        starting_count: How many of them may start a Python of their own, which is what takes time.
    """
    draw = random.Random(seed)
    root: Node = {"name": "0", "way": "call", "in_tool": False, "children": []}
    nodes, daemonic = [root], {"0": False}
    while len(nodes) < nodes_count:
        parent = draw.choice(nodes[-8:] if draw.random() < 0.5 else nodes)
        ways = [*LIGHT, *FORKING] + (list(STARTING) * 2 if starting_count > 0 else [])
        if daemonic[parent["name"]]:
            ways = [way for way in ways if way not in _NOT_IN_DAEMONS]
        if parent is not root and parent["way"] not in _OWN_PROCESS:
            ways = [way for way in ways if way != "fork"]
        way = draw.choice(ways)
        starting_count -= way in STARTING
        name = f"{parent['name']}.{len(parent['children'])}"
        child: Node = {"name": name, "way": way, "in_tool": draw.random() < 0.4, "children": []}
        parent["children"].append(child)
        nodes.append(child)
        daemonic[name] = way in _DAEMONIC or (
            daemonic[parent["name"]] and way not in ("subprocess", "async_subprocess")
        )
    return root


def list_nodes(node: Node) -> list[Node]:
    """Give *node* and all below it."""
    return [node, *(one for child in node["children"] for one in list_nodes(child))]


@traced_tool
def touch(name: str) -> str:
    return name


@traced_tool
def delegate(name: str, children: list[Node]) -> None:
    run_children(children)


@traced_tool
async def delegate_async(name: str, children: list[Node]) -> None:
    await run_children_async(children)


def run_node(node: Node) -> None:
    """Be the agent of *node*."""
    with agent_scope(node["name"]):
        touch(node["name"])
        if node["in_tool"]:
            delegate(node["name"], node["children"])
        else:
            run_children(node["children"])
        touch(node["name"])


async def run_node_async(node: Node) -> None:
    """Be the agent of *node*, in a task of its own."""

    @traced_agent(name=node["name"])
    async def run() -> None:
        touch(node["name"])
        await asyncio.sleep(0)
        if node["in_tool"]:
            await delegate_async(node["name"], node["children"])
        else:
            await run_children_async(node["children"])
        touch(node["name"])

    await run()


def run_in_process(node: Node) -> None:
    """Be the agent of *node* in a process of its own; its pools begin before and end after everything."""
    try:
        for way in sorted(list_ways_here(node) & {"fork_pool", "mp_fork_pool"}):
            pool_for(way)
        run_node(node)
    finally:
        close_pools()


def list_ways_here(node: Node) -> set[str]:
    """Give the ways that agents in the process of *node* start their children."""
    ways: set[str] = set()
    for child in node["children"]:
        ways.add(child["way"])
        if child["way"] not in _OWN_PROCESS:
            ways |= list_ways_here(child)
    return ways


def run_children(children: list[Node]) -> None:
    """Start them all, then wait for them all."""
    children = sorted(children, key=lambda child: child["way"] != "fork")
    waits = [start(child) for child in children if child["way"] not in ("task", "async_subprocess")]
    if any(child["way"] in ("task", "async_subprocess") for child in children):
        asyncio.run(run_tasks(children))
    for wait in waits:
        wait()


async def run_children_async(children: list[Node]) -> None:
    """As ``run_children``, from a running event loop."""
    others = [child for child in children if child["way"] not in ("task", "async_subprocess")]
    await asyncio.gather(run_tasks(children), asyncio.to_thread(run_children, others))


async def run_tasks(children: list[Node]) -> None:
    """Run those that are tasks of an event loop."""
    async with asyncio.TaskGroup() as group:
        for child in children:
            if child["way"] == "task":
                group.create_task(run_node_async(child))
            elif child["way"] == "async_subprocess":
                group.create_task(run_subprocess_async(child))


async def run_subprocess_async(child: Node) -> None:
    process = await asyncio.create_subprocess_exec(*command_for(child))
    assert await process.wait() == 0


def command_for(child: Node) -> list[str]:
    return [sys.executable, __file__, json.dumps(child)]


def start(child: Node) -> Callable[[], Any]:
    """Start *child* its way; gives what waits for its end."""
    way = child["way"]
    if way == "call":
        run_node(child)
        return lambda: None
    if way == "thread":
        thread = threading.Thread(target=run_node, args=(child,))
        thread.start()
        return thread.join
    if way == "thread_pool":
        return pool_for(way).submit(run_node, child).result
    if way == "mp_thread_pool":
        return pool_for(way).apply_async(run_node, (child,)).get
    if way in ("fork_pool", "spawn_pool"):
        return pool_for(way).submit(run_in_process, child).result
    if way in ("mp_fork_pool", "mp_spawn_pool"):
        return pool_for(way).map_async(run_in_process, [child]).get
    if way == "subprocess":
        started = subprocess.Popen(command_for(child))
        return lambda: expect(started.wait())
    process = multiprocessing.get_context(way).Process(target=run_in_process, args=(child,))
    process.start()
    return lambda: (process.join(), expect(process.exitcode))


def expect(code: int | None) -> None:
    assert code == 0, code


_pools: dict[tuple[int, str], Any] = {}
_making = {os.getpid(): threading.Lock()}


def pool_for(way: str) -> Any:
    """Give the one pool of this process for *way*: its workers serve many agents."""
    with _making.setdefault(os.getpid(), threading.Lock()):
        key = (os.getpid(), way)
        if key not in _pools:
            _pools[key] = make_pool(way)
        return _pools[key]


def make_pool(way: str) -> Executor | Pool:
    if way == "thread_pool":
        return ThreadPoolExecutor(32)
    if way == "mp_thread_pool":
        return ThreadPool(32)
    context = multiprocessing.get_context("fork" if "fork" in way else "spawn")
    if way.startswith("mp_"):
        return context.Pool(1)
    executor = ProcessPoolExecutor(1, mp_context=context)
    executor.submit(os.getpid).result()  # now its worker is there
    return executor


def close_pools() -> None:
    """Let the pools of this process end in order."""
    for pid, way in list(_pools):
        if pid == os.getpid():
            pool = _pools.pop((pid, way))
            if isinstance(pool, Executor):
                pool.shutdown()
            else:
                pool.close()
                pool.join()


if __name__ == "__main__":
    run_in_process(json.loads(sys.argv[1]))
