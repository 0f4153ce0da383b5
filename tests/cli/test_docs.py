"""docs/cli.md and docs/querying.md say what the commands do."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

__all__: list[str] = []

_ROOT = Path(__file__).parent.parent.parent
_QUERYING = (_ROOT / "docs" / "querying.md").read_text(encoding="utf-8")


class TestCommandsPage:
    @pytest.mark.slow
    def test_is_current(self) -> None:
        """The page is what ``scripts/generate_cli_docs.py`` makes of the commands."""
        script = _ROOT / "scripts" / "generate_cli_docs.py"
        done = subprocess.run([sys.executable, str(script), "--check"], cwd=_ROOT, timeout=60)
        assert done.returncode == 0, "run python scripts/generate_cli_docs.py"


class TestQueryingPage:
    def test_shows_the_tree_that_is_printed(self, invoke: Invoke, database: Path) -> None:
        """The tree on the page is the output of ``show`` for the story of the tests."""
        assert f"```\n{invoke('show').stdout}```\n" in _QUERYING

    def test_has_an_example_that_runs(self, database: Path) -> None:
        """The Python example runs as it stands, and finds the swallowed failure."""
        found = re.search(r"<!-- example: viewer -->\n```python\n(.*?)```", _QUERYING, re.DOTALL)
        assert found
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(found.group(1), "docs/querying.md", "exec"), {})
        lines = out.getvalue().splitlines()
        assert len(lines) == 36
        assert lines[-1] == "SyntaxError invalid syntax /app/audit.py:88 read"

    def test_names_methods_with_their_signatures(self) -> None:
        """Every call in the table is the method's own signature."""
        import inspect

        from agenttrace.query.viewer import TraceViewer

        rows = re.findall(r"^\| `(\w+)\(([^`]*)\)`", _QUERYING, re.MULTILINE)
        assert len(rows) >= 11
        for name, parameters in rows:
            signature = inspect.signature(getattr(TraceViewer, name))
            own = [name for name in signature.parameters if name not in ("self", "kinds_")]
            told = [
                word.split("=")[0].strip(" *") for word in re.sub(r"=\([^)]*\)", "", parameters).split(",")
            ]
            assert [word for word in told if word] == own or name in ("open_operations",)
