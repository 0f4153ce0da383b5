"""The rules of the house: layers and doors, shape of modules, words that do not belong here."""

from __future__ import annotations

import ast
import configparser
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

__all__: list[str] = []

_ROOT = Path(__file__).parent.parent
_PACKAGE = _ROOT / "agenttrace"
_MODULES = sorted(_PACKAGE.rglob("*.py"))
_MODULE_LIMIT_LINES = 400
_BENCHMARKS = sorted((_ROOT / "benchmarks").glob("bench_*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(_ROOT))


def _texts() -> list[Path]:
    """Give every file of ours that people read: code, tests, documents, scripts."""
    kept = []
    for folder in ("agenttrace", "tests", "benchmarks", "docs", "examples", "scripts", ".ci", "."):
        pattern = "*" if folder == "." else "**/*"
        for path in (_ROOT / folder).glob(pattern):
            if path.is_file() and not {"__pycache__", "results", "fixtures"} & set(path.parts):
                kept.append(path)
    return [path for path in kept if path.suffix in {".py", ".md", ".cfg", ".toml", ".sql", ".svg", ""}]


class TestArchitecture:
    @pytest.mark.slow
    def test_keeps_layers_cycles_and_doors(self) -> None:
        """Upper layers import lower ones, siblings are blind, and each library has one door."""
        pytest.importorskip("importlinter")
        program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        done = subprocess.run(
            [sys.executable, "-c", program, "--no-cache"],
            cwd=_ROOT,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_gives_every_module_a_layer(self) -> None:
        """The layers contract is exhaustive: a new module cannot stand outside it."""
        settings = configparser.ConfigParser()
        settings.read(_ROOT / "setup.cfg")
        contract = settings["importlinter:contract:layers"]
        assert contract.getboolean("exhaustive")
        layered = set(re.findall(r"\w+", contract["layers"]))
        present = {
            path.stem
            for path in _PACKAGE.iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert present - {"__init__"} <= layered


class TestEveryModule:
    @pytest.mark.parametrize("path", _MODULES, ids=_name)
    def test_says_what_it_owns_and_what_it_hands_on(self, path: Path) -> None:
        """A module has a docstring and ``__all__``, and is short enough to be read in one go."""
        source = path.read_text(encoding="utf-8")
        if not source.strip():
            return
        tree = ast.parse(source)
        assigned = {
            target.id
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        assert ast.get_docstring(tree), f"{_name(path)} has no docstring"
        assert "__all__" in assigned, f"{_name(path)} has no __all__"
        assert source.count("\n") <= _MODULE_LIMIT_LINES, f"{_name(path)} is too long"

    def test_is_not_called_utils(self) -> None:
        """A module is named after what it owns."""
        assert not [path for path in _MODULES if path.stem in {"utils", "util", "helpers", "common", "misc"}]


class TestText:
    def test_speaks_of_the_project_alone(self) -> None:
        """No file names a path of one machine, a registry's host, or how the project came about."""
        words = [
            "/" + "work/",
            "/" + "tmp/v/",
            "pypi" + r"\.org",
            "python" + r"hosted\.",
            "deb" + r"\.debian",
            r"\bissue " + r"#?\d",
            "interfaces" + r"\.md",
            r"pip install " + r"agenttrace\b",
        ]
        forbidden = re.compile("|".join(words), re.IGNORECASE)
        found = [
            f"{_name(path)}: {match.group()}"
            for path in _texts()
            for match in forbidden.finditer(path.read_text(encoding="utf-8", errors="replace"))
        ]
        assert not found

    def test_has_a_three_line_pyproject(self) -> None:
        """Everything is configured in setup.cfg; pip alone needs pyproject.toml."""
        assert len((_ROOT / "pyproject.toml").read_text().strip().splitlines()) == 3


class TestEveryBenchmark:
    @pytest.mark.parametrize("path", _BENCHMARKS, ids=_name)
    def test_states_question_method_and_budget(self, path: Path) -> None:
        """A benchmark says what it asks, how it measures, and what is allowed."""
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for word in ("Question:", "Method:", "Budget:"):
            assert word in docstring

    def test_is_in_the_full_set(self) -> None:
        """``python -m benchmarks --full`` runs each of them, and begins with the short set."""
        main = importlib.import_module("benchmarks.__main__")
        assert {path.stem.removeprefix("bench_") for path in _BENCHMARKS} == set(main.FULL)
        assert main.FULL[: len(main.SHORT)] == main.SHORT


class TestHarness:
    def test_takes_ratios_within_a_round(self) -> None:
        """A machine that slows down half-way does not change a ratio."""
        harness = importlib.import_module("benchmarks.harness")
        ratio = harness.median_ratio([1.0, 10.0, 100.0], [2.0, 20.0, 200.0])
        assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (0.5, 0.5, 0.5, 3)

    def test_prints_whether_a_budget_is_met(self) -> None:
        """Each line with a budget says met or NOT MET; one without says neither."""
        harness = importlib.import_module("benchmarks.harness")
        lines = [
            harness.Line("b", "good", 1.0, "x", (0.9, 1.1), "<= 2 x", True),
            harness.Line("b", "bad", 3.0, "x", (2.9, 3.1), "<= 2 x", False),
            harness.Line("b", "plain", 3.0, "us"),
        ]
        good, bad, plain = importlib.import_module("benchmarks.report").render_table(lines).splitlines()[1:]
        assert good.endswith(" met")
        assert bad.endswith("NOT MET")
        assert "met" not in plain.lower()

    def test_builds_the_same_work_from_a_seed(self) -> None:
        """A workload has the size that was asked for, and the same bytes every time."""
        import json

        workloads = importlib.import_module("benchmarks.workloads")
        for size in (100, 500, 54_000):
            built = workloads.build_result(size)
            assert built == workloads.build_result(size)
            assert abs(len(json.dumps(built, separators=(",", ":"))) - size) <= 8
        assert len(workloads.build_document(10_000)) == 10_000
