"""``agenttrace run`` of a program on OpenAI's SDK that knows nothing of us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Rows
from tests.clients.openai_asking import APIS, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import Reply, Usage, rate_limited, text, tool_calls
from tests.reading import ROOT

PROGRAM = ROOT / "tests" / "clients" / "openai_program.py"


def replies() -> list[Reply]:
    """What the model says: a 429, two tools of which one fails, one that nobody has, and the end."""
    return [
        rate_limited(),
        tool_calls(
            [("divide", {"a": 6, "b": 3}), ("divide", {"a": 1, "b": 0})], usage=Usage(100, 20, 64, 0, 8)
        ),
        tool_calls([("conquer", {"what": "all"})], usage=Usage(150, 10, 128)),
        text("2, and no more", usage=Usage(190, 6, 128)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("api", APIS)
class TestAnUnmodifiedProgram:
    def _run(
        self, provider: Provider, tmp_path: Path, api: str, way: str, *before: str
    ) -> subprocess.CompletedProcess[str]:
        provider.queue(*replies())
        return subprocess.run(
            [sys.executable, *before, str(PROGRAM), api, way],
            env={
                **os.environ,
                **provider.environment,
                "PYTHONPATH": str(ROOT),
                "AGENTTRACE_DB": str(tmp_path / "t.db"),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_prints_and_exits_as_without_us(
        self, provider: Provider, tmp_path: Path, api: str, way: str
    ) -> None:
        """Same output, same exit code, same requests but for the ids of the answers in them."""
        plain = self._run(provider, tmp_path, api, way)
        count = len(provider.bodies)
        traced = self._run(provider, tmp_path, api, way, "-m", "agenttrace", "run")
        assert (plain.stdout, plain.returncode, plain.stderr) == ("2, and no more\n", 3, "")
        assert (traced.stdout, traced.returncode) == (plain.stdout, plain.returncode)
        sent, again = provider.bodies[:count], provider.bodies[count:]
        assert [sorted(body) for body in sent] == [sorted(body) for body in again]
        assert [len(json.dumps(body)) for body in sent] == [len(json.dumps(body)) for body in again]

    def test_shows_turns_tools_tokens_and_failures(
        self, provider: Provider, tmp_path: Path, api: str, way: str
    ) -> None:
        """Turns and their tokens, calls by the model's ids, each failure and what became of it."""
        self._run(provider, tmp_path, api, way, "-m", "agenttrace", "run")
        rows = Rows(tmp_path / "t.db")
        turns = turns_of(rows)
        assert [(turn.turn, turn.status, turn.attempt) for turn in turns] == [
            (1, "ok", 2),
            (2, "ok", None),
            (3, "ok", None),
        ]
        if (api, way) != ("chat", "async"):  # that one streams without asking for usage
            assert [turn.tokens for turn in turns] == [
                (100, 20, 64, 8),
                (150, 10, 128, 0),
                (190, 6, 128, 0),
            ]
        calls = rows("SELECT tool_name, status FROM tool_traces ORDER BY id")
        assert calls == [("divide", "ok"), ("divide", "error"), ("conquer", "error")]
        ((ids,),) = rows("SELECT count(DISTINCT call_id) FROM tool_traces")
        assert ids == 3
        failures = rows("SELECT tool_name, error_type, fate, message FROM failures ORDER BY ts_ms, id")
        assert failures[0][:3] == (None, "RateLimitError", "retried")
        assert [(failure[0], failure[2]) for failure in failures[1:]] == [
            ("divide", "reported"),
            ("conquer", "reported"),
        ]
        assert "division by zero" in failures[1][3]
        assert "conquer" in failures[2][3]
        ((place,),) = rows("SELECT raised_at FROM failures WHERE error_type = 'RateLimitError'")
        assert "openai_program.py:" in place
