"""Functions traced by their names: which ones, and that nothing else changes."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace.capture.decorator import tracer_of
from agenttrace.errors import ConfigError
from agenttrace.integrations import by_name
from agenttrace.integrations.patterns import parse_patterns
from agenttrace.testing import memory_recorder
from tests.reading import query, run_python

TOOLS = '''
"""Words of the module."""

from __future__ import annotations

import functools


def search(query: str) -> list[str]:
    """Find."""
    return ["hit", query]


async def fetch(url):
    return url


def count_to(n):
    for number in range(n):
        yield number


def _hidden():
    return "hidden"


if True:
    def search_again(query):
        return search(query)


@functools.lru_cache
def cached(x):
    return x * 2


class Client:
    """A client."""

    limit = 3

    def get(self, key):
        return key

    @staticmethod
    def make(key):
        return key

    @classmethod
    def build(cls, key):
        return cls.__name__

    @property
    def size(self):
        return 7

    class Inner:
        def deep(self):
            return "deep"


def outer():
    def inside():
        return 1
    return inside


TABLE = {"search": search, "upper": str.upper}
from os.path import join
lines = len
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Write a package ``shop`` with a module ``tools``, and import it traced by patterns."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def load(*patterns: str, source: str = TOOLS, name: str = "shop.tools") -> Any:
        (folder / f"{name.rpartition('.')[2]}.py").write_text(source)
        importlib.invalidate_caches()
        for known in [one for one in sys.modules if one.partition(".")[0] == "shop"]:
            del sys.modules[known]
        by_name.follow(patterns)
        return importlib.import_module(name)

    yield load
    by_name.stop()
    for known in [one for one in sys.modules if one.partition(".")[0] == "shop"]:
        del sys.modules[known]


def traced(module: Any) -> set[str]:
    """Give the qualified names of what is traced in a module."""
    found = {name for name, value in vars(module).items() if tracer_of(value) is not None}
    waiting = [(name, value) for name, value in vars(module).items() if isinstance(value, type)]
    while waiting:
        prefix, owner = waiting.pop()
        for name in vars(owner):
            value = inspect.getattr_static(owner, name)
            if isinstance(value, type):
                waiting.append((f"{prefix}.{name}", value))
            elif not isinstance(value, property):
                bound = getattr(owner, name)
                if any(tracer_of(one) is not None for one in (bound, getattr(bound, "__func__", None))):
                    found.add(f"{prefix}.{name}")
    return found


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("shop.tools:*", {"search", "fetch", "count_to", "search_again", "cached", "outer"}),
            ("shop.*:search*", {"search", "search_again"}),
            ("*:f?tch", {"fetch"}),
            ("shop.tools:_*", {"_hidden"}),
            ("shop.tools:Client.*", {"Client.get", "Client.make", "Client.build"}),
            ("shop.tools:*.get", {"Client.get"}),
            ("shop.tools:Client.Inner.*", {"Client.Inner.deep"}),
            ("shop.tools:[ab]*", set()),
            ("shop.tools:inside", set()),
            ("shop:*", set()),
            ("tools:*", set()),
        ],
    )
    def test_mean_functions_of_that_module(
        self, package: Callable[..., Any], pattern: str, expected: set[str]
    ) -> None:
        """Those that it defines, at the top or in its classes; not what it imports, nor what is hidden."""
        assert traced(package(pattern)) == expected

    def test_may_be_several(self, package: Callable[..., Any]) -> None:
        """Each finds its own."""
        assert traced(package("shop.tools:fetch", "shop.tools:Client.get")) == {"fetch", "Client.get"}

    def test_mean_no_standard_library_and_nothing_of_ours_by_chance(
        self, package: Callable[..., Any]
    ) -> None:
        """``*:*`` is the program, and not what runs it."""
        (pattern,) = parse_patterns(["*:*"])
        names = ("json", "json.decoder", "agenttrace.cli.run", "orjson", "shop.tools")
        assert [pattern.fits_module(name) for name in names] == [False, False, False, False, True]
        (named,) = parse_patterns(["json.decoder:*"])
        assert named.fits_module("json.decoder")

    @pytest.mark.parametrize(
        "text",
        ["", "shop", "shop:", ":x", "a:b:c", "a b:c", "a:b c", "a..b:c", "a:b.", "a:.b", ".a:b", "a.py:(b)"],
    )
    def test_that_are_none_are_refused(self, text: str) -> None:
        """With what was meant, and examples."""
        with pytest.raises(ConfigError, match=r"trace .*: "):
            parse_patterns([text])

    def test_say_why_nothing_fitted(self, package: Callable[..., Any]) -> None:
        """No such module, or no such function and which there are."""
        package("shop.tools:serch", "shap.tools:*", "shop.tools:fetch")
        assert by_name.unfitted() == [
            "shop.tools:serch: no such function in shop.tools; there are search, fetch, count_to,"
            " search_again, cached, Client.get, Client.make, Client.build",
            "shap.tools:*: no module shap.tools was imported",
        ]


class TestAModule:
    def test_hands_its_functions_on_traced(self, package: Callable[..., Any]) -> None:
        """In a table that it makes, to who imports them, and to itself."""
        module = package("shop.tools:*")
        with memory_recorder() as recorder, agenttrace.agent_scope("a"):
            assert module.TABLE["search"]("x") == ["hit", "x"]
            assert module.search_again("y") == ["hit", "y"]
        calls = [(event.tool_name, event.payload) for event in recorder.events() if event.kind == "tool_call"]
        assert calls == [
            ("search", {"arguments": {"query": "x"}}),
            ("search_again", {"arguments": {"query": "y"}}),
            ("search", {"arguments": {"query": "y"}}),
        ]

    def test_leaves_the_rows_of_the_decorator(self, package: Callable[..., Any]) -> None:
        """What is traced by its name cannot be told from what is decorated."""
        decorated = TOOLS
        for line in ("def search(", "async def fetch(", "def count_to("):
            decorated = decorated.replace(line, f"@traced_tool\n{line}")
        decorated = decorated.replace(
            "import functools\n", "import functools\nfrom agenttrace import traced_tool\n"
        )
        decorated = decorated.replace("    def get(", "    @traced_tool\n    def get(")

        def use(module: Any) -> list[Any]:
            import asyncio

            with memory_recorder() as recorder, agenttrace.agent_scope("a"):
                module.search(query="x")
                asyncio.run(module.fetch("u"))
                list(module.count_to(2))
                module.Client().get(key=1)
                with pytest.raises(TypeError):
                    module.search()
            return [
                (
                    event.kind,
                    event.tool_name,
                    event.status,
                    event.error_type,
                    event.payload.get("arguments"),
                    event.payload.get("output"),
                )
                for event in recorder.events()
            ]

        by_hand = use(package(source=decorated))
        patterns = [f"shop.tools:{name}" for name in ("search", "fetch", "count_to", "Client.get")]
        assert use(package(*patterns)) == by_hand
        assert len(by_hand) > 10

    def test_is_otherwise_as_it_is(self, package: Callable[..., Any]) -> None:
        """Its names, words, loader, lines and source, and no bytecode of ours beside it."""
        plain = package()
        facts = self.facts(plain)
        assert traced(plain) == set()
        module = package("shop.tools:*", "shop.tools:*.*")
        assert self.facts(module) == facts
        assert module.Client().size == 7
        assert module.Client.limit == 3
        again = subprocess.run(
            [sys.executable, "-c", "import shop.tools; print(type(shop.tools.search).__name__)"],
            cwd=Path(module.__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        assert again.stdout.strip() == "function"

    def facts(self, module: Any) -> Any:
        """Give what a program may look at."""
        return (
            sorted(vars(module)),
            module.__doc__,
            type(module.__loader__).__name__,
            module.__spec__.origin,
            {
                name: (
                    inspect.unwrap(value).__code__.co_firstlineno,
                    inspect.getsource(value),
                    str(inspect.signature(value)),
                    value.__qualname__,
                    value.__doc__,
                    inspect.iscoroutinefunction(value),
                    inspect.isgeneratorfunction(value),
                )
                for name, value in vars(module).items()
                if inspect.isroutine(value) and getattr(value, "__module__", "") == module.__name__
            },
        )

    def test_shows_its_own_lines_in_a_traceback(self, package: Callable[..., Any]) -> None:
        """A function that fails, and a module that does, on the lines where they stand."""
        module = package("shop.tools:*", source="def fail():\n\n    return 1 / 0\n")
        with pytest.raises(ZeroDivisionError) as caught:
            module.fail()
        assert caught.traceback[-1].lineno == 2
        with pytest.raises(ZeroDivisionError) as caught:
            package("shop.tools:*", source="def fine():\n    pass\n\n1 / 0\n")
        assert caught.traceback[-1].lineno == 3
        assert by_name.__file__ not in [str(entry.path) for entry in caught.traceback]

    @pytest.mark.parametrize("source", ["def broken(:\n", "x = '\\ud800'\nreturn 1\n", "\0"])
    def test_that_cannot_be_compiled_says_so_as_ever(self, package: Callable[..., Any], source: str) -> None:
        """The interpreter's own words, with its own lines."""
        with pytest.raises((SyntaxError, ValueError)) as plain:
            package(source=source)
        with pytest.raises((SyntaxError, ValueError)) as ours:
            package("shop.tools:*", source=source)
        assert str(ours.value) == str(plain.value)

    def test_keeps_what_is_decorated_by_hand(self, package: Callable[..., Any]) -> None:
        """With the name that it was given, and once."""
        source = """
            import agenttrace

            @agenttrace.traced_tool(name="look")
            def search(query):
                return query
        """
        module = package("shop.tools:*", source=textwrap.dedent(source))
        with memory_recorder() as recorder, agenttrace.agent_scope("a"):
            module.search("x")
        assert [event.tool_name for event in recorder.events() if event.kind == "tool_call"] == ["look"]

    def test_keeps_what_cannot_be_decorated(self, package: Callable[..., Any]) -> None:
        """Whatever a decorator has made of a function."""
        source = """
            def number(function):
                return 7

            @number
            def seven():
                pass
        """
        module = package("shop.tools:*", source=textwrap.dedent(source))
        assert module.seven == 7

    def test_without_source_stays_as_it_is(self, package: Callable[..., Any], tmp_path: Path) -> None:
        """Bytecode alone says nothing of names that could be decorated."""
        import py_compile

        (tmp_path / "shop" / "bare.py").write_text("def look():\n    return 1\n")
        py_compile.compile(str(tmp_path / "shop" / "bare.py"), str(tmp_path / "shop" / "bare.pyc"))
        (tmp_path / "shop" / "bare.py").unlink()
        package("shop.bare:*")
        module = importlib.import_module("shop.bare")
        assert module.look() == 1
        assert traced(module) == set()

    def test_is_left_alone_once_it_was_stopped(self, package: Callable[..., Any]) -> None:
        """``uninstall()`` takes this back too."""
        package("shop.tools:*")
        agenttrace.uninstall()
        assert by_name._FINDER not in sys.meta_path
        assert by_name.unfitted() == []


