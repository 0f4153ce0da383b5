"""
The pytest plugin: the fixture ``trajectory`` for tests of agents, its marker, its part of a report.

pytest loads this module in every run, also in projects that never use the fixture, so nothing but the
fixture's own body and what follows from it imports what recording needs. Invariant: for a test without
the fixture or the marker no hook does anything.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from agenttrace.testing import Trajectory

__all__ = ["trajectory"]

_MARKER = (
    "trajectory(max_tokens=None, max_cost_usd=None, max_calls=None): limits for what the agents of the "
    "test use, checked when it ends"
)
_LIMITS = ("max_tokens", "max_cost_usd", "max_calls")
_OF_ITEM = pytest.StashKey["Trajectory"]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the fixture to each test that has the marker: its limits would otherwise limit nothing."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is not None and "trajectory" not in names and item.get_closest_marker("trajectory"):
            names.append("trajectory")


@pytest.fixture
def trajectory(request: pytest.FixtureRequest) -> Iterator[Trajectory]:
    """
    Record what the test's agents do, in memory, and give it to be asserted about.

    Recording is on whatever the environment or the project's settings say; no value is
    cut or redacted, and nothing reaches a disk.
    """
    from agenttrace.testing import Trajectory, memory_recorder  # late: see above

    said = _read_marks(request.node)
    with memory_recorder() as recorder:
        recorded = Trajectory(recorder)
        recorded.budget(**said)
        request.node.stash[_OF_ITEM] = recorded
        yield recorded


def _read_marks(item: pytest.Item) -> dict[str, Any]:
    """Read the markers of a test, of its class and of its module; the nearest wins."""
    said: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("trajectory"))):
        unknown = [*map(repr, mark.args), *(name for name in mark.kwargs if name not in _LIMITS)]
        if unknown:
            raise pytest.UsageError(
                f"{item.nodeid}: pytest.mark.trajectory takes {', '.join(_LIMITS)}; not {', '.join(unknown)}"
            )
        said |= mark.kwargs
    return said


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check the limits of a test that has passed so far."""
    result = yield
    recorded = item.stash.get(_OF_ITEM, None)
    if recorded is not None:
        try:
            recorded.check_budget()
        except AssertionError as exc:
            _fail(str(exc))
    return result


def _fail(message: str) -> NoReturn:
    """Fail the test with a message that tells all: no line of the test is to blame."""
    failure = pytest.fail.Exception(message, pytrace=False)
    setattr(failure, "__agenttrace_explained__", True)  # noqa: B010  # unknown to type checkers
    raise failure from None


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(
    op: str, left: object, right: object
) -> Generator[None, list[list[str] | None], list[list[str] | None]]:
    """Remember which of a trajectory's lists differed where, for the report."""
    explained = yield
    if hasattr(left, "trajectory") or hasattr(right, "trajectory"):
        from agenttrace.testing.comparing import note_difference  # late: see above

        note_difference(op, left, right, next((lines[0] for lines in explained if lines), ""))
    return explained


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test the path through the tree that led there."""
    report = yield
    recorded = item.stash.get(_OF_ITEM, None)
    if recorded is not None and call.when == "call" and call.excinfo is not None and report.failed:
        from agenttrace.testing.comparing import build_section  # late: see above

        section = build_section(recorded, call.excinfo.value)
        if section is not None:
            report.sections.append(section)
    return report
