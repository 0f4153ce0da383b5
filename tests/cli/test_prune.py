"""``agenttrace prune`` and ``agenttrace stats`` as people call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agenttrace import TraceStore
from tests.cli.conftest import Invoke


class TestPrune:
    """S1.12."""

    def test_dry_run_then_prune(self, database: Path, invoke: Invoke) -> None:
        """It says what would go, then that goes, and the second time there is nothing to do."""
        said = invoke("prune", "--older-than", "0s", "--dry-run")
        assert said.exit_code == 0 and said.stdout.startswith("would delete 1 conversation with ")
        done = invoke("prune", "--older-than", "0s")
        assert done.stdout.startswith("deleted 1 conversation with "), done.output
        with TraceStore(database) as store:
            assert not store.conversations().items
        assert "deleted 0 conversations" in invoke("prune", "--max-size", "1B").stdout

    def test_json(self, database: Path, invoke: Invoke) -> None:
        """Programs get the numbers."""
        answer = json.loads(invoke("prune", "--max-size", "2GB", "--json").stdout)
        assert answer["conversations"] == 0 and answer["size_bytes"] > 0 and answer["dry_run"] is False

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "--older-than 30d, --max-size 2GB"),
            (("--older-than", "soon"), "is no span of time"),
            (("--max-size", "much"), "is no size"),
        ],
    )
    def test_usage(self, arguments: tuple[str, ...], said: str, database: Path, invoke: Invoke) -> None:
        """What is missing or wrong is named, with exit code 2."""
        done = invoke("prune", *arguments)
        assert done.exit_code == 2 and said in done.output

    def test_always_and_never(self, database: Path, invoke: Invoke) -> None:
        """Limits are kept in the database, ``stats`` says so, and they are forgotten again."""
        done = invoke("prune", "--older-than", "30d", "--max-size", "2GB", "--keep-failed", "--always")
        assert done.exit_code == 0 and "once an hour" in done.stderr
        said = invoke("stats").stdout
        assert "pruned by itself, once an hour: what is older than 30 days" in said
        assert "failed ones kept; not yet" in said
        limits = json.loads(invoke("stats", "--json").stdout)["pruning"]["limits"]
        assert limits["older_than_ms"] == 30 * 86_400_000 and limits["keep_failed"] is True
        assert invoke("prune", "--never").stdout.startswith("nothing is pruned any more")
        assert "pruned by itself" not in invoke("stats").stdout

    @pytest.mark.parametrize(
        "arguments",
        [("--never", "--older-than", "1d"), ("--always",), ("--always", "--max-size", "1GB", "--dry-run")],
    )
    def test_always_needs_limits_and_never_none(
        self, arguments: tuple[str, ...], database: Path, invoke: Invoke
    ) -> None:
        """What contradicts itself is refused before anything is deleted."""
        assert invoke("prune", *arguments).exit_code == 2
        assert invoke("prune", "--max-size", "2GB").stdout.startswith("deleted 0 conversations")

    def test_no_database(self, clean_environment: Path, invoke: Invoke) -> None:
        """Without a database it says where it looked, and makes none."""
        done = invoke("prune", "--older-than", "1d")
        assert "agenttrace demo" in done.output and done.exit_code != 0
        assert not (clean_environment / "traces.db").exists()


class TestStats:
    """What takes the space."""

    def test_shows_the_parts(self, database: Path, invoke: Invoke) -> None:
        """Tables, kinds, tools, conversations and months, within 80 columns."""
        done = invoke("stats")
        assert done.exit_code == 0
        for title in ("TABLE OR INDEX", "KIND", "TOOL", "CONVERSATION", "MONTH", "tool_call"):
            assert title in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_json(self, database: Path, invoke: Invoke) -> None:
        """The same for programs."""
        answer = json.loads(invoke("stats", "--json").stdout)
        assert answer["kinds"] and answer["file_bytes"] > 0
