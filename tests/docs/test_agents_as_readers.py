"""docs/agents-as-readers.md: its text is printed so, its program runs, its configurations start servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agenttrace.mcp_server.tools import TOOLS
from tests.cli.conftest import Invoke, database, invoke
from tests.reading import ROOT

__all__ = ["database", "invoke"]

_PAGE = (ROOT / "docs" / "agents-as-readers.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"<!-- example -->\n```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.M | re.S)
_CONFIG = re.compile(r"<!-- config: (\w+) -->\n```json\n(.*?)^```$", re.M | re.S)


@pytest.fixture
def folder_of_commands(tmp_path: Path) -> Path:
    """Give a folder with ``agenttrace`` in it, as an installation puts it on PATH."""
    command = tmp_path / "bin" / "agenttrace"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m agenttrace "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    return command.parent


class TestPage:
    """What the page shows."""

    def test_text(self, database: Path, invoke: Invoke) -> None:
        """The text of a run is the one that is printed for the story of the tests."""
        said = invoke("show", "last-failed", "--for-llm", "--max-tokens", "900").stdout
        assert f"<!-- output: for-llm -->\n```text\n{said}```\n" in _PAGE

    def test_tools(self) -> None:
        """The table names every tool, in the order in which clients see them."""
        assert re.findall(r"^\| `(\w+)` \|", _PAGE, re.M) == list(TOOLS)

    @pytest.mark.slow
    def test_program(self, database: Path, folder_of_commands: Path, tmp_path: Path) -> None:
        """The client on the page prints what stands below it."""
        ((code, said),) = _EXAMPLE.findall(_PAGE)
        # The SDK hands a server only the environment's usual variables; HOME leads to the database then.
        home = tmp_path / "home"
        there = home / ".local" / "share" / "agenttrace"
        there.mkdir(parents=True)
        shutil.copy(database, there / "traces.db")
        path = f"{folder_of_commands}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PATH": path, "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == said

    @pytest.mark.slow
    def test_configurations(self, database: Path, folder_of_commands: Path) -> None:
        """Each configuration names a command that is a server."""
        found = _CONFIG.findall(_PAGE)
        assert [key for key, _ in found] == ["mcpServers", "servers"]
        greeting = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        }
        for key, text in found:
            server = json.loads(text)[key]["agenttrace"]
            with subprocess.Popen(
                [shutil.which(server["command"], path=str(folder_of_commands)) or "", *server["args"]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as started:
                assert started.stdin is not None and started.stdout is not None
                started.stdin.write(json.dumps(greeting) + "\n")
                started.stdin.flush()
                assert json.loads(started.stdout.readline())["result"]["serverInfo"]["name"] == "agenttrace"
                started.stdin.close()
            assert started.returncode == 0
