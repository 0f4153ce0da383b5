"""
A program that does with child processes what programs do, and prints what came of it.

``python transparency_program.py METHOD``: the outcome is the same whether tracing is on or off.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from agenttrace import agent_scope, traced_tool

started_with: list[int] = []


def double(number: int) -> int:
    return number * 2


def add(first: int, second: int = 0, *, func: int = 0) -> int:
    return first + second + func


def fail(number: int = 0) -> None:
    error = LookupError("nothing there", number)
    error.add_note("a note")
    raise error


def give_unpicklable() -> Any:
    return lambda: 1


def begin(value: int) -> None:
    started_with.append(value)


def fail_to_begin() -> None:
    raise RuntimeError("no")


def read_begun() -> list[int]:
    return started_with


def leave(code: int) -> None:
    os._exit(code)


def exit_with(code: Any) -> None:
    sys.exit(code)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def describe_self() -> tuple[str, bool]:
    process = multiprocessing.current_process()
    return process.name, process.daemon


def count_down() -> Iterator[int]:
    yield 2
    yield 1
    raise ArithmeticError("the iterator broke")


def normalize(text: str) -> str:
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"(pid=|parent=|PoolWorker-|Process-)[\d:]+", r"\1N", text)


def describe(exc: BaseException) -> list[Any]:
    cause = exc.__cause__
    return [
        type(exc).__name__,
        normalize(str(exc)),
        sorted(set(vars(exc)) - {"__agenttrace_error__"}),
        None if cause is None else [type(cause).__name__, normalize(str(cause))],
    ]


def outcome(call: Callable[[], Any]) -> Any:
    """Give what *call* gives, or describe what it raises."""
    try:
        return call()
    except Exception as exc:
        return describe(exc)


def try_executor(context: Any) -> Iterator[tuple[str, Any]]:
    """What ``ProcessPoolExecutor`` does."""
    with ProcessPoolExecutor(1, mp_context=context, initializer=begin, initargs=(7,)) as executor:
        yield "result", outcome(lambda: executor.submit(add, 1, second=2, func=3).result())
        yield "partial", outcome(lambda: executor.submit(partial(add, 1), 4).result())
        yield "builtin", outcome(lambda: executor.submit(len, "abc").result())
        yield "initializer", outcome(lambda: executor.submit(read_begun).result())
        yield "map", outcome(lambda: list(executor.map(add, range(5), range(5), chunksize=2)))
        yield "map error", outcome(lambda: list(executor.map(fail, [1, 2])))
        yield "error", outcome(lambda: executor.submit(fail, 3).result())
        yield "lambda", outcome(lambda: executor.submit(lambda: 1).result())
        yield "lambda argument", outcome(lambda: executor.submit(add, lambda: 1).result())
        yield "not callable", outcome(lambda: executor.submit(5).result())
        yield "nothing", outcome(lambda: executor.submit())
        yield "unpicklable result", outcome(lambda: executor.submit(give_unpicklable).result())
        yield "after all", outcome(lambda: executor.submit(double, 4).result())
    yield "closed", outcome(lambda: executor.submit(double, 4))
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        yield "died", outcome(lambda: executor.submit(leave, 3).result())
    if context.get_start_method() != "fork":
        with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as executor:
            yield "max tasks", len({executor.submit(os.getpid).result() for _ in range(2)})


def try_pool(context: Any) -> Iterator[tuple[str, Any]]:
    """What ``multiprocessing.Pool`` does."""
    with context.Pool(1, begin, (7,), maxtasksperchild=20) as pool:
        yield "apply", outcome(lambda: pool.apply(add, (1,), {"func": 2}))
        yield "keyword", outcome(lambda: pool.apply_async(func=double, args=(2,)).get())
        yield "map", outcome(lambda: pool.map(double, range(5), chunksize=2))
        yield "starmap", outcome(lambda: pool.starmap(add, [(1, 2), (3, 4)]))
        yield "imap", outcome(lambda: list(pool.imap(double, iter(range(3)))))
        yield "imap chunks", outcome(lambda: list(pool.imap(double, range(5), chunksize=2)))
        yield "imap unordered", outcome(lambda: sorted(pool.imap_unordered(double, range(3))))
        yield "initializer", outcome(lambda: pool.apply(read_begun))
        yield "error", outcome(lambda: pool.apply(fail, (1,)))
        yield "map error", outcome(lambda: pool.map(fail, [1]))
        yield "iterator", outcome(lambda: list(pool.imap(double, count_down())))
        yield "no iterable", outcome(lambda: list(pool.imap(double, 5)))
        yield "lambda", outcome(lambda: pool.apply(lambda: 1))
        yield "not callable", outcome(lambda: pool.apply(5))
        yield "nothing", outcome(lambda: pool.apply_async())
        yield "unpicklable result", outcome(lambda: pool.apply(give_unpicklable))
        told: list[Any] = []
        done = threading.Event()

        def hear(value: Any) -> None:
            told.append(describe(value) if isinstance(value, BaseException) else value)
            done.set()

        for function in (double, fail):
            done.clear()
            pool.apply_async(function, (1,), callback=hear, error_callback=hear)
            done.wait(30)
        yield "callbacks", told
        pool.close()
        pool.join()
    with context.Manager() as manager:
        shared, numbers = manager.dict(a=1), manager.list([1, 2])
        shared["b"] = numbers[1]
        yield "manager", [dict(shared), list(numbers), outcome(lambda: shared["c"])[:2]]


def try_processes(context: Any) -> Iterator[tuple[str, Any]]:
    """What ``Process`` does."""

    def run(target: Any, *args: Any, **given: Any) -> list[Any]:
        process = context.Process(target=target, args=args, **given)
        process.start()
        process.join()
        shown = [process.exitcode, process.name, process.daemon, repr(process), sorted(process._config)]
        return [normalize(part) if isinstance(part, str) else part for part in shown]

    yield "returns", outcome(lambda: run(double, 1, name="mine", daemon=True))
    yield "raises", outcome(lambda: run(fail, 1))
    yield "exits", outcome(lambda: run(exit_with, 3))
    yield "says", outcome(lambda: run(exit_with, "a text"))
    yield "leaves", outcome(lambda: run(leave, 7))
    yield "is killed", outcome(lambda: run(kill_self))
    yield "lambda", outcome(lambda: run(give_unpicklable()))
    reading, writing = context.Pipe(duplex=False)
    yield "names", [run(writing.send, describe_self(), name="x")[0], reading.recv()]


def try_subprocesses() -> Iterator[tuple[str, Any]]:
    """What ``subprocess`` does."""
    show = "import os; print(sorted((k, v) for k, v in os.environ.items() if not k.startswith('AGENTTRACE')))"
    command = [sys.executable, "-c", show]
    # A variable that Python sets itself from the locale shows in both ways.
    yield "no env", outcome(lambda: subprocess.check_output(command, text=True))
    yield "env", outcome(lambda: subprocess.check_output(command, env={"A": "1", "EMPTY": ""}, text=True))
    yield "empty env", outcome(lambda: subprocess.check_output(command, env={}, text=True))
    odd = {b"\xff": "\udcfe", "b": b"c"}
    yield "odd env", outcome(lambda: subprocess.check_output(command, env=odd).decode())
    for name, env in {
        "number": 5,
        "numbers": {1: 2},
        "equals": {"A=B": "x"},
        "nul": {"A": "\0"},
        "surrogate": {"A": "\ud800"},
        "pairs": [("A", "1")],
    }.items():
        yield f"env {name}", outcome(lambda env=env: subprocess.check_output(command, env=env))
    yield "bare", outcome(lambda: subprocess.check_output(["env", "-i", "sh", "-c", "echo $0"], text=True))
    yield "not there", outcome(lambda: subprocess.run(["/no/such/program"]))
    yield "not here", outcome(lambda: subprocess.run(["no-such-program"], env={"PATH": "/nowhere"}))
    yield "no folder", outcome(lambda: subprocess.run(["true"], cwd="/no/such/folder"))
    yield "fails", outcome(lambda: subprocess.run(["false"], check=True))
    yield "nothing", outcome(lambda: subprocess.Popen())
    yield "times out", outcome(lambda: subprocess.run(["sleep", "30"], timeout=0.01))[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subprocess.run(["true"], text=True)
    yield "warned", [[str(one.message), os.path.basename(one.filename)] for one in caught]


@traced_tool
def use_agenttrace() -> None:
    """Have something recorded, so that the recorder runs."""


def main(method: str) -> None:
    """Print the outcome of everything."""
    results: dict[str, Any] = {}
    with agent_scope("root"):
        use_agenttrace()
        if method == "subprocess":
            results.update(try_subprocesses())
        else:
            context = multiprocessing.get_context(method)
            for trial in (try_executor, try_pool, try_processes):
                results.update({f"{trial.__name__} {name}": value for name, value in trial(context)})
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
