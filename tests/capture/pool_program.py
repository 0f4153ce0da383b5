"""A loop whose tools run in a pool of processes; the tests of asked calls run it as a script."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from agenttrace import agent_scope, model_turn, traced_tool
from tests.capture.loops import FORMS, Chat, Request, Result


@traced_tool
def look(at: str, depth: int = 1) -> str:
    if at == "bad":
        raise ValueError("the printer is out of paper")
    return f"seen {at}"


def plain(at: str) -> str:
    return f"did {at}"


def main(kind: str, method: str) -> None:
    """Make five asked calls, in the pool *kind* of processes that are started by *method*."""
    context: Any = multiprocessing.get_context(method)
    pool: Any = ProcessPoolExecutor(2, context) if kind == "executor" else context.Pool(2)

    def run(function: Any, *args: Any, **kwargs: Any) -> Any:
        if kind == "executor":
            return pool.submit(function, *args, **kwargs).result()
        return pool.apply_async(function, args, kwargs).get()

    with agent_scope("a"), pool:
        chat = Chat(model_turn, FORMS["anthropic"], ["look", "plain"])
        chat.ask(
            Request("c1", "look", {"at": "x"}),
            Request("c2", "look", {"at": "bad"}),
            Request("c3", "plain", {"at": "y"}),
            Request("c4", "look", {"at": "z"}),
            Request("c5", "look", {"at": "z"}),
        )
        first = run(look, "x", depth=2)
        try:
            second, failed = run(look, "bad"), False
        except ValueError as exc:
            second, failed = f"Error: {exc}", True
        results = [Result("c1", first), Result("c2", second, failed), Result("c3", run(plain, "y"))]
        chat.tell(*results, Result("c4", look("z")), Result("c5", run(look, at="z")))
        chat.ask()


if __name__ == "__main__":
    main(*sys.argv[1:])
