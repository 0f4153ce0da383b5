"""
Programs that know nothing of us, recorded and then replayed where nobody can be reached.

The provider is gone, no key is set, sockets and processes are refused, tools count their runs: output, exit
code and failures are those of the recorded run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Reply,
    Usage,
    bad_request,
    rate_limited,
    server_error,
    text,
    tool_calls,
)
from tests.reading import ROOT

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CLIENTS = HERE.parent / "clients"


class Run(NamedTuple):
    """What a run looks like from outside."""

    stdout: str
    code: int
    stderr: str
    tools: list[str]
    """What ran in it, line by line."""


class Stage:
    """Where programs run: a database, and a file that tools write to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = folder / "t.db"

    def _run(self, *command: str, **environment: str) -> Run:
        ran = self._folder / "ran"
        ran.write_text("")
        kept = {
            name: value for name, value in os.environ.items() if "API_KEY" not in name and "_URL" not in name
        }
        done = subprocess.run(
            [sys.executable, *command],
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                "AGENTTRACE_DB": str(self._database),
                "AGENTTRACE_STRICT": "1",
                "RAN": str(ran),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Run(done.stdout, done.returncode, done.stderr, ran.read_text().split())

    def record(self, program: Path, *arguments: str, replies: list[Reply]) -> Run:
        """Run *program* under ``agenttrace run``, with a provider that gives *replies*."""
        with Provider() as provider:
            provider.queue(*replies)
            command = ("-m", "agenttrace", "run", str(program), *arguments)
            return self._run(*command, **provider.environment)

    def replay(self, program: Path, *arguments: str) -> tuple[Run, dict[str, Any]]:
        """Run it in a replay; give also what the replay says of itself."""
        run = self._run(str(HERE / "driver.py"), str(self._database), str(program), *arguments)
        lines = run.stderr.strip().splitlines()
        told = next((line for line in reversed(lines) if line.startswith('{"replayed"')), None)
        assert told is not None, run.stderr[-3000:]
        return run, json.loads(told)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def _tools(content: str = "let me see") -> Reply:
    calls = [("divide", {"a": 6, "b": 3}), ("divide", {"a": 1, "b": 0}), ("look_up", {"word": "x"})]
    return tool_calls(calls, content=content, usage=Usage(100, 20, 64, 0, 8))


def _check(stage: Stage, program: Path, *arguments: str, replies: list[Reply], turns: int, calls: int) -> Run:
    before = stage.record(program, *arguments, replies=replies)
    assert "Traceback" not in before.stderr, before.stderr
    again, told = stage.replay(program, *arguments)
    assert (again.stdout, again.code) == (before.stdout, before.code), again.stderr[-3000:]
    assert again.tools == []
    assert sum(line != "model" for line in before.tools) == calls
    assert (told["ran"], told["unused"]) == (0, [])
    assert told["replayed"] == turns + calls
    return before


class TestOpenAI:
    @pytest.mark.parametrize("way", ["sync", "async"])
    @pytest.mark.parametrize("api", ["chat", "responses"])
    def test_loop_ends_as_it_ended(self, stage: Stage, api: str, way: str) -> None:
        """A request that was refused at first, tools at once, streams and plain answers."""
        replies = [
            rate_limited(),
            tool_calls([("divide", {"a": 6, "b": 3}), ("divide", {"a": 1, "b": 0})]),
            tool_calls([("conquer", {"what": "all"})]),
            text("2, and no more"),
        ]
        program = CLIENTS / "openai_program.py"
        before = _check(stage, program, api, way, replies=replies, turns=3, calls=0)
        assert (before.stdout, before.code) == ("2, and no more\n", 3)

    @pytest.mark.parametrize(("api", "way"), [("chat", "sync"), ("chat", "async"), ("responses", "async")])
    def test_long_answer_is_whole(self, stage: Stage, api: str, way: str) -> None:
        """An answer that no row holds is given back to the last word, and so are long arguments."""
        long = " ".join(f"word{number}" for number in range(3_000))
        replies = [tool_calls([("conquer", {"what": long})]), text(long)]
        before = _check(stage, CLIENTS / "openai_program.py", api, way, replies=replies, turns=2, calls=0)
        assert before.stdout == f"{long}\n"


class TestAnthropic:
    def test_loop_ends_as_it_ended(self, stage: Stage) -> None:
        """A stream that is printed as it comes, a tool that nobody has, and a request that is refused."""
        replies = [
            rate_limited(),
            tool_calls([("count", {"item": "apples"}), ("weigh", {})], content="Let me count. "),
            text("There are 3 apples."),
            bad_request("at least one message is required"),
        ]
        before = _check(stage, CLIENTS / "anthropic_program.py", replies=replies, turns=3, calls=0)
        assert before.stdout == "Let me count. There are 3 apples.\nno summary: 400\n"


class TestOpenAIAgents:
    @pytest.mark.parametrize("way", ["plain", "streamed"])
    @pytest.mark.parametrize("api", ["chat", "responses", "fake"])
    def test_run_ends_as_it_ended(self, stage: Stage, api: str, way: str) -> None:
        """Three tools at once, of which one fails and the model is told: none of them runs again."""
        replies = [] if api == "fake" else [_tools(), rate_limited(), text("it is done")]
        program = HERE / "agents_program.py"
        before = _check(stage, program, api, way, replies=replies, turns=2, calls=3)
        assert "function_call_output An error occurred" in before.stdout

    def test_run_fails_as_it_failed(self, stage: Stage) -> None:
        """What the provider refused is refused again, with the same words."""
        program = HERE / "agents_program.py"
        before = _check(
            stage, program, "chat", "plain", replies=[bad_request("no such model")], turns=1, calls=0
        )
        assert before.code == 2


class TestPydanticAI:
    @pytest.mark.parametrize("way", ["plain", "streamed"])
    @pytest.mark.parametrize("api", ["openai", "responses", "anthropic", "fake"])
    def test_run_ends_as_it_ended(self, stage: Stage, api: str, way: str) -> None:
        """A tool that asks for another try, two at once, a request that was refused at first."""
        content = "" if way == "streamed" else "let me see"  # a streamed run ends with the first words
        replies = [] if api == "fake" else [_tools(content), rate_limited(), text("it is done")]
        before = _check(stage, HERE / "pydantic_program.py", api, way, replies=replies, turns=2, calls=3)
        assert "b must not be 0" in before.stdout

    def test_run_fails_as_it_failed(self, stage: Stage) -> None:
        """An exception that no one expects leaves the run, as it did."""
        replies = [tool_calls([("explode", {"how": "loudly"})])]
        program = HERE / "pydantic_program.py"
        before = _check(stage, program, "openai", "plain", replies=replies, turns=1, calls=1)
        assert before.stdout == "ValueError exploded loudly None\n"

    def test_run_is_refused_as_it_was(self, stage: Stage) -> None:
        """What the library makes of the provider's refusal has the same status and body."""
        program = HERE / "pydantic_program.py"
        replies = [bad_request("no such model")]
        before = _check(stage, program, "openai", "plain", replies=replies, turns=1, calls=0)
        assert "no such model" in before.stdout


class TestLangGraph:
    @pytest.mark.parametrize(
        ("api", "way"),
        [
            *[
                (api, way)
                for api in ("openai", "responses", "anthropic")
                for way in ("sync", "async", "streamed")
            ],
            ("fake", "sync"),
            ("fake", "async"),  # streamed, LangChain's own fake cannot ask for tools
        ],
    )
    def test_run_ends_as_it_ended(self, stage: Stage, api: str, way: str) -> None:
        """Three tools at once, of which one fails and the model is told: none of them runs again."""
        replies = [_tools(), rate_limited(), text("it is done")]
        program, count = HERE / "graph_program.py", 3
        before = stage.record(program, api, way, replies=[] if api == "fake" else replies)
        again, told = stage.replay(program, api, way)
        assert (again.stdout, again.code) == (before.stdout, before.code), again.stderr[-3000:]
        assert "division by zero" in before.stdout
        assert again.tools == []
        assert len(before.tools) == count + (2 if api == "fake" else 0)
        assert (told["replayed"], told["ran"], told["unused"]) == (2 + count, 0, [])

    def test_run_fails_as_it_failed(self, stage: Stage) -> None:
        """A provider that went on failing does so again, and nobody waits for it."""
        replies = [server_error("one"), server_error("two"), server_error("three")]
        program = HERE / "graph_program.py"
        before = _check(stage, program, "openai", "sync", replies=replies, turns=1, calls=0)
        assert before.code == 2


class TestMCP:
    def test_client_needs_no_server(self, stage: Stage) -> None:
        """No process is started; the session begins and lists as ever, and each call has its own result."""
        before = stage.record(HERE / "mcp_program.py", replies=[])
        again, told = stage.replay(HERE / "mcp_program.py")
        assert (again.stdout, again.code) == (before.stdout, before.code), again.stderr[-3000:]
        assert before.stdout.startswith("['divide', 'look_up']\nCallToolResult False ['2.0']\n")
        assert "division by zero" in before.stdout or "Error executing tool" in before.stdout
        assert (len(before.tools), again.tools) == (5, [])
        assert (told["replayed"], told["ran"], told["unused"]) == (5, 0, [])
