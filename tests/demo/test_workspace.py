"""The workspace of the demo: what it shows of the user's folder, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from agenttrace.demo import workspace as workspace_module
from agenttrace.demo.workspace import default_folder, open_workspace
from agenttrace.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of two modules, and of files that are none of the demo's business."""
    for name in ("a.py", "inner/b.py", "inner/__pycache__/c.py", ".hidden/d.py", "notes.txt"):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")
    return tmp_path / "project"


class TestListing:
    def test_holds_the_python_files_sorted_with_slashes(self, project: Path) -> None:
        """Hidden folders, caches and other files are left out."""
        with open_workspace(str(project)) as workspace:
            assert workspace.listing.paths == ["a.py", "inner/b.py"]
            assert workspace.listing.skipped_count == 0

    def test_counts_what_is_beyond_its_limits(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder too large for three seconds is audited in part, and says so."""
        monkeypatch.setattr(workspace_module, "_FILES_LIMIT_COUNT", 1)
        with open_workspace(str(project)) as workspace:
            assert workspace.listing.paths == ["a.py"]
            assert workspace.listing.skipped_count == 1

    def test_of_a_folder_without_python_is_empty(self, tmp_path: Path) -> None:
        """Only the drafts are left to talk about."""
        with open_workspace(str(tmp_path)) as workspace:
            assert workspace.listing.paths == []
            assert len(workspace.listing.drafts) == 4


class TestDrafts:
    def test_hold_real_traps(self, project: Path) -> None:
        """The link leads nowhere and the module does not parse; nothing raises by itself."""
        with open_workspace(str(project)) as workspace:
            with pytest.raises(OSError):
                workspace.resolve("drafts/moved.py").read_text(encoding="utf-8")
            with pytest.raises(SyntaxError):
                compile(workspace.resolve("drafts/unfinished.py").read_bytes(), "unfinished.py", "exec")

    def test_are_gone_after_the_block_and_the_folder_is_untouched(self, project: Path) -> None:
        """The audited folder is only read."""
        before = sorted(project.rglob("*"))
        with open_workspace(str(project)) as workspace:
            scratch = workspace.scratch
            assert scratch.is_dir()
        assert not scratch.exists()
        assert sorted(project.rglob("*")) == before

    def test_lock_refuses_as_often_as_told(self, project: Path) -> None:
        """Two refusals, then it is free."""
        with open_workspace(str(project)) as workspace:
            workspace.hold_lock(2)
            for _ in range(2):
                with pytest.raises(BlockingIOError, match="locked by another audit"):
                    workspace.take_lock()
            workspace.take_lock()


class TestPaths:
    @pytest.mark.parametrize("path", ["../x.py", "/etc/passwd", "drafts/../../x", "inner/../../x"])
    def test_outside_are_refused(self, project: Path, path: str) -> None:
        """A planner, also a live one, reads only what it may."""
        with open_workspace(str(project)) as workspace, pytest.raises(PermissionError, match="outside"):
            workspace.resolve(path)

    def test_no_folder_means_a_part_of_the_standard_library(self) -> None:
        """The default needs no file of the user."""
        assert (default_folder() / "client.py").is_file()

    def test_something_else_than_a_folder_is_a_config_error(self, project: Path) -> None:
        """The error says what, and what to do."""
        with (
            pytest.raises(ConfigError, match=r"a\.py.*is not a folder"),
            open_workspace(str(project / "a.py")),
        ):
            pass
