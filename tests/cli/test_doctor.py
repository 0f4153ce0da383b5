"""``agenttrace doctor``: what is missing here, and what was lost, in words."""

from __future__ import annotations

import json
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import prices
from agenttrace.store import EventSink
from tests.cli.conftest import Invoke, Shell
from tests.store.scenes import Scene, process_info

SEES_ALL = sys.version_info >= (3, 12)


def set_process(database: Path, **columns: str) -> None:
    """Change the row of every process."""
    connection = sqlite3.connect(database)
    for name, value in columns.items():
        connection.execute(f"UPDATE processes SET {name} = ?", (value,))
    connection.commit()
    connection.close()


class TestSight:
    """What can be seen here."""

    def test_says_what_this_python_does_not_see(self, invoke: Invoke, database: Path) -> None:
        """Before 3.12 caught exceptions are not told of: what is found all the same, and what to do."""
        text = invoke("doctor").stdout
        assert ("Python 3.11 has no sys.monitoring" in text) is not SEES_ALL
        assert ("use suppressed() or record_exception()" in text) is not SEES_ALL
        assert ("caught exceptions are watched while tracing is on" in text) is SEES_ALL

    @pytest.mark.parametrize(("version", "is_told"), [("3.11.7", True), ("3.12.1", False), ("?", False)])
    def test_says_what_the_recorded_processes_did_not_see(
        self, invoke: Invoke, database: Path, version: str, is_told: bool
    ) -> None:
        """A program may run on another Python than the command line."""
        set_process(database, python_version=version)
        assert (f"1 of 1 recorded processes ran Python {version}" in invoke("doctor").stdout) is is_told

    def test_says_that_caught_exceptions_are_switched_off(
        self, invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AGENTTRACE_SWALLOWED=0."""
        monkeypatch.setenv("AGENTTRACE_SWALLOWED", "0")
        assert "caught exceptions are not watched (AGENTTRACE_SWALLOWED=0" in invoke("doctor").stdout

    def test_names_the_recorder(self, shell: Shell, database: Path) -> None:
        """In C or in Python, and why."""
        assert "AGENTTRACE_PURE is set" in shell("doctor", env={"AGENTTRACE_PURE": "1"}).stdout

    def test_names_the_libraries(
        self, invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that are followed with their versions, those that are not there, or that none is."""
        from agenttrace import integrations

        monkeypatch.setitem(integrations.INTEGRATIONS, "nosuchlibrary", "agenttrace.integrations.nosuch")
        text = invoke("doctor").stdout
        assert "followed when imported: threads, " in text
        assert "not installed here: " in text and "nosuchlibrary" in text
        monkeypatch.setenv("AGENTTRACE_INSTALL", "none")
        assert "nothing is followed" in invoke("doctor").stdout

    @pytest.mark.slow
    def test_tries_the_libraries(self, shell: Shell, database: Path, tmp_path: Path) -> None:
        """--libraries imports each in a process of its own; one that breaks is named with the reason."""
        (tmp_path / "tenacity.py").write_text("raise RuntimeError('half an installation')")
        broken = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent.parent}"}
        text = shell("doctor", "--libraries", env=broken).stdout
        assert "RuntimeError: half an installation" in text
        assert "half an installation" not in shell("doctor", env=broken).stdout


