"""The transparency table: a traced callable is the plain one, on and off."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import traced_agent, traced_tool
from tests.capture import module_tools
from tests.capture.shapes import SHAPES


def _plain(function: Any) -> Any:
    return function


def _observe(name: str, decorate: Any) -> Any:
    # Two objects of one name in a message differ by address only.
    return SHAPES[name](decorate)


class TestTransparency:
    """Tracing changes no result, exception, laziness, signature or binding."""

    def test_table_is_large_enough(self) -> None:
        """At least 28 shapes stand in the table."""
        assert len(SHAPES) >= 28

    @pytest.mark.parametrize("name", SHAPES)
    def test_off(self, name: str) -> None:
        """With tracing off a decorated callable is observed as the plain one."""
        assert not agenttrace.is_enabled()
        assert _observe(name, traced_tool) == _observe(name, _plain)

    @pytest.mark.parametrize("name", SHAPES)
    def test_on(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With tracing on, in strict mode, too."""
        plain = _observe(name, _plain)
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        agenttrace.configure(database=tmp_path / "t.db")
        assert _observe(name, traced_tool) == plain
        with agenttrace.agent_scope("inside"):
            assert _observe(name, traced_tool(name="named")) == plain

    @pytest.mark.parametrize("name", sorted(set(SHAPES) - {"callable_object"}))
    def test_agent_decorator(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``traced_agent`` keeps the same laws."""
        plain = _observe(name, _plain)
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        agenttrace.configure(database=tmp_path / "t.db")
        assert _observe(name, traced_agent) == plain


class TestPickling:
    """A traced function travels by reference, as functions do."""

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_function(self, protocol: int) -> None:
        """Unpickling gives the very object (the trap of wrapt proxies)."""
        assert pickle.loads(pickle.dumps(module_tools.double, protocol)) is module_tools.double
        assert copy.copy(module_tools.double) is module_tools.double
        assert copy.deepcopy(module_tools.double) is module_tools.double

    def test_bound_method(self) -> None:
        """A bound method of a picklable object pickles."""
        assert pickle.loads(pickle.dumps(module_tools.Kit(3).scale))(4) == 12

    def test_partial(self) -> None:
        """A traced partial pickles with its state."""
        assert pickle.loads(pickle.dumps(module_tools.add_one))(4) == 5

    def test_local_function_fails_as_plain(self) -> None:
        """What cannot be pickled undecorated cannot be pickled decorated."""

        def local() -> None: ...

        for function in (local, traced_tool(local)):
            with pytest.raises((AttributeError, pickle.PicklingError)):
                pickle.dumps(function)

    @pytest.mark.slow
    def test_process_pool(self, tmp_path: Path) -> None:
        """A spawned pool runs a traced function while tracing is on."""
        agenttrace.configure(database=tmp_path / "t.db")
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(module_tools.double, 4).result() == 8


class TestRefusals:
    """What is no callable is refused at decoration, with the right order shown."""

    @pytest.mark.parametrize("thing", [3, "text", property(lambda self: 1), None.__class__, dict])
    def test_not_callable(self, thing: Any) -> None:
        """A value, a property or a class raises TypeError that names the decorator."""
        with pytest.raises(TypeError, match="traced_tool"):
            traced_tool(thing)

    def test_unknown_option(self) -> None:
        """An unknown option raises at decoration."""
        with pytest.raises(TypeError):
            traced_tool(names="x")  # type: ignore[call-overload]

    def test_one_string_for_names(self) -> None:
        """A string where a list of names is meant raises."""
        with pytest.raises(TypeError, match="list of argument names"):
            traced_tool(redact="token")
