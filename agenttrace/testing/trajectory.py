"""
A run as a test has it: everything that can be read of it, claimed about it, and played to it.

Invariant: what is claimed is claimed of all that has been recorded so far. The readings are in
``readings``; each kind of claim has a module of its own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agenttrace.query.viewer import TraceViewer
from agenttrace.testing import assertions
from agenttrace.testing.budget import Budget, check_budget
from agenttrace.testing.calls import Call
from agenttrace.testing.finding_claims import check_no_findings
from agenttrace.testing.readings import Readings
from agenttrace.testing.recorder import MemoryRecorder

if TYPE_CHECKING:
    from agenttrace.testing.playing import Playing

__all__ = ["Trajectory"]


class Trajectory(Readings):
    """
    Read a recorder's events as a test asks for them, claim what has to be so, replay a cassette.

    Everything that reads raises AssertionError while nothing has been recorded, unless
    ``allow_empty`` was called.
    """

    def __init__(self, recorder: MemoryRecorder) -> None:
        super().__init__(recorder)
        self.folder = Path()
        """Where paths of cassettes begin: the folder of the test."""
        self.record_mode = "none"
        """What ``replay`` does where its mode is not given."""
        self.playings: list[Playing] = []
        """The cassettes that were opened."""
        self._budget = Budget()

    def assert_called(
        self,
        tool: str,
        /,
        *,
        times: int | None = None,
        agent: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        **wanted: Any,
    ) -> list[Call]:
        """
        Claim that *tool* was called, with these arguments.

        Args:
            tool: Its name.
            times: How often exactly; None is once at least.
            agent: Only calls of the agent with this name or id count.
            arguments: As *wanted*, for names that are parameters here.
            wanted: By the tool's parameter: a value, ``...`` for any, a type, a function that is true of
                it, a pattern to be found in it, or a dict or list of these. A dict needs to hold only
                what is looked at. Parameters that are not named may be anything.

        Returns:
            The calls that fit.

        Raises:
            AssertionError: There are none, or not as many; with the path to those that come near.
        """
        __tracebackhide__ = True
        return assertions.check_called(self, tool, times, agent, {**(arguments or {}), **wanted})

    def assert_not_called(
        self,
        tool: str,
        /,
        *,
        agent: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        **wanted: Any,
    ) -> None:
        """Claim that *tool* was not called, or not with these arguments; see ``assert_called``."""
        __tracebackhide__ = True
        assertions.check_called(self, tool, 0, agent, {**(arguments or {}), **wanted})

    def assert_order(self, *steps: assertions.Step, agent: str | None = None) -> None:
        """
        Claim that these tools were called in this order; other calls may stand between them.

        Args:
            steps: Names of tools, or pairs of a name and what its arguments have to be.
            agent: Only calls of the agent with this name or id count.
        """
        __tracebackhide__ = True
        assertions.check_order(self, steps, agent)

    def assert_no_swallowed(self, agent: str | None = None) -> None:
        """
        Claim that no failure was caught without a model or the answer telling of it.

        Args:
            agent: Only failures in the agent with this name or id count.
        """
        __tracebackhide__ = True
        assertions.check_no_swallowed(self, agent)

    def assert_no_findings(self, *kinds: str, agent: str | None = None, tool: str | None = None) -> None:
        """
        Claim that ``agenttrace check`` would find nothing of these kinds.

        A failure that a model was told of does not count, nor does what came after the program left
        a recording (see ``replay``).

        Args:
            kinds: ``loop``, ``retry_storm``, ``swallowed_error``, …; none is every kind.
            agent: Only findings in the agent with this name or path count.
            tool: Only findings about this tool count.
        """
        __tracebackhide__ = True
        viewer = TraceViewer(self._recorder.store)
        check_no_findings(self, viewer, kinds, agent=agent, tool=tool, until_ns=self._left_ns())

    def replay(
        self,
        cassette: str | os.PathLike[str],
        *,
        mode: str | None = None,
        run: Collection[str] = (),
        may_leave: bool | str = False,
    ) -> AbstractContextManager[Playing]:
        """
        Let a cassette stand in for all tools and models until the block ends.

        Args:
            cassette: Its path, from the folder of the test.
            mode: ``none`` refuses what is not recorded, ``once`` runs and records it, ``all`` records
                anew; what ``--trajectory-record`` says, unless given.
            run: Names of tools that run themselves.
            may_leave: Let the block end quietly where the program asks for what is not recorded: a
                program that was mended goes another way than the recorded one. The name of a tool or
                of a model says that it has to have asked for that before.

        Raises:
            CassetteMissing: There is no such file, and nothing may be recorded.
            ReplayError: Something was asked for that is not recorded.
        """
        return self.play(self.folder / cassette, mode, run=run, may_leave=may_leave)

    @contextmanager
    def play(
        self,
        path: Path,
        mode: str | None = None,
        *,
        run: Collection[str] = (),
        may_leave: bool | str = False,
    ) -> Iterator[Playing]:
        """Do as ``replay`` does, with a path that stands for itself."""
        __tracebackhide__ = True
        from agenttrace.testing.playing import play  # late: what replays is brought in where it is used

        given = mode or self.record_mode
        with play(self._recorder, path, given, run=run, may_leave=may_leave) as playing:
            self.playings.append(playing)
            yield playing

    def _left_ns(self) -> int | None:
        times = [each.left_ns for each in self.playings if each.left_ns is not None]
        return min(times, default=None)

    def budget(
        self,
        *,
        max_tokens: int | None = None,
        max_cost_usd: float | None = None,
        max_calls: int | None = None,
    ) -> None:
        """
        Set limits for all that is recorded here.

        What has been recorded so far is checked at once; the fixture checks again when the test ends,
        and without pytest ``check_budget`` does. Of two limits of one kind the lower one counts.

        Args:
            max_tokens: Input and output of all model turns.
            max_cost_usd: What they cost, by the offline price table where a turn does not say it.
            max_calls: Tool calls; one tried several times is one.

        Raises:
            AssertionError: The run is beyond a limit, or what is limited was not measured.
        """
        __tracebackhide__ = True
        self._budget = self._budget.narrowed(Budget(max_tokens, max_cost_usd, max_calls))
        if self._recorder.events():
            self.check_budget()

    def check_budget(self) -> None:
        """Claim that the run so far has kept to the limits that ``budget`` set."""
        __tracebackhide__ = True
        if self._budget != Budget():
            check_budget(self, self._budget)