class TestPrices:
    """Which turns have no price, and why."""

    def record(self, *models: str) -> None:
        """Record a turn of each, with tokens, and one that has none."""
        agenttrace.configure(enabled=True, install=())
        with agenttrace.agent_scope("chat"):
            for model in models:
                with agenttrace.model_turn(model, provider="openai") as turn:
                    turn.set_usage(input_tokens=1_000, output_tokens=1)
            with agenttrace.model_turn("never-answered", provider="openai"):
                pass
        agenttrace.shutdown()

    def checks(self, invoke: Invoke) -> list[dict[str, Any]]:
        """Give what doctor says of prices."""
        found = json.loads(invoke("doctor", "--json").stdout)["checks"]
        return [check for check in found if check["name"] == "prices"]

    def test_counts_the_models_without_one(self, invoke: Invoke) -> None:
        """By model, most turns first; a turn without tokens cost nothing that anybody knows of."""
        self.record("ours-b", "gpt-4o", "ours-a", "ours-a")
        table, unpriced = self.checks(invoke)
        assert (table["state"], table["text"]) == ("ok", f"genai-prices {version('genai-prices')}, offline")
        assert unpriced["text"] == "3 turns without a price: ours-a (2), ours-b (1)"
        assert unpriced["data"] == {"unpriced": {"ours-a": 2, "ours-b": 1}}

    def test_names_five_models(self, invoke: Invoke) -> None:
        """A table of hundreds would hide the rest of the page."""
        self.record(*(f"ours-{number}" for number in range(8)))
        assert self.checks(invoke)[1]["text"].endswith("ours-4 (1) and 3 models more")

    def test_says_nothing_more_where_all_have_one(self, invoke: Invoke) -> None:
        """All is well."""
        self.record("gpt-4o")
        assert [check["state"] for check in self.checks(invoke)] == ["ok"]

    def test_says_that_the_library_is_not_there(
        self, invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And which extra brings it."""

        def lacking(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr("importlib.metadata.version", lacking)
        (check,) = self.checks(invoke)
        assert check["state"] == "info"
        assert "genai-prices is not installed" in check["text"]
        assert "(extra: prices)" in check["text"]

    def test_says_that_the_library_has_changed(
        self, invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With what went wrong; nothing breaks by it."""
        prices._find.cache_clear()
        monkeypatch.delattr("genai_prices.data_snapshot.DataSnapshot.find_provider_model")
        (check,) = self.checks(invoke)
        assert check["state"] == "warn"
        assert "cannot be used: AttributeError" in check["text"]


class TestLosses:
    """What was lost."""

    @pytest.mark.parametrize(
        ("reason", "meaning"),
        [
            ("lost_parent", "agenttrace.bind"),
            ("scope_left_out_of_order", "held over a `yield`"),
            ("integrations.tenacity", "could not be followed"),
            ("capture.monitoring.raise", "could not be looked at"),
            ("capture.tool_call", "its log (agenttrace) says why"),
            ("write.store", "the writer failed there"),
            ("store.told", "the errors they tell of"),
        ],
    )
    def test_are_explained(self, reason: str, meaning: str, invoke: Invoke, database: Path) -> None:
        """Every counter comes with what it means."""
        set_process(database, failed=json.dumps({reason: 1204}))
        text = invoke("doctor").stdout
        assert f"1,204 failures of recording: {reason} (" in text
        assert meaning in text

    def test_count_what_was_caught_and_not_written(self, invoke: Invoke, clean_environment: Path) -> None:
        """The ends of operations carry how many caught exceptions were only counted."""
        scene = Scene()
        root = scene.agent()
        for number in (1, 2):
            call = scene.call(root)
            scene.add(
                "tool_result",
                call,
                {
                    "output": None,
                    "caught": {"more_count": number, "lookup_count": 1000, "elsewhere_count": 0},
                },
                status="ok",
            )
        scene.add("tool_result", scene.call(root), {"output": '"caught": 7', "caught": [1]}, status="ok")
        scene.end(root)
        with EventSink(clean_environment / "traces.db") as sink:
            sink.write(scene.records, process=process_info())
        text = invoke("doctor").stdout
        assert "3 caught exceptions beyond 50 of one operation were only counted" in text
        assert "2,000 expected look-ups" in text
        assert "other people's code" not in text


class TestLayout:
    """How findings are shown."""

    def test_is_one_line_each_in_a_pipe(self, invoke: Invoke, database: Path) -> None:
        """A pipe gets whole lines, to grep."""
        set_process(database, failed=json.dumps({"lost_parent": 1}))
        lines = [line for line in invoke("doctor").stdout.splitlines() if "lost_parent" in line]
        assert lines == [
            "! failed          1 failure of recording: lost_parent (calls in threads that lost their scope;"
            " wrap the thread's target with agenttrace.bind)"
        ]

    def test_is_wrapped_on_a_terminal(
        self, invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A terminal gets lines that fit, the later ones indented."""
        from rich.console import Console

        monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
        set_process(database, failed=json.dumps({"lost_parent": 1}))
        lines = invoke("doctor", env={"NO_COLOR": "1", "TERM": "dumb"}).stdout.splitlines()
        assert all(len(line) <= 80 or str(database) in line for line in lines)
        assert any(line.startswith(" " * 18) and "agenttrace.bind" in line for line in lines)
