"""
The pytest plugin: the fixture ``trajectory`` for tests of agents, its marker, options and reports.

pytest loads this module in every run, also in projects that never use the fixture, so nothing but the
fixture's own body and what follows from it imports what recording needs. Invariants: for a test without
the fixture or the marker no hook does anything; a cassette is written only after its test has passed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from agenttrace.testing import Trajectory

__all__ = ["trajectory"]

_MARKER = (
    "trajectory(max_tokens=None, max_cost_usd=None, max_calls=None, cassette=None, run=()): limits for what "
    "the agents of the test use, checked when it ends; a cassette (True, a name, a path) that stands in for "
    "tools and models; tools that run themselves"
)
_LIMITS = ("max_tokens", "max_cost_usd", "max_calls")
_MARKED = (*_LIMITS, "cassette", "run")
_RECORD = "what is not in a cassette: none refuses it, once runs and records it, all records everything anew"
_OF_ITEM = pytest.StashKey["Trajectory"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("agenttrace")
    group.addoption(
        "--trajectory-record",
        choices=("none", "once", "all"),
        default=None,
        help=f"{_RECORD} (default: none)",
    )
    group.addoption(
        "--trajectory-keep-failed", action="store_true", help="write the cassettes of failed tests, too"
    )
    parser.addini("trajectory_record", _RECORD, default="none")


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
    cut or redacted, and nothing reaches a disk, except the cassettes that are asked for.
    """
    from agenttrace.testing import Trajectory, memory_recorder  # late: see above

    item: pytest.Item = request.node
    said = _read_marks(item)
    with memory_recorder() as recorder:
        recorded = Trajectory(recorder)
        recorded.folder = item.path.parent
        recorded.record_mode = _read_mode(request.config)
        recorded.budget(**{name: said[name] for name in _LIMITS if name in said})
        item.stash[_OF_ITEM] = recorded
        yield recorded


def _read_marks(item: pytest.Item) -> dict[str, Any]:
    """Read the markers of a test, of its class and of its module; the nearest wins."""
    said: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("trajectory"))):
        unknown = [*map(repr, mark.args), *(name for name in mark.kwargs if name not in _MARKED)]
        if unknown:
            raise pytest.UsageError(
                f"{item.nodeid}: pytest.mark.trajectory takes {', '.join(_MARKED)}; not {', '.join(unknown)}"
            )
        said |= mark.kwargs
    return said


def _read_mode(config: pytest.Config) -> str:
    mode = str(config.getoption("--trajectory-record") or config.getini("trajectory_record"))
    if mode not in ("none", "once", "all"):
        raise pytest.UsageError(f"trajectory_record is none, once or all; not {mode!r}")
    return mode


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Play the cassette that the marker names; of a test that has passed check limits and save cassettes."""
    recorded = item.stash.get(_OF_ITEM, None)
    if recorded is None:
        return (yield)
    try:
        with _playing(item, recorded):
            result = yield
    except BaseException:
        if item.config.getoption("--trajectory-keep-failed"):
            _save(item, recorded)
        raise
    try:
        recorded.check_budget()
    except AssertionError as exc:
        _fail(str(exc))
    _save(item, recorded)
    return result


def _playing(item: pytest.Item, recorded: Trajectory) -> Any:
    said = _read_marks(item)
    cassette = said.get("cassette")
    if not cassette:
        return nullcontext()
    from agenttrace.testing.cassette_names import name_cassette  # late: see above

    name = item.nodeid.partition("::")[2].replace("::", ".") or item.name
    path = name_cassette(item.path, name, None if cassette is True else str(cassette))
    if recorded.record_mode == "none" and not path.exists():
        from agenttrace.testing.playing import CassetteMissing

        _fail(str(CassetteMissing.of(path, item.nodeid)))
    return recorded.play(path, run=said.get("run", ()))


def _save(item: pytest.Item, recorded: Trajectory) -> None:
    for playing in recorded.playings:
        if playing.save(item.config.rootpath):
            item.add_report_section("call", "trajectory", f"recorded {playing.path}")


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
        from agenttrace.testing.comparing import build_replay_section, build_section  # late: see above

        sections = (build_section(recorded, call.excinfo.value), build_replay_section(recorded))
        report.sections.extend(section for section in sections if section is not None)
    return report
