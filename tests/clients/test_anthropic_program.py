"""A program that never imports us, run by ``agenttrace run``: nothing differs but that it can be read."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.clients.provider import Provider
from tests.clients.provider_replies import Call, Usage, bad_request, rate_limited, text, tool_calls
from tests.reading import ROOT

PROGRAM = Path(__file__).with_name("anthropic_program.py")
SCRIPT = [
    rate_limited(),
    tool_calls(
        [
            Call("count", {"item": "apples"}, "toolu_apples"),
            Call("count", {"item": "pears"}, "toolu_pears"),
            Call("weigh", {"item": "apples"}, "toolu_weigh"),
        ],
        content="Let me count. ",
        usage=Usage(1000, 100, cache_write_tokens=400),
    ),
    text("There are 3 apples.", usage=Usage(1500, 20, cache_read_tokens=400)),
    bad_request("messages: at least one message is required"),
]


class Ran(NamedTuple):
    """What a run looks like from outside."""

    code: int
    stdout: str
    stderr: str
    bodies: list[dict[str, Any]]


def run(command: list[str], **environment: str) -> Ran:
    with Provider() as provider:
        provider.queue(*SCRIPT)
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "AGENTTRACE_RING_DIR")}
        done = subprocess.run(
            [sys.executable, *command, str(PROGRAM)],
            env={**kept, **provider.environment, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr, provider.bodies)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Ran, sqlite3.Connection]:
    """Run the program alone, and traced."""
    folder = tmp_path_factory.mktemp("program")
    database = folder / "t.db"
    alone = run([], HOME=str(folder))
    traced = run(["-m", "agenttrace", "run"], HOME=str(folder), AGENTTRACE_DB=str(database))
    return alone, traced, sqlite3.connect(database)


@pytest.mark.slow
class TestUnchangedProgram:
    """The loop of ``anthropic_program.py``."""

    def test_runs_as_ever(self, both: Any) -> None:
        """Output, exit code and what goes over the wire are those of the program alone."""
        alone, traced, _ = both
        assert alone.stdout == "Let me count. There are 3 apples.\nno summary: 400\n"
        assert (traced.code, traced.stdout, traced.bodies) == (alone.code, alone.stdout, alone.bodies)
        assert alone.code == 3

    def test_leaves_its_turns(self, both: Any) -> None:
        """Three turns, of two models, to the token; the first was tried twice."""
        database = both[2]
        found = database.execute(
            "SELECT turn, model, status, attempt, input_tokens, output_tokens, cache_read_tokens,"
            " cache_write_tokens FROM trajectory_events WHERE kind = 'model_turn' ORDER BY ts_ns"
        ).fetchall()
        assert found == [
            (1, "claude-sonnet-5", "ok", 2, 1000, 100, 0, 400),
            (2, "claude-sonnet-5", "ok", None, 1500, 20, 400, 0),
            (3, "claude-haiku-4-5", "error", None, None, None, None, None),
        ]
        switches = database.execute(
            "SELECT payload ->> '$.from_model', payload ->> '$.to_model' FROM trajectory_events"
            " WHERE kind = 'model_switched'"
        ).fetchall()
        assert switches == [("claude-sonnet-5", "claude-haiku-4-5")]

    def test_leaves_its_calls(self, both: Any) -> None:
        """Each call that the model asked for is there, though nothing is decorated."""
        found = (
            both[2]
            .execute("SELECT call_id, tool_name, status, tool_output FROM tool_traces ORDER BY call_id")
            .fetchall()
        )
        assert found == [
            ("toolu_apples", "count", "ok", "3"),
            ("toolu_pears", "count", "error", "KeyError: 'pears'"),
            ("toolu_weigh", "weigh", "error", "there is no tool weigh"),
        ]

    def test_leaves_its_failures(self, both: Any) -> None:
        """The request tried again, the tool that failed, the one that there is not, and the caught error."""
        found = both[2].execute("SELECT tool_name, error_type, fate FROM failures ORDER BY id").fetchall()
        assert [row for row in found if row[0] is None] == [
            (None, "RateLimitError", "retried"),
            (None, "BadRequestError", "swallowed"),
        ]
        assert [(tool, fate) for tool, _, fate in found if tool is not None] == [
            ("count", "reported"),
            ("weigh", "reported"),
        ]

    def test_points_at_its_lines(self, both: Any) -> None:
        """A failure of the SDK's goes back to the line of the program that asked."""
        found = (
            both[2]
            .execute(
                "SELECT error_type, payload FROM trajectory_events WHERE kind = 'error'"
                " AND error_type IN ('RateLimitError', 'BadRequestError') ORDER BY ts_ns"
            )
            .fetchall()
        )
        lines = PROGRAM.read_text().splitlines()
        asked = [
            next(number for number, line in enumerate(lines, 1) if "client.messages.stream(" in line),
            next(number for number, line in enumerate(lines, 1) if "client.messages.create(" in line),
        ]
        assert [error_type for error_type, _ in found] == ["RateLimitError", "BadRequestError"]
        for (_, payload), line in zip(found, asked, strict=True):
            assert str(PROGRAM) in payload
            assert f'"line":{line},' in payload
