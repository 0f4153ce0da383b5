"""What is lost is recorded where it was lost, and what loses nothing is left alone."""

from __future__ import annotations

import contextlib
import sys

import pytest

from agenttrace import agent_scope
from agenttrace.testing import MemoryRecorder, memory_recorder
from tests.capture.swallowing_idioms import INNOCENT, RECORDED_ALL_THE_SAME, SWALLOWING, Idiom, Lost, Other

watched = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
_FAILURES = (Lost, Other, BaseExceptionGroup)


def run(idiom: Idiom) -> MemoryRecorder:
    """Run one program inside one agent; what leaves it ends here."""
    with memory_recorder() as recorder, contextlib.suppress(*_FAILURES), agent_scope("lead"):
        idiom.run()
    return recorder


def handled_lines(recorder: MemoryRecorder) -> list[int]:
    """Give the lines that the rows name as handlers."""
    return sorted(
        event.payload["handled_at"]["line"] for event in recorder.events() if event.payload.get("handled_at")
    )


def ids(idioms: list[Idiom]) -> list[str]:
    return [idiom.name for idiom in idioms]


class TestSwallowing:
    """S0.21: events that are in nobody's final context."""

    def test_count(self) -> None:
        """There are at least 40 of either kind."""
        assert len(SWALLOWING) >= 40 and len(INNOCENT) >= 40

    @watched
    @pytest.mark.parametrize(
        "idiom", [i for i in SWALLOWING if i.found_by == "handler"], ids=lambda i: i.name
    )
    def test_at_its_handler(self, idiom: Idiom) -> None:
        """An exception that does not leave is recorded once, with the line that caught it."""
        recorder = run(idiom)
        assert handled_lines(recorder) == (idiom.lines() or [4])
        assert {row.fate for row in recorder.failures()} == {"swallowed"}

    @pytest.mark.parametrize("idiom", [i for i in SWALLOWING if i.found_by == "rows"], ids=lambda i: i.name)
    def test_from_the_rows(self, idiom: Idiom) -> None:
        """What ends in a future or in C is the failure of a call inside one that ended well."""
        recorder = run(idiom)
        (failure,) = recorder.failures()
        assert (failure.error_type, failure.fate) == ("Lost", "swallowed")


class TestInnocent:
    """Uses of exceptions that lose nothing."""

    @pytest.mark.parametrize(
        "idiom", [i for i in INNOCENT if i.name not in RECORDED_ALL_THE_SAME], ids=lambda i: i.name
    )
    def test_no_row(self, idiom: Idiom) -> None:
        """They leave no handled error."""
        assert handled_lines(run(idiom)) == []

    def test_exceptions(self) -> None:
        """Two at most are recorded all the same."""
        assert len(RECORDED_ALL_THE_SAME) <= 2
        assert set(ids(INNOCENT)) >= RECORDED_ALL_THE_SAME
