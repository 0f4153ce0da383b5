"""Patches of other libraries: when they are put in place, what they leave, what they survive."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agenttrace.errors import LOSSES
from agenttrace.integrations import patching
from agenttrace.integrations.patching import Library, Patch, problems, when_imported

_SOURCE = """
class Base:
    def run(self):
        return "plain"

class Child(Base):
    pass
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the name of a module that is not imported yet."""
    name = f"patched_library_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(_SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(patching, "_problems", {})
    yield name
    sys.modules.pop(name, None)


def louder(former: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda self: former(self) + "!"


class TestWhenImported:
    """`when_imported`."""

    def test_later(self, library: str) -> None:
        """The call waits for the import."""
        seen: list[ModuleType] = []
        when_imported(library, seen.append)
        assert seen == []
        assert seen == [importlib.import_module(library)]

    def test_now(self, library: str) -> None:
        """What is imported already is called with at once."""
        module, seen = importlib.import_module(library), list[ModuleType]()
        when_imported(library, seen.append)
        assert seen == [module]

    def test_absent(self) -> None:
        """A module that does not exist is waited for in vain, and importing it fails as ever."""
        seen: list[ModuleType] = []
        when_imported("library_that_is_not_there", seen.append)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("library_that_is_not_there")
        assert seen == []

    def test_taken_back(self, library: str) -> None:
        """A wish taken back is not fulfilled."""
        seen: list[ModuleType] = []
        when_imported(library, seen.append)()
        importlib.import_module(library)
        assert seen == []

    def test_failure(self, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is raised for our sake does not fail the import of others."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "0")

        def fail(module: ModuleType) -> None:
            raise ValueError("ours")

        when_imported(library, fail)
        assert importlib.import_module(library).Base().run() == "plain"
        assert LOSSES.pop(f"integrations.{library}") == 1


class TestPatch:
    """One replaced attribute."""

    def test_undo(self, library: str) -> None:
        """The very object that stood there is back."""
        base = importlib.import_module(library).Base
        before = dict(vars(base))
        patch = Patch(base, "run", louder)
        patch.apply()
        patch.apply()
        assert base().run() == "plain!"
        patch.undo()
        patch.undo()
        assert dict(vars(base)) == before

    def test_undo_of_an_inherited_one(self, library: str) -> None:
        """An attribute that the class only inherits is inherited again."""
        child = importlib.import_module(library).Child
        patch = Patch(child, "run", louder)
        patch.apply()
        assert child().run() == "plain!"
        patch.undo()
        assert "run" not in vars(child) and child().run() == "plain"

    def test_undo_beneath_another(self, library: str) -> None:
        """Where somebody patched over us, theirs stays."""
        base = importlib.import_module(library).Base
        patch = Patch(base, "run", louder)
        patch.apply()
        theirs = louder(base.run)
        base.run = theirs
        patch.undo()
        assert base.run is theirs


class TestLibrary:
    """All patches of a library."""

    def test_before_and_after_import(self, library: str) -> None:
        """It comes to the same, whichever is first; and it can be done again."""
        made = Library("made", {library: lambda module: [Patch(module.Base, "run", louder)]})
        made.install()
        base = importlib.import_module(library).Base
        assert base().run() == "plain!"
        made.uninstall()
        assert base().run() == "plain"
        made.install()
        made.install()
        assert base().run() == "plain!"
        made.uninstall()
        assert problems() == {}

    def test_changed_library(self, library: str) -> None:
        """What the library has no more is named and counted; the rest is patched."""
        made = Library(
            "made",
            {library: lambda module: [Patch(module.Base, "gone", louder), Patch(module.Base, "run", louder)]},
        )
        made.install()
        assert importlib.import_module(library).Base().run() == "plain!"
        made.uninstall()
        (text,) = problems()["made"]
        assert library in text and "gone" in text
        assert LOSSES.pop("integrations.made") == 1
