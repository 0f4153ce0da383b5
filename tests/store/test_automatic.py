"""Pruning that a setting of the database asks for: who does it, how often, and what it never does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agenttrace import TraceStore
from agenttrace.errors import ConfigError
from agenttrace.store import EventSink
from agenttrace.store.automatic import LAST_PRUNE, PRUNE, AutomaticPrune, parse_limits, render_limits
from agenttrace.store.prune import Limits
from tests.store.test_prune import fill, names
from tests.write.factory import build_body, recording


def fill_old(path: str, count: int = 3) -> None:
    with TraceStore(path) as store:
        for number in range(count):
            fill(store, f"old{number}", age_days=0)


def run(pruning: AutomaticPrune, sink: EventSink) -> None:
    pruning.run(lambda: sink.database, lambda: False)


class TestSetting:
    """What stands in ``trace_settings``."""

    @pytest.mark.parametrize(
        "limits", [Limits(86_400_000, None, False), Limits(None, 5, True), Limits(0, 0, False)]
    )
    def test_is_read_as_it_was_written(self, limits: Limits) -> None:
        """Nothing is rounded."""
        assert parse_limits(render_limits(limits)) == limits

    @pytest.mark.parametrize(
        "value",
        [
            *(
                None,
                "",
                "30d",
                "[]",
                "{}",
                '{"older_than_ms": -1}',
                '{"older_than_ms": "1"}',
                '{"all": true}',
            ),
            *('{"max_size_bytes": 1.5}', '{"max_size_bytes": true}', '{"keep_failed": true}'),
            '{"older_than_ms": 1, "keep_failed": 1}',
        ],
    )
    def test_that_is_anything_else_deletes_nothing(self, value: str | None) -> None:
        """Nothing may be deleted because of what cannot be read."""
        assert parse_limits(value) is None

    def test_is_set_and_taken_back(self, path: str) -> None:
        """Without limits nothing is pruned any more; a wrong number is refused."""
        with TraceStore(path) as store:
            store.prune_always(older_than_days=30, keep_failed=True)
            assert parse_limits(store.settings[PRUNE]) == Limits(30 * 86_400_000, None, True)
            with pytest.raises(ConfigError, match="number of days"):
                store.prune_always(older_than_days=-1)
            store.prune_always()
            store.prune_always()
            assert PRUNE not in store.settings


class TestAutomaticPrune:
    """S1.12, S1.25: automatic only when a setting asks for it."""

    def test_does_nothing_unasked(self, path: str) -> None:
        """Without the setting, old conversations stay."""
        fill_old(path)
        with EventSink(path) as sink:
            run(AutomaticPrune(), sink)
        with TraceStore(path) as store:
            assert len(names(store)) == 3 and LAST_PRUNE not in store.settings

    def test_goes_on_step_by_step(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """One step may be all that a pass of the writer has time for; in the end all is done, and said."""
        monkeypatch.setattr("agenttrace.store.automatic._STEPS_S", -1.0)
        fill_old(path)
        with TraceStore(path) as store:
            store.prune_always(max_size_bytes=0)
        with EventSink(path) as sink:
            pruning = AutomaticPrune()
            run(pruning, sink)
            with TraceStore(path) as store:
                assert len(names(store)) == 2
            for _ in range(20):
                run(pruning, sink)
        with TraceStore(path) as store:
            assert not names(store)
            last = json.loads(store.settings[LAST_PRUNE])
        assert (last["conversations"], last["events"], last["blobs"]) == (3, 9, 0)
        assert abs(last["at_ms"] / 1000 - time.time()) < 60

    def test_is_done_once_an_hour_by_one_process(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever comes first does it; the others, and the same one again, wait for an hour."""
        with TraceStore(path) as store:
            store.prune_always(max_size_bytes=0)
        with EventSink(path) as sink:
            run(AutomaticPrune(), sink)
            fill_old(path)
            run(AutomaticPrune(), sink)
            with TraceStore(path) as store:
                assert len(names(store)) == 3
                store.settings["prune_claimed_ms"] = int(time.time() * 1000) - 3_600_001
            run(AutomaticPrune(), sink)
        with TraceStore(path) as store:
            assert not names(store)

    def test_ends_when_it_must(self, path: str) -> None:
        """A fork waits for one step at most; what is left is done when the thread is back."""
        fill_old(path)
        with TraceStore(path) as store:
            store.prune_always(max_size_bytes=0)
        with EventSink(path) as sink:
            pruning = AutomaticPrune()
            pruning.run(lambda: sink.database, lambda: True)
            with TraceStore(path) as store:
                assert len(names(store)) == 3
            run(pruning, sink)
        with TraceStore(path) as store:
            assert not names(store)

    def test_is_what_the_writer_does(self, tmp_path: Path) -> None:
        """A process that records prunes the database it writes to, and its own events stay."""
        path = str(tmp_path / "t.db")
        fill_old(path)
        with TraceStore(path) as store:
            store.prune_always(max_size_bytes=0)
        with recording(path) as recorder:
            recorder.publish(build_body(1))
            recorder.flush(10.0)
            with TraceStore(path) as store:
                assert names(store).isdisjoint({"old0", "old1", "old2"})
                assert names(store)
