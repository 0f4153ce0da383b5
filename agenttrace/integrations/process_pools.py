"""
Pools of processes: each task runs in the scope of the code that handed it in.

Covers ``ProcessPoolExecutor``, ``multiprocessing.Pool`` and ``ThreadPool``. Invariants: what
is pickled is the user's function in a ``functools.partial``, with the scope beside it as a
plain dict, so that a worker without agenttrace runs the task all the same; and no frame of
ours stands between worker and task, so that the text of a remote traceback stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, cast

from agenttrace.capture.context import CURRENT, SWITCH, Operation
from agenttrace.capture.elsewhere import expect_call, is_asked_for, send_call
from agenttrace.capture.propagation import pack_scope, run_in_scope, unpack_scope
from agenttrace.errors import contained
from agenttrace.integrations.patching import Patch

__all__ = ["build_executor_patches", "build_pool_patches", "carry", "scope_of"]

_KEY = "_agenttrace_scope"
_CALL = "_agenttrace_call"


def build_executor_patches(process: ModuleType) -> list[Patch]:
    """Give the patches of the module ``concurrent.futures.process``."""
    return [
        Patch(process, "_process_worker", functools.partial(_build_worker, lambda item: item.fn)),
        Patch(process.ProcessPoolExecutor, "submit", _build_submit),
    ]


def build_pool_patches(pool: ModuleType) -> list[Patch]:
    """Give the patches of the module ``multiprocessing.pool``."""
    return [
        Patch(pool, "worker", functools.partial(_build_worker, lambda task: task[2])),
        Patch(pool.Pool, "apply_async", _build_submit),
        Patch(pool.Pool, "_guarded_task_generation", _build_generation),
        Patch(pool.ApplyResult, "__init__", _build_result),
    ]


class _Task(functools.partial[Any]):
    """A function with the scope beside it; elsewhere a plain ``partial`` with the scope's ids beside it."""

    def __reduce__(self) -> tuple[Any, ...]:
        scope, call = self.__dict__[_KEY], self.__dict__.pop(_CALL, None)
        ids = pack_scope(scope)
        if ids and call is not None:
            ids.update(send_call(scope, self.func, *call))
        beside = {_KEY: ids}
        return functools.partial, (self.func,), (self.func, self.args, self.keywords, beside)


def carry(function: Any, args: tuple[Any, ...] | None = None, kwargs: Mapping[str, Any] | None = None) -> Any:
    """
    Give *function* with the current scope, also none, beside it; what is not callable stays as it is.

    Args:
        args: What it will be called with, where that is known.
    """
    if not SWITCH or not callable(function):
        return function
    task = _Task(function)
    task.__dict__[_KEY] = scope = CURRENT.get()
    if args is not None and is_asked_for(scope):
        task.__dict__[_CALL] = (args, kwargs or {})
    return task


def scope_of(function: Any) -> Operation | None:
    """Give the scope that stands beside a task's function; None where none does."""
    if not isinstance(function, functools.partial):
        return None
    scope = function.__dict__.get(_KEY)
    if isinstance(function, _Task):
        return cast("Operation | None", scope)
    if not isinstance(scope, dict):
        return None
    operation = unpack_scope(scope)
    if operation is not None:
        expect_call(operation, scope)
    return operation


def _build_submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(submit)
    def submit_with_scope(*args: Any, **kwargs: Any) -> Any:
        if len(args) > 1:
            args = (args[0], carry(args[1], *_arguments_of(submit, args[2:], kwargs)), *args[2:])
        elif "func" in kwargs:
            kwargs = {**kwargs, "func": carry(kwargs["func"])}
        return submit(*args, **kwargs)

    return submit_with_scope


def _arguments_of(
    submit: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...] | None, Mapping[str, Any]]:
    """Give what a task's function is called with: ``submit`` passes it on, ``apply_async`` holds it."""
    if submit.__name__ == "submit":
        return args, kwargs
    inside = args[0] if args else kwargs.get("args", ())
    named = args[1] if len(args) > 1 else kwargs.get("kwds", {})
    return (inside if isinstance(inside, tuple) else None), (named if isinstance(named, dict) else {})


def _build_generation(generate: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(generate)
    def generate_with_scope(self: Any, result_job: Any, func: Any, iterable: Iterable[Any]) -> Any:
        if SWITCH:
            # A pool reads an iterator in a thread of its own.
            return generate(self, result_job, carry(func), _iterate_in_scope(CURRENT.get(), iterable))
        return generate(self, result_job, func, iterable)

    return generate_with_scope


def _iterate_in_scope(scope: Operation | None, iterable: Iterable[Any]) -> Iterator[Any]:
    iterator = run_in_scope(scope, iter, iterable)
    end = object()
    while (item := run_in_scope(scope, next, iterator, end)) is not end:
        yield item


def _build_result(init: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(init)
    def init_with_scope(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if SWITCH:
            scope = CURRENT.get()
            for name in ("_callback", "_error_callback"):
                callback = getattr(self, name, None)
                if callback is not None:
                    setattr(self, name, functools.partial(run_in_scope, scope, callback))

    return init_with_scope


def _build_worker(function_of: Callable[[Any], Any], worker: Callable[..., Any]) -> Callable[..., Any]:
    # Under its own name: a child process that is spawned finds it by that, patched or not.
    @functools.wraps(worker)
    def work_in_scopes(queue: Any, *args: Any, **kwargs: Any) -> Any:
        return worker(_ScopedQueue(queue, function_of), *args, **kwargs)

    return work_in_scopes


class _ScopedQueue:
    """The queue a worker takes its tasks from; taking one enters its scope, until the next is waited for."""

    def __init__(self, queue: Any, function_of: Callable[[Any], Any]) -> None:
        self._queue = queue
        self._function_of = function_of
        self._own = CURRENT.get()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the next task."""
        CURRENT.set(self._own)
        task = self._queue.get(*args, **kwargs)
        if task is not None:
            with contained("integrations.task_scope"):
                CURRENT.set(None)
                CURRENT.set(scope_of(self._function_of(task)))
        return task
