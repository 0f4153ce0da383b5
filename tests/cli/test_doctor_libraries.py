"""A library that is absent, too old, changed or broken: no program suffers by it, and ``doctor`` names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from agenttrace.cli import sight
from agenttrace.integrations import INTEGRATIONS
from tests.cli.conftest import Invoke
from tests.reading import ROOT

__all__: list[str] = []

LIBRARIES = {
    "openai": ("openai", "openai"),
    "anthropic": ("anthropic", "anthropic"),
    "mcp": ("mcp", "mcp"),
    "langgraph": ("langgraph", "langgraph"),
    "openai_agents": ("agents", "openai-agents"),
    "pydantic_ai": ("pydantic_ai", "pydantic-ai-slim"),
    "tenacity": ("tenacity", "tenacity"),
}
"""Integration to the module that is imported, and to its distribution."""

EACH = pytest.mark.parametrize("name", LIBRARIES)

PROGRAM = """
import sys
try:
    import {module}
    print("imported", {module}.answer())
except Exception as exc:
    print(type(exc).__name__, exc)
sys.exit(3)
"""


def checks(output: str) -> list[dict[str, Any]]:
    """Give what doctor says of libraries."""
    return [check for check in json.loads(output)["checks"] if check["name"] == "libraries"]


class TestAnAbsentLibrary:
    @pytest.mark.parametrize("name", [*LIBRARIES, "stamina"])
    def test_is_named(
        self, invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Among those that are not installed here, and not among those that are followed."""
        _, distribution = LIBRARIES.get(name, (name, name))

        def lacking(asked: str) -> str:
            if asked.startswith(distribution.removesuffix("-slim")):
                raise PackageNotFoundError(asked)
            return version(asked)

        monkeypatch.setattr(sight, "version", lacking)
        found = checks(invoke("doctor", "--json").stdout)
        (absent,) = [check["data"]["absent"] for check in found if "absent" in check["data"]]
        assert name in absent
        assert name not in [one.split()[0] for one in found[0]["data"]["followed"]]

    def test_may_be_any(self) -> None:
        """This page knows every library that is followed."""
        standard = {"threads", "exceptions", "logging", "processes"}
        assert set(INTEGRATIONS) - standard == {*LIBRARIES, "stamina"}


@pytest.mark.slow
class TestAFakeLibrary:
    """A module of that name with another inside, and the metadata of a release."""

    def install(self, folder: Path, name: str, source: str, release: str) -> tuple[str, dict[str, str]]:
        """Put it where it is found first."""
        module, distribution = LIBRARIES[name]
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text(source)
        info = folder / f"{distribution.replace('-', '_')}-{release}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {release}\n")
        (folder / "program.py").write_text(PROGRAM.format(module=module))
        environment = {
            **os.environ,
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "AGENTTRACE_DB": str(folder / "t.db"),
            "AGENTTRACE_INSTALL": name,
        }
        return module, environment

    def run(self, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            env=environment,
            cwd=Path(environment["AGENTTRACE_DB"]).parent,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def diagnose(self, environment: dict[str, str]) -> list[str]:
        """Record something, so that there is a database, and give the warnings of ``doctor --libraries``."""
        record = "import agenttrace as a; a.configure(enabled=True, install=()); a.record('a.note')"
        assert self.run(environment, "-c", record).stderr == ""
        done = self.run(environment, "-m", "agenttrace", "doctor", "--libraries", "--json")
        return [check["text"] for check in checks(done.stdout) if check["state"] == "warn"]

    def hold(self, environment: dict[str, str]) -> str:
        """Hold a program to what it does without us; gives what it prints."""
        plain = self.run(environment, "program.py")
        traced = self.run(environment, "-m", "agenttrace", "run", "program.py")
        assert (traced.stdout, traced.returncode) == (plain.stdout, plain.returncode)
        assert plain.returncode == 3
        return plain.stdout

    @EACH
    def test_of_another_time_is_named(self, tmp_path: Path, name: str) -> None:
        """One that has nothing of what is known: the program uses it, and doctor says what is not seen."""
        _, environment = self.install(tmp_path, name, "def answer():\n    return 42\n", "0.0.1")
        assert self.hold(environment) == "imported 42\n"
        warnings = self.diagnose(environment)
        assert warnings
        assert all("0.0.1" in warning and name in warning for warning in warnings)

    @EACH
    def test_that_breaks_as_it_is_imported_is_named(self, tmp_path: Path, name: str) -> None:
        """The program gets the exception that it would get, and doctor the reason."""
        source = "raise RuntimeError('half an installation')\n"
        _, environment = self.install(tmp_path, name, source, "9.9.9")
        assert self.hold(environment) == "RuntimeError half an installation\n"
        (warning,) = self.diagnose(environment)
        assert "RuntimeError: half an installation" in warning

    @EACH
    def test_that_answers_every_name_breaks_nothing(self, tmp_path: Path, name: str) -> None:
        """A module whose attributes are all there and none of them what they were."""
        source = """
            class Odd:
                def __init__(self, *args, **kwargs): pass
                def __call__(self, *args, **kwargs): return self
            def answer(): return 42
            def __getattr__(name):
                if name.startswith("__"): raise AttributeError(name)
                return Odd
        """
        source = "\n".join(line[12:] for line in source.splitlines())
        _, environment = self.install(tmp_path, name, source, "99.0")
        assert self.hold(environment) == "imported 42\n"
        assert self.diagnose(environment)


@pytest.mark.slow
class TestALibraryAsItIs:
    def test_has_nothing_to_be_said(self, shell: Any, database: Path) -> None:
        """The versions beside this test are followed in full."""
        done = shell("doctor", "--libraries", "--json")
        found = checks(done.stdout)
        assert [check["text"] for check in found if check["state"] == "warn"] == []
        assert {one.split()[0] for one in found[0]["data"]["followed"]} == set(INTEGRATIONS)
