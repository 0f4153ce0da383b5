"""OpenAI's SDK of another time: a program runs as ever, and ``doctor`` says what cannot be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import _base_client

import agenttrace
from agenttrace.integrations import patching
from tests.clients.conftest import Rows
from tests.clients.openai_asking import Asking, turns_of
from tests.clients.provider import Provider
from tests.clients.provider_replies import rate_limited, text
from tests.reading import ROOT

OLD = """
__version__ = "0.28.1"


class ChatCompletion:
    @staticmethod
    def create(**given):
        return {"choices": [{"message": {"content": "from long ago"}}]}
"""

PROGRAM = """
import openai
print(openai.ChatCompletion.create(model="m", messages=[])["choices"][0]["message"]["content"])
"""


@pytest.mark.slow
class TestTheTimeBeforeClients:
    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        (tmp_path / "openai").mkdir()
        (tmp_path / "openai" / "__init__.py").write_text(OLD)
        (tmp_path / "program.py").write_text(PROGRAM)
        return {
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
            "AGENTTRACE_DB": str(tmp_path / "t.db"),
        }

    def _run(self, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60
        )

    def test_runs_as_without_us(self, environment: dict[str, str], tmp_path: Path) -> None:
        """Same output, same exit code; one line on stderr names the version."""
        program = str(tmp_path / "program.py")
        plain, traced = (
            self._run(environment, program),
            self._run(environment, "-m", "agenttrace", "run", program),
        )
        assert (traced.stdout, traced.returncode) == (plain.stdout, 0) == ("from long ago\n", 0)
        assert traced.stderr.count("openai 0.28.1 is not followed: this needs 1.0 or later") == 1

    def test_is_named_by_doctor(self, environment: dict[str, str]) -> None:
        """``doctor --libraries`` tries what is installed, and says why it is not seen."""
        record = (
            "import agenttrace; agenttrace.configure(enabled=True, install=()); agenttrace.record('a.note')"
        )
        assert self._run(environment, "-c", record).stderr == ""
        done = self._run(environment, "-m", "agenttrace", "doctor", "--libraries")
        assert "openai 0.28.1 is not followed: this needs 1.0 or later" in " ".join(done.stdout.split())


@pytest.fixture
def _no_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "_problems", {})


@pytest.mark.usefixtures("_no_problems")
class TestAPrivateChange:
    """Something that the SDK does not promise has gone."""

    def _problems(self) -> str:
        return " ".join(patching.problems().get("openai", ()))

    def test_loses_the_attempts_alone(
        self, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the pause is calculated elsewhere, attempts are not seen; turns are."""
        calculate = _base_client.BaseClient._calculate_retry_timeout
        monkeypatch.delattr(_base_client.BaseClient, "_calculate_retry_timeout")
        monkeypatch.setattr(openai.OpenAI, "_calculate_retry_timeout", calculate, raising=False)
        agenttrace.configure(database=tmp_path / "t.db")
        provider.queue(rate_limited(), text("yes"))
        Asking(provider, "chat", False).ask()
        rows = Rows(tmp_path / "t.db")
        (turn,) = turns_of(rows)
        assert (turn.status, turn.attempt, turn.payload["output"]["content"]) == ("ok", None, "yes")
        assert "_calculate_retry_timeout" in self._problems()

    @pytest.mark.parametrize("form", ["streamed", "helper"])
    def test_of_streams_loses_the_answer_alone(
        self, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        """A stream that keeps its iterator elsewhere is read as ever, and its turn ends without an answer."""

        def read(stream: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith("agenttrace"):
                raise AttributeError("no _iterator")
            return vars(stream)["elsewhere"]

        def write(stream: Any, value: Any) -> None:
            vars(stream)["elsewhere"] = value

        agenttrace.configure(database=tmp_path / "t.db")
        reply = text("some words", response_id="chatcmpl-1")
        provider.queue(reply, reply)
        asking = Asking(provider, "chat", False)
        untouched = asking.ask(form)
        monkeypatch.setattr(openai.Stream, "_iterator", property(read, write), raising=False)
        assert asking.ask(form) == untouched
        first, second = turns_of(Rows(tmp_path / "t.db"))
        assert first.payload["output"]["content"] == "some words"
        assert (second.status, second.payload["output"]) == ("ok", None)
        assert "a Stream cannot be followed: no _iterator" in self._problems()

    def test_of_the_client_loses_the_turns_alone(
        self, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the classes that are known, nothing is recorded, and the program gets its answer."""
        monkeypatch.delattr(_base_client, "AsyncAPIClient")
        agenttrace.configure(database=tmp_path / "t.db")
        provider.queue(text("yes"))
        assert Asking(provider, "chat", False).ask()[1]["choices"][0]["message"]["content"] == "yes"
        assert turns_of(Rows(tmp_path / "t.db")) == []
        assert "AsyncAPIClient" in self._problems()
