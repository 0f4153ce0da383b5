"""``agenttrace mcp`` as a coding agent meets it: through the SDK's own client, over stdin and stdout."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import mcp
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from agenttrace._version import VERSION
from agenttrace.mcp_server.tools import TOOLS
from tests.cli.conftest import write_story
from tests.query.factory import audit
from tests.query.test_for_llm import CANARY, HOSTILE, big_story, own_words

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parent.parent.parent
_GOOD_CALLS: dict[str, dict[str, Any]] = {
    "why": {},
    "show": {"conversation": "c0ffee00", "max_tokens": 1_000},
    "search": {"query": "syntax"},
    "diff": {"a": "c0ffee00", "b": "last"},
    "list": {"limit": 5},
    "ps": {},
}

Ask = Callable[..., Awaitable[dict[str, Any]]]


def serve(database: Path | str, talk: Callable[[Any, Ask], Awaitable[None]], **environment: str) -> None:
    """Start a server, and let *talk* speak with it: the session, and a function that calls a tool."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("AGENTTRACE", "XDG", "HOME"))
    }
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "agenttrace", "mcp", "--db", str(database)],
        env={**kept, "PYTHONPATH": str(_ROOT), **environment},
    )

    async def main() -> None:
        async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:

            async def ask(name: str, **arguments: Any) -> dict[str, Any]:
                result = await session.call_tool(name, arguments)
                return dict(result.model_dump(by_alias=True, mode="json"))

            greeting = (await session.initialize()).model_dump(by_alias=True)
            assert greeting["serverInfo"]["name"] == "agenttrace"
            assert greeting["serverInfo"]["version"] == VERSION
            assert "Begin with why()" in greeting["instructions"]
            await talk(session, ask)

    asyncio.run(asyncio.wait_for(main(), 60))


def text_of(result: dict[str, Any]) -> str:
    """Give the text of an answer, which is one block."""
    (block,) = result["content"]
    assert block["type"] == "text"
    return str(block["text"])


