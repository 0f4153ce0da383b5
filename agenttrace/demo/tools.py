"""
The tools that the demo's agents call: list, read, search, parse, run, save.

Owns what an agent may do to a workspace: it reads the audited folder, writes into
the scratch folder alone, and runs nothing but the drafts. Tools raise what goes
wrong; telling the planner is the dispatcher's work. Results are small, because
they travel to the planner as text.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agenttrace import traced_tool
from agenttrace.demo.planner import ToolSpec
from agenttrace.demo.workspace import DRAFTS, Workspace

__all__ = ["Tools", "build_toolbox", "describe"]

_SHOWN_COUNT = 5
_READ_LIMIT_BYTES = 1_200
_JSON_TYPES = {"str": {"type": "string"}, "int": {"type": "integer"}, "float": {"type": "number"}}


class Tools:
    """Hold the tools of one workspace, as plain methods."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def list_files(self) -> dict[str, Any]:
        """List the Python files of the folder and of the drafts."""
        listing = self._workspace.listing
        return {
            "files": len(listing.paths),
            "skipped": listing.skipped_count,
            "drafts": listing.drafts,
            "first": listing.paths[:_SHOWN_COUNT],
        }

    def read_lines(self, path: str, first: int, last: int) -> str:
        """Read the lines first to last of one file; the first line is 1."""
        text = self._workspace.resolve(path).read_text(encoding="utf-8")
        return "\n".join(text.splitlines()[max(first, 1) - 1 : last])[:_READ_LIMIT_BYTES]

    def grep(self, pattern: str) -> dict[str, Any]:
        """Search every file and draft for lines that match a regular expression."""
        matches = re.compile(pattern).search
        hits: list[str] = []
        unread: list[str] = []
        for path in self._all_paths():
            try:
                text = self._workspace.resolve(path).read_bytes().decode("utf-8", errors="replace")
            except OSError:
                unread.append(path)
                continue
            hits += [
                f"{path}:{number}" for number, line in enumerate(text.splitlines(), start=1) if matches(line)
            ]
        return {"hits": len(hits), "first": hits[:_SHOWN_COUNT], "unread": unread[:_SHOWN_COUNT]}

    def survey_functions(self) -> dict[str, Any]:
        """Parse every file; count functions and missing docstrings, and name the longest ones."""
        functions: list[tuple[int, str, str]] = []
        undocumented_count = 0
        unparsed: list[str] = []
        for path in self._all_paths():
            try:
                tree = self._parse(path)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                unparsed.append(path)
                continue
            except OSError:
                continue
            for function in _iter_functions(tree):
                undocumented_count += ast.get_docstring(function, clean=False) is None
                functions.append((_count_lines(function), f"{path}:{function.lineno}", function.name))
        functions.sort(key=lambda row: (-row[0], row[1]))
        longest = [{"name": name, "at": at, "lines": lines} for lines, at, name in functions[:3]]
        return {
            "functions": len(functions),
            "undocumented": undocumented_count,
            "longest": longest,
            "unparsed": unparsed[:_SHOWN_COUNT],
        }

    def parse_python(self, path: str) -> dict[str, Any]:
        """Parse one file and say what it defines."""
        tree = self._parse(path)
        kinds = {"functions": (ast.FunctionDef, ast.AsyncFunctionDef), "classes": (ast.ClassDef,)}
        return {name: sum(isinstance(node, kind) for node in ast.walk(tree)) for name, kind in kinds.items()}

    def run_command(self, command: str, timeout_s: float) -> dict[str, Any]:
        """Run "python DRAFT" without a shell, for at most timeout_s seconds."""
        words = shlex.split(command)
        if len(words) != 2 or words[0] != "python" or not words[1].startswith(DRAFTS):
            raise PermissionError(f"{command!r} is not allowed; only python and one of the drafts")
        argv = [sys.executable or "python3", "-I", "-S", str(self._workspace.resolve(words[1]))]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            # In the agent's words; the one raised speaks of paths that it never saw.
            raise TimeoutError(f"{words[1]} took over {timeout_s} s") from None
        return {"exit_code": done.returncode, "stdout": done.stdout[:200], "stderr": done.stderr[-200:]}

    def save_report(self, text: str) -> str:
        """Save the report among the drafts; fails while another audit holds its lock."""
        self._workspace.take_lock()
        path = self._workspace.resolve(DRAFTS + "report.md")
        path.write_text(text, encoding="utf-8", errors="replace")  # names of files may hold any byte
        return f"saved {len(text)} characters as {DRAFTS}report.md"

    def _all_paths(self) -> Iterable[str]:
        listing = self._workspace.listing
        return [*listing.paths, *listing.drafts]

    def _parse(self, path: str) -> ast.Module:
        # Bytes, so that Python finds the encoding as it does for an import; the name keeps the
        # scratch folder's own path out of the SyntaxError.
        return ast.parse(self._workspace.resolve(path).read_bytes(), filename=path)


def build_toolbox(tools: Tools) -> dict[str, Callable[..., Any]]:
    """Give every tool by its name, traced."""
    methods = [
        value for name, value in inspect.getmembers(tools, inspect.ismethod) if not name.startswith("_")
    ]
    return {method.__name__: traced_tool(method) for method in methods}


def describe(toolbox: dict[str, Callable[..., Any]]) -> list[ToolSpec]:
    """Describe *toolbox* to a planner, from signatures and docstrings."""
    specs = []
    for name, tool in toolbox.items():
        parameters = inspect.signature(tool).parameters.values()
        properties = {parameter.name: _JSON_TYPES[str(parameter.annotation)] for parameter in parameters}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        specs.append(ToolSpec(name, inspect.getdoc(tool) or name, schema))
    return specs


def _iter_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1
