"""
Programs as data: ways to lose an exception, and ways to use one that lose nothing.

Each function is a whole program, run inside one traced operation. In a way to lose one, the
line that catches bears the mark ``# caught``, where there is such a line; where there is
none, because C code or a future takes the exception, the decorator says who finds it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import copy
import enum
import functools
import gc
import importlib
import inspect
import io
import json
import logging
import os
import pathlib
import queue
import re
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from agenttrace import bind, traced_tool

__all__ = ["INNOCENT", "RECORDED_ALL_THE_SAME", "SWALLOWING", "Idiom", "Lost"]


class Lost(Exception):
    """What gets lost."""


class Other(Exception):
    """What is raised instead."""


class Idiom(NamedTuple):
    """One program."""

    name: str
    run: Callable[[], Any]
    found_by: str
    """``handler``: at the marked lines. ``rows``: a failed call inside one that ended well."""

    def lines(self) -> list[int]:
        """Give the numbers of the marked lines, in order."""
        source, first = inspect.getsourcelines(self.run)
        return [first + number for number, line in enumerate(source) if line.rstrip().endswith("# caught")]


SWALLOWING: list[Idiom] = []
INNOCENT: list[Idiom] = []
RECORDED_ALL_THE_SAME = {"parsing_probe", "asserting_that_it_raises"}
"""Nothing in the program tells these two from a loss."""


def swallowing(found_by: str = "handler") -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(run: Callable[[], Any]) -> Callable[[], Any]:
        SWALLOWING.append(Idiom(run.__name__, run, found_by))
        return run

    return register


def innocent(run: Callable[[], Any]) -> Callable[[], Any]:
    INNOCENT.append(Idiom(run.__name__, run, "nobody"))
    return run


def fail(text: str = "gone") -> Any:
    raise Lost(text)


@traced_tool
def failing_tool() -> Any:
    raise Lost("the tool failed")


@traced_tool
async def failing_async_tool() -> Any:
    await asyncio.sleep(0)
    raise Lost("the tool failed")


# ---------------------------------------------------------------- 40 ways to lose an exception


@swallowing()
def except_pass() -> None:
    try:
        fail()
    except Lost:  # caught
        pass


@swallowing()
def except_exception() -> None:
    try:
        raise Lost("here")
    except Exception:  # caught
        ...


@swallowing()
def bare_except() -> None:
    try:
        fail()
    except:  # noqa: E722  # caught
        pass


@swallowing()
def except_base_exception() -> None:
    try:
        fail()
    except BaseException:  # caught
        pass


@swallowing()
def third_of_three_clauses() -> None:
    try:
        fail()
    except (OSError, ValueError):
        pass
    except TimeoutError:
        pass
    except Lost:  # caught
        pass
    else:
        raise AssertionError


@swallowing()
def one_of_a_tuple() -> None:
    try:
        fail()
    except (  # caught
        OSError,
        Lost,
    ):
        pass


@swallowing()
def types_from_a_variable() -> None:
    kinds = (OSError, Lost)
    try:
        fail()
    except kinds:  # caught
        pass


@swallowing()
def error_as_text() -> str:
    try:
        return str(fail())
    except Exception as exc:  # caught
        return f"Error: {exc}"


@swallowing()
def default_instead() -> dict[str, Any]:
    def load() -> dict[str, Any]:
        try:
            return dict(fail())
        except Lost:  # caught
            return {}

    return load()


@swallowing()
def logged() -> None:
    log = logging.Logger("idiom")
    log.addHandler(logging.StreamHandler(io.StringIO()))
    try:
        fail()
    except Lost:  # caught
        log.exception("it failed")


@swallowing()
def traceback_printed() -> None:
    try:
        fail()
    except Lost:  # caught
        traceback.print_exc(file=io.StringIO())


@swallowing()
def suppress() -> None:
    with contextlib.suppress(OSError, Lost):  # caught
        fail()


@swallowing()
def exit_returns_true() -> None:
    class Calm:
        def __enter__(self) -> None: ...

        def __exit__(self, *failure: object) -> bool:
            return True

    with Calm():  # caught
        fail()


@swallowing()
def exit_stack() -> None:
    with contextlib.ExitStack() as stack:  # caught
        stack.enter_context(contextlib.suppress(Lost))
        stack.enter_context(io.StringIO())
        fail()


@swallowing()
def second_of_two_managers() -> None:
    with contextlib.nullcontext(), contextlib.suppress(Lost):  # caught
        fail()


@swallowing()
def context_manager_function() -> None:
    @contextlib.contextmanager
    def calm() -> Iterator[None]:
        try:
            yield
        except Lost:  # caught
            pass

    with calm():
        fail()


@swallowing()
def return_in_finally() -> int:
    def answer() -> int:
        try:
            fail()
        finally:
            return 42  # noqa: B012  # caught

    return answer()


@swallowing()
def break_in_finally() -> None:
    while True:
        try:
            fail()
        finally:
            break  # noqa: B012  # caught


@swallowing()
def continue_in_finally() -> None:
    for number in range(2):
        try:
            if number == 0:
                fail()
        finally:
            continue  # noqa: B012  # caught


@swallowing()
def loop_goes_on() -> list[int]:
    done = []
    for number in range(3):
        try:
            if number == 1:
                fail(f"item {number}")
            done.append(number)
        except Lost:  # caught
            continue
    return done


@swallowing()
def retried_by_hand() -> str:
    answers = iter([Lost("first"), "ready"])
    while True:
        try:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)
        except Lost:  # caught
            pass


@swallowing()
def raised_again_then_lost() -> None:
    try:
        try:
            fail()
        except Lost:
            raise
    except Lost:  # caught
        pass


@swallowing()
def translated_then_lost() -> None:
    try:
        try:
            fail()
        except Lost as exc:
            raise Other("instead") from exc
    except Other:  # caught
        pass


@swallowing()
def lost_while_cleaning_up() -> None:
    def clean_up() -> None:
        raise Other("clean-up")

    try:
        fail()
    except Lost:  # caught
        try:
            clean_up()
        except Other:  # caught
            pass


@swallowing()
def kept_in_a_list() -> list[Exception]:
    errors: list[Exception] = []
    try:
        fail()
    except Lost as exc:  # caught
        errors.append(exc)
    return errors


@swallowing()
def passing_through_finally_and_with() -> None:
    def inner() -> None:
        try:
            with io.StringIO():
                fail()
        finally:
            repr(0)

    try:
        inner()
    except OSError:
        pass
    except Lost:  # caught
        pass
    finally:
        repr(0)


@swallowing()
def by_a_decorator() -> None:
    def never_fails(function: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def call() -> Any:
            try:
                return function()
            except Exception:  # caught
                return None

        return call

    @never_fails
    def work() -> None:
        fail()

    work()


@swallowing()
def in_a_callback() -> list[int]:
    def key(number: int) -> int:
        try:
            return int(fail()) if number == 2 else number
        except Lost:  # caught
            return 0

    return sorted([3, 1, 2], key=key)


@swallowing()
def except_star() -> None:
    try:
        raise ExceptionGroup("both", [Lost("one"), Other("two")])
    except* Lost:  # caught
        pass
    except* Other:  # caught
        pass


@swallowing()
def group_as_one() -> None:
    try:
        raise ExceptionGroup("one inside", [Lost("one")])
    except ExceptionGroup:  # caught
        pass


@swallowing()
def in_a_generator() -> list[int]:
    def numbers() -> Iterator[int]:
        for number in range(3):
            try:
                if number == 1:
                    fail()
                yield number
            except Lost:  # caught
                yield -1

    return list(numbers())


@swallowing()
def thrown_into_a_generator() -> None:
    def patient() -> Iterator[int]:
        try:
            yield 1
        except Lost:  # caught
            yield 2

    generator = patient()
    next(generator)
    generator.throw(Lost("thrown"))  # type: ignore[attr-defined]


@swallowing()
def in_a_coroutine() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        fail()

    async def main() -> None:
        try:
            await work()
        except Lost:  # caught
            pass

    asyncio.run(main())


@swallowing()
def in_an_async_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            try:
                if number == 1:
                    fail()
                yield number
            except Lost:  # caught
                yield -1

    async def main() -> None:
        assert [number async for number in numbers()] == [0, -1, 2]

    asyncio.run(main())


@swallowing()
def by_an_async_manager() -> None:
    class Calm:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *failure: object) -> bool:
            await asyncio.sleep(0)
            return True

    async def main() -> None:
        async with Calm():  # caught
            fail()

    asyncio.run(main())


@swallowing()
def awaited_task() -> None:
    async def work() -> None:
        fail()

    async def main() -> None:
        task = asyncio.ensure_future(work())
        try:
            await task
        except Lost:  # caught
            pass

    asyncio.run(main())


@swallowing()
def in_a_thread() -> None:
    def work() -> None:
        try:
            fail()
        except Lost:  # caught
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@swallowing()
def result_of_a_pool() -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fail)
        try:
            future.result()
        except Lost:  # caught
            pass


@swallowing()
def in_a_finaliser() -> None:
    class Resource:
        def __del__(self) -> None:
            try:
                fail()
            except Lost:  # caught
                pass

    Resource()
    gc.collect()


@swallowing()
def failed_tool() -> None:
    try:
        failing_tool()
    except Lost:  # caught
        pass


@swallowing()
def failed_tool_translated_then_lost() -> None:
    try:
        try:
            failing_tool()
        except Lost as exc:
            raise Other("instead") from exc
    except Other:  # caught
        pass


@swallowing("rows")
def gather_returns_exceptions() -> None:
    async def main() -> None:
        await asyncio.gather(failing_async_tool(), return_exceptions=True)

    asyncio.run(main())


@swallowing("rows")
def exception_of_a_future() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(bind(failing_tool)).exception() is not None


@swallowing("rows")
def asyncio_wait() -> None:
    async def main() -> None:
        done, _ = await asyncio.wait([asyncio.ensure_future(failing_async_tool())])
        assert [task.exception() for task in done]

    asyncio.run(main())


@swallowing("rows")
def lost_task() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        tasks = {asyncio.ensure_future(failing_async_tool())}
        await asyncio.sleep(0.001)
        tasks.clear()
        gc.collect()

    asyncio.run(main())


@swallowing("rows")
def death_of_a_thread() -> None:
    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        thread = threading.Thread(target=bind(failing_tool))
        thread.start()
        thread.join()
    finally:
        threading.excepthook = hook


@swallowing("rows")
def dropped_future() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(bind(failing_tool))


@swallowing()
def by_a_framework() -> None:
    # A file of another package: an exception that left a traced call is followed there too.
    source = "def run(tool):\n    try:\n        tool()\n    except Exception:\n        pass\n"
    names: dict[str, Any] = {}
    exec(compile(source, os.path.join("/opt", "site-packages", "framework.py"), "exec"), names)
    names["run"](failing_tool)  # line 4 of the framework's file


# ---------------------------------------------------------------- 40 uses that lose nothing


@innocent
def missing_key() -> Any:
    table: dict[str, int] = {}
    try:
        return table["a"]
    except KeyError:
        return 0


@innocent
def missing_attribute() -> Any:
    try:
        return "text".no_such_thing  # type: ignore[attr-defined]
    except AttributeError:
        return None


@innocent
def has_attribute() -> Any:
    class Shy:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    return hasattr(Shy(), "a"), getattr(Shy(), "b", None)


@innocent
def missing_module() -> Any:
    try:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return None


@innocent
def missing_module_by_name() -> Any:
    try:
        return importlib.import_module("no_such_module")
    except ModuleNotFoundError:
        return None


@innocent
def missing_variable() -> Any:
    try:
        return os.environ["NO_SUCH_VARIABLE"]
    except KeyError:
        return os.environ.get("NO_SUCH_VARIABLE")


@innocent
def missing_member() -> Any:
    class Colour(enum.Enum):
        RED = 1

    try:
        return Colour["BLUE"]
    except KeyError:
        return Colour.RED


@innocent
def missing_by_a_method() -> Any:
    class Shop:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def __getitem__(self, name: str) -> Any:
            raise KeyError(name)

    try:
        return Shop().apples
    except AttributeError:
        pass
    try:
        return Shop()["apples"]
    except KeyError:
        return 0


@innocent
def mapping_with_missing() -> Any:
    class Table(dict[str, int]):
        def __missing__(self, key: str) -> int:
            return 0

    return Table()["a"], Table().get("b")


@innocent
def exhausted_iterator() -> Any:
    try:
        next(iter([]))
    except StopIteration:
        return next(iter([]), None)


@innocent
def iterator_class() -> Any:
    class Count:
        left = 3

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

    return list(Count()), sum(Count())


@innocent
def old_sequence_protocol() -> Any:
    class Old:
        def __getitem__(self, number: int) -> int:
            if number > 2:
                raise IndexError(number)
            return number

    return list(Old())  # type: ignore[call-overload]


@innocent
def generator_returns() -> Any:
    def inner() -> Any:
        yield 1
        return 2

    def outer() -> Any:
        yield (yield from inner())

    return list(outer())


@innocent
def closed_generator() -> None:
    def numbers() -> Iterator[int]:
        try:
            yield 1
            yield 2
        except GeneratorExit:
            return

    generator = numbers()
    next(generator)
    generator.close()  # type: ignore[attr-defined]


@innocent
def async_iteration() -> None:
    class Count:
        left = 2

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    async def main() -> None:
        async for _ in Count():
            pass
        try:
            await Count().__anext__()
            exhausted = Count()
            exhausted.left = 0
            await exhausted.__anext__()
        except StopAsyncIteration:
            pass

    asyncio.run(main())


@innocent
def cancelled_task() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    asyncio.run(main())


@innocent
def cancelled_with_clean_up() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


@innocent
def timeout_that_does_not_come() -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await asyncio.wait_for(asyncio.sleep(0), 60)

    asyncio.run(main())


@innocent
def interrupt_ends_a_loop() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass


@innocent
def exit_code_read() -> Any:
    try:
        raise SystemExit(2)
    except SystemExit as exc:
        return exc.code


@innocent
def raised_again() -> None:
    try:
        fail()
    except Lost:
        raise


@innocent
def raised_again_by_name() -> None:
    try:
        fail()
    except Lost as exc:
        exc.add_note("seen")
        raise exc


@innocent
def raised_again_without_traceback() -> None:
    try:
        raise Lost("here")
    except Lost as exc:
        raise exc.with_traceback(None)  # noqa: B904


@innocent
def translated() -> None:
    try:
        fail()
    except Lost as exc:
        raise Other("instead") from exc


@innocent
def translated_from_none() -> None:
    try:
        fail()
    except Lost:
        raise Other("instead") from None


@innocent
def raised_after_the_handler() -> None:
    failure: Lost | None = None
    try:
        fail()
    except Lost as exc:
        failure = exc
    assert failure is not None
    raise failure


@innocent
def last_of_several_attempts() -> None:
    def attempt() -> None:
        for number in range(3):
            try:
                fail()
            except Lost:
                if number == 0:
                    raise

    attempt()


@innocent
def through_finally() -> None:
    try:
        try:
            fail()
        finally:
            repr(0)
    finally:
        repr(0)


@innocent
def through_with() -> None:
    with io.StringIO(), tempfile.TemporaryFile(), threading.Lock():
        fail()


@innocent
def through_an_exit_stack() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(io.StringIO())
        stack.callback(str)
        fail()


@innocent
def through_a_context_manager_function() -> None:
    @contextlib.contextmanager
    def tidy() -> Iterator[None]:
        try:
            yield
        except Lost:
            repr(0)
            raise
        finally:
            repr(0)

    with tidy():
        fail()


@innocent
def through_a_suppress_of_others() -> None:
    with contextlib.suppress(OSError):
        fail()


@innocent
def through_clauses_that_do_not_match() -> None:
    try:
        fail()
    except OSError:
        pass
    except (ValueError, TypeError):
        pass


@innocent
def through_except_star() -> None:
    try:
        raise ExceptionGroup("both", [Lost("one")])
    except* OSError:
        pass


@innocent
def group_of_tasks() -> None:
    async def work() -> None:
        fail()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())

    asyncio.run(main())


@innocent
def through_a_coroutine() -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        fail()

    async def main() -> None:
        async with contextlib.AsyncExitStack():
            await inner()

    asyncio.run(main())


@innocent
def inside_the_standard_library() -> Any:
    pathlib.Path("no\0such").exists()
    re.compile("a|b{2,3}")
    ast.literal_eval("{'a': [1, -2]}")
    json.loads('{"a": [1, 2.5, null]}')
    return copy.deepcopy({"a": [object(), str]})


@innocent
def inside_other_packages() -> Any:
    from hypothesis import strategies

    return repr(strategies.integers().map(str))


@innocent
def empty_queue() -> Any:
    waiting: queue.Queue[int] = queue.Queue()
    try:
        waiting.get_nowait()
    except queue.Empty:
        pass
    try:
        asyncio.Queue[int]().get_nowait()
    except asyncio.QueueEmpty:
        pass


@innocent
def cached_property() -> Any:
    class Box:
        @functools.cached_property
        def value(self) -> int:
            return 1

    return Box().value


@innocent
def never_raised() -> Any:
    failure = Lost("made, not raised")
    return [failure, isinstance(failure, Exception), str(failure)]


@innocent
def parsing_probe() -> Any:
    try:
        return int("twelve")
    except ValueError:
        return "twelve"


@innocent
def asserting_that_it_raises() -> None:
    import pytest

    with pytest.raises(Lost):
        fail()