class TestProtocol:
    """The real client, of the version that is installed."""

    def test_lists_and_calls_every_tool(self, database: Path) -> None:
        """Each tool is listed with its schema as read only, and answers; its data fits its schema."""

        async def talk(session: Any, ask: Ask) -> None:
            listed = (await session.list_tools()).model_dump(by_alias=True)["tools"]
            assert [tool["name"] for tool in listed] == list(TOOLS) == list(_sorted_like(TOOLS, _GOOD_CALLS))
            for tool in listed:
                assert tool["annotations"]["readOnlyHint"] is True
                assert tool["inputSchema"]["additionalProperties"] is False
                assert len(tool["description"]) > 40
            for name, arguments in _GOOD_CALLS.items():
                result = await ask(name, **arguments)
                assert not result["isError"], text_of(result)
                assert text_of(result).startswith("# ")
                data = result["structuredContent"]
                assert set(TOOLS[name].keys) <= set(data or ())
            assert "first cause: swallowed_error" in text_of(await ask("why"))

        serve(database, talk)

    @pytest.mark.skipif(not hasattr(mcp, "Client"), reason="the SDK's version 2 has it")
    def test_newest_protocol(self, database: Path) -> None:
        """The client of version 2, which asks without a greeting first, is answered as well."""
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "agenttrace", "mcp", "--db", str(database)],
            env={"PYTHONPATH": str(_ROOT)},
        )

        async def main() -> None:
            async with mcp.Client(stdio_client(server)) as client:
                assert [tool.name for tool in (await client.list_tools()).tools] == list(TOOLS)
                result = await client.call_tool("why", {})
                assert not result.is_error and result.structured_content is not None
                assert result.structured_content["conversation"] == "c0ffee00"
                assert (await client.call_tool("show", {"event": "999"})).is_error

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_wrong_calls(self, database: Path) -> None:
        """What is wrong is an error that says what to do, and the server goes on."""

        async def talk(session: Any, ask: Ask) -> None:
            for name, arguments, advice in [
                ("show", {"conversation": "c0fe"}, "Nearest: c0ffee00"),
                ("show", {"max_tokens": 1}, "give 500 or more"),
                ("show", {"converation": "last"}, "did you mean conversation?"),
                ("search", {}, "query is missing"),
                ("shw", {}, "Did you mean show?"),
            ]:
                result = await ask(name, **arguments)
                assert result["isError"] and advice in text_of(result)
            assert not (await ask("show"))["isError"]

        serve(database, talk)

    def test_database_that_comes_later(self, clean_environment: Path) -> None:
        """Without a database it serves, and says how one is made; once it is there it is read."""
        path = clean_environment / "later.db"

        async def talk(session: Any, ask: Ask) -> None:
            result = await ask("why")
            assert result["isError"] and "agenttrace run program.py" in text_of(result)
            assert not path.exists()
            write_story(path, audit())
            assert "c0ffee00" in text_of(await ask("why"))

        serve(path, talk)

    def test_huge_and_hostile(self, clean_environment: Path) -> None:
        """Neither 10,000 events nor text written to be obeyed changes what an answer is."""
        path = clean_environment / "traces.db"
        story = audit()
        lead = story.start("loud", given=HOSTILE)
        story.call(lead, HOSTILE, {"a": HOSTILE}, error=("Evil", HOSTILE))
        story.end(lead, output=HOSTILE)
        write_story(path, story)
        write_story(path, big_story(10_000))

        async def talk(session: Any, ask: Ask) -> None:
            assert "/app/work.py:4242\n" in text_of(await ask("show", conversation="b16", max_tokens=500))
            for name, arguments in [
                ("show", {"conversation": "c0ffee00", "agent": "loud"}),
                ("show", {"conversation": "c0ffee00", "timeline": True}),
                ("search", {"query": "ignore previous"}),
            ]:
                text = text_of(await ask(name, **arguments))
                assert CANARY in text and CANARY not in own_words(text)

        serve(path, talk)

    def test_records_nothing(self, database: Path) -> None:
        """Not a byte of the database changes, even where AGENTTRACE=1 is set for everything."""
        before = hashlib.sha256(database.read_bytes()).digest()

        async def talk(session: Any, ask: Ask) -> None:
            for name, arguments in _GOOD_CALLS.items():
                assert not (await ask(name, **arguments))["isError"]

        serve(database, talk, AGENTTRACE="1")
        assert hashlib.sha256(database.read_bytes()).digest() == before
        assert not Path(f"{database}-wal").exists() or not Path(f"{database}-wal").read_bytes()

    @pytest.mark.shared_ring
    def test_killed_program(self, clean_environment: Path) -> None:
        """What a killed program left is stored before it is asked for, so that its open call is seen."""
        path = clean_environment / "traces.db"
        script = clean_environment / "dies.py"
        script.write_text(
            "import os, agenttrace\n"
            "@agenttrace.traced_tool\n"
            "def dig(): os.kill(os.getpid(), 9)\n"
            "with agenttrace.conversation_scope('killed'), agenttrace.agent_scope('lead'): dig()\n",
            encoding="utf-8",
        )
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "AGENTTRACE": "1", "AGENTTRACE_DB": str(path)}
        done = subprocess.run([sys.executable, str(script)], env=environment, timeout=60)
        assert done.returncode == -9

        async def talk(session: Any, ask: Ask) -> None:
            assert "first cause: interrupted" in text_of(await ask("why", conversation="killed"))

        serve(path, talk)

    def test_stdout_is_the_protocols(self, database: Path) -> None:
        """What prints within the server does not break the protocol."""
        noisy = (
            "import sys; from agenttrace.mcp_server import tools; from agenttrace.cli.main import main\n"
            "call = tools.Tools.call\n"
            "tools.Tools.call = lambda self, *given: (print('noise', flush=True), call(self, *given))[1]\n"
            f"sys.argv = ['agenttrace', 'mcp', '--db', {str(database)!r}]; sys.exit(main())"
        )
        lines = [
            {"id": 1, "method": "initialize", "params": _GREETING},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/call", "params": {"name": "ps", "arguments": {}}},
        ]
        said = "".join(json.dumps({"jsonrpc": "2.0", **line}) + "\n" for line in lines)
        with subprocess.Popen(
            [sys.executable, "-c", noisy],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdin is not None and server.stdout is not None and server.stderr is not None
            server.stdin.write(said)
            server.stdin.flush()
            answers = [json.loads(server.stdout.readline()) for _ in range(2)]
            server.stdin.close()
            assert [answer["id"] for answer in answers] == [1, 2]
            assert "noise" in server.stderr.read() and server.stdout.read() == ""
        assert server.returncode == 0

    def test_without_the_sdk(self, database: Path, shell: Any) -> None:
        """Where the SDK is not installed one line says what to install, and the exit code is 2."""
        code = (
            "import sys; sys.modules['mcp'] = None; from agenttrace.cli.main import main;"
            "sys.argv = ['agenttrace', 'mcp']; sys.exit(main())"
        )
        done = shell(python=("-c", code))
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("agenttrace: ") and "pip install 'mcp>=1.23'" in done.stderr
        assert "Traceback" not in done.stderr


_GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def _sorted_like(order: Any, names: Any) -> list[str]:
    return sorted(names, key=list(order).index)
