"""What is said of figures: what moved, and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.harness import Line
from benchmarks.pictures import draw
from benchmarks.report import read_results, render_changes, write_results


def line(what: str, value: float, low: float, high: float, unit: str = "us") -> Line:
    return Line("on", what, value, unit, (low, high), "<= 5 us", value <= 5)


class TestResults:
    def test_are_read_as_they_were_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """JSON keeps every field of a line."""
        monkeypatch.setattr(report, "RESULTS", tmp_path)
        lines = [line("a", 4.0, 3.5, 4.5), Line("on", "lost", 0.0, "", None, "0", True)]
        path, _ = write_results(
            lines, {"processor": "p", "cores": 1, "system": "s", "python": "3", "sqlite": "3", "versions": {}}
        )
        assert read_results(path) == lines

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"lines": [{"no": 1}]}', '{"lines": 3}'])
    def test_of_something_else_are_refused(self, tmp_path: Path, text: str) -> None:
        """The error names the file and where results lie."""
        path = tmp_path / "old.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"old\.json: no results of these benchmarks"):
            read_results(path)


class TestChanges:
    def test_are_told_where_spreads_lie_apart(self) -> None:
        """What overlaps has not moved; what is new or gone is named."""
        before = [line("same", 4.0, 3.5, 4.5), line("slower", 4.0, 3.9, 4.1), line("gone", 1.0, 1.0, 1.0)]
        now = [line("same", 4.4, 4.2, 4.6), line("slower", 6.0, 5.9, 6.1), line("new", 1.0, 1.0, 1.0)]
        text = render_changes(before, now)
        assert text.splitlines()[0] == "3 moved, 1 did not"
        assert "+50%    on: slower 4.00 -> 6.00 us" in text
        assert "new     on: new" in text
        assert "gone    on: gone" in text
        assert "same" not in text


class TestPictures:
    def test_show_what_stands_beside_what(self, tmp_path: Path) -> None:
        """One picture for each unit of a benchmark; a figure alone gets none."""
        pytest.importorskip("matplotlib", reason="pictures are an extra of the benchmarks: bench")
        lines = [
            line("traced", 4.0, 3.5, 4.5),
            line("bare", 0.01, 0.01, 0.02),
            line("x", 1.0, 1.0, 1.0, "ms"),
        ]
        (path,) = draw(lines, tmp_path)
        assert path.name == "on-us.png"
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_are_left_out_without_their_library(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And that is said."""
        monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
        assert draw([line("a", 1.0, 1.0, 1.0), line("b", 1.0, 1.0, 1.0)], tmp_path) == []
        assert "matplotlib is not installed" in capsys.readouterr().err