class TestSettings:
    def test_may_name_patterns(self, package: Callable[..., Any], tmp_path: Path) -> None:
        """``configure(trace=…)``, and a bad one is refused there."""
        agenttrace.configure(tmp_path / "t.db", install=(), trace=["shop.tools:fetch"])
        importlib.invalidate_caches()
        (tmp_path / "shop" / "tools.py").write_text(TOOLS)
        assert traced(importlib.import_module("shop.tools")) == {"fetch"}
        with pytest.raises(ConfigError, match="give module:function"):
            agenttrace.configure(trace=["shop"])

    def test_of_a_child_are_those_of_its_parent(self, package: Callable[..., Any], tmp_path: Path) -> None:
        """A process that is spawned imports its modules traced."""
        (tmp_path / "shop" / "tools.py").write_text(TOOLS)
        (tmp_path / "shop" / "work.py").write_text(
            "from shop.tools import search\n\ndef work(text):\n    return search(text)\n"
        )
        code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import multiprocessing
import agenttrace
from shop.work import work
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with agenttrace.agent_scope("boss"):
        child = context.Process(target=work, args=("from the child",))
        child.start()
        child.join()
"""
        script = tmp_path / "start.py"
        script.write_text(code)
        database = tmp_path / "traces.db"
        done = run_python(
            f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')",
            database,
            AGENTTRACE_TRACE="shop.tools:search",
        )
        assert done.returncode == 0, done.stderr
        rows = query(
            database,
            "SELECT agent_name, json_extract(payload, '$.arguments.query') FROM trajectory_events"
            " WHERE kind = 'tool_call'",
        )
        assert rows == [("boss", "from the child")]
