"""What the demo's tools find in a folder, checked against a folder made for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttrace.demo.tools import Tools, build_toolbox, describe
from agenttrace.demo.workspace import Workspace, open_workspace

_SOURCE = '''
def documented():
    """Say so."""

async def bare(x):
    try:
        return x
    except:  # TODO: which?
        pass

class Thing:
    def method(self):
        # FIXME
        return 1
'''


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A folder with one good module and one in an encoding of its own."""
    (tmp_path / "good.py").write_text(_SOURCE, encoding="utf-8")
    (tmp_path / "latin.py").write_bytes("# coding: latin-1\nNAME = 'Zoë'\n".encode("latin-1"))
    with open_workspace(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def tools(workspace: Workspace) -> Tools:
    return Tools(workspace)


class TestFindings:
    def test_count_functions_without_docstrings(self, tools: Tools) -> None:
        """Async functions and methods count; classes do not."""
        survey = tools.survey_functions()
        assert (survey["functions"], survey["undocumented"]) == (3, 2)
        assert survey["longest"][0] == {"name": "bare", "at": "good.py:5", "lines": 5}

    def test_name_what_does_not_parse(self, tools: Tools) -> None:
        """Python's own rules of encoding hold: a module in Latin-1 that says so parses."""
        assert tools.survey_functions()["unparsed"] == ["drafts/unfinished.py"]

    def test_search_files_and_drafts(self, tools: Tools) -> None:
        """Hits come as file and line; what cannot be read is named, too."""
        found = tools.grep(r"\b(TODO|FIXME)\b")
        assert found == {"hits": 2, "first": ["good.py:8", "good.py:13"], "unread": ["drafts/moved.py"]}
        assert tools.grep(r"^\s*except\s*:")["hits"] == 1

    def test_count_what_a_file_defines(self, tools: Tools) -> None:
        """Methods are functions."""
        assert tools.parse_python("good.py") == {"functions": 3, "classes": 1}

    def test_list_files_beside_drafts(self, tools: Tools) -> None:
        """The drafts are no part of the audited folder's count."""
        listed = tools.list_files()
        assert (listed["files"], listed["first"]) == (2, ["good.py", "latin.py"])
        assert len(listed["drafts"]) == 4


class TestReadLines:
    def test_counts_from_one(self, tools: Tools) -> None:
        """Both ends belong to it."""
        assert tools.read_lines("good.py", 2, 3) == 'def documented():\n    """Say so."""'

    def test_raises_what_the_file_system_says(self, tools: Tools) -> None:
        """Nothing is dressed up."""
        with pytest.raises(OSError):
            tools.read_lines("drafts/moved.py", 1, 9)
        with pytest.raises(UnicodeDecodeError):
            tools.read_lines("latin.py", 1, 9)


@pytest.mark.slow
class TestRunCommand:
    def test_runs_a_draft(self, tools: Tools) -> None:
        """Without a shell, in Python's isolated mode."""
        done = tools.run_command("python drafts/greeting.py", 20.0)
        assert (done["exit_code"], done["stdout"].strip()) == (0, "hello")

    def test_stops_what_takes_too_long(self, tools: Tools) -> None:
        """The process is gone, and the error is in the agent's words."""
        with pytest.raises(TimeoutError, match=r"drafts/endless\.py took over 0\.3 s"):
            tools.run_command("python drafts/endless.py", 0.3)

    @pytest.mark.parametrize(
        "command",
        ["rm -rf /", "python good.py", "python drafts/greeting.py; ls", "python", "python drafts/../x.py"],
    )
    def test_runs_nothing_else(self, tools: Tools, command: str) -> None:
        """A live model plans these calls; it may run the drafts and nothing more."""
        with pytest.raises(PermissionError):
            tools.run_command(command, 1.0)


class TestToolbox:
    def test_holds_every_public_method(self, tools: Tools) -> None:
        """By its name."""
        assert set(build_toolbox(tools)) == {
            "grep",
            "list_files",
            "parse_python",
            "read_lines",
            "run_command",
            "save_report",
            "survey_functions",
        }

    def test_describes_itself_for_a_model(self, tools: Tools) -> None:
        """As JSON Schema, from signature and docstring."""
        specs = {spec.name: spec for spec in describe(build_toolbox(tools))}
        assert specs["read_lines"].parameters == {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "first": {"type": "integer"},
                "last": {"type": "integer"},
            },
            "required": ["path", "first", "last"],
        }
        assert specs["grep"].description.startswith("Search every file")

    def test_saves_the_report_once_the_lock_is_free(self, workspace: Workspace, tools: Tools) -> None:
        """Two refusals, and nothing is written before."""
        workspace.hold_lock(2)
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                tools.save_report("text")
        assert not (workspace.scratch / "report.md").exists()
        tools.save_report("text")
        assert (workspace.scratch / "report.md").read_text(encoding="utf-8") == "text"
