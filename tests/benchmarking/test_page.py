"""What was measured gets into docs/performance.md, and nothing that was not."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.harness import Line
from benchmarks.page import put_tables

_MACHINE: dict[str, Any] = {
    "processor": "P",
    "cores": 4,
    "system": "Linux",
    "python": "3.11",
    "sqlite": "3.40",
    "load": 0.1,
    "versions": {"wrapt": "2.0"},
}
_PAGE = """before
<!-- table: begin -->
<!-- table: end -->
between
<!-- long table: begin -->
<!-- long table: end -->
after
"""
_ORDER = ("on", "diff", "memory", "soak")


def put(page: str, *names: str, value: float = 1.0, **machine: Any) -> str:
    lines = [Line(name, f"what {name} asks", value, "ms") for name in names]
    return put_tables(page, lines, {**_MACHINE, **machine}, ("on",), _ORDER)


class TestTables:
    def test_lie_in_their_places(self) -> None:
        """The short set in one, all else in the other; what is around them stays."""
        page = put(_PAGE, "on", "diff")
        first, _, second = page.partition("between\n")
        assert "| on | what on asks | 1.00 ms" in first and "diff" not in first
        assert "| diff | what diff asks | 1.00 ms" in second and "| on |" not in second
        assert page.startswith("before\n") and page.endswith("after\n")
        assert put(page, "on", "diff") == page

    def test_of_what_takes_long_are_put_together(self) -> None:
        """Half an hour is not spent again for a line that nobody changed; the order is that of the set."""
        page = put(put(put(_PAGE, "soak"), "diff"), "diff", "memory", value=2.0)
        rows = [line for line in page.splitlines() if line.startswith("| ") and "what " in line]
        kept = [row.split("|")[1:4:2] for row in rows if "benchmark" not in row]
        assert [(name.strip(), said.strip()) for name, said in kept] == [
            ("diff", "2.00 ms"),
            ("memory", "2.00 ms"),
            ("soak", "1.00 ms"),
        ]

    def test_of_another_machine_begin_anew(self) -> None:
        """One table never mixes machines or versions."""
        page = put(put(_PAGE, "soak"), "diff", processor="Q")
        assert "soak" not in page and "| diff |" in page

    def test_need_their_marks(self) -> None:
        """A page without them is named, not spoilt."""
        with pytest.raises(ValueError, match="long table"):
            put("no marks", "diff")
