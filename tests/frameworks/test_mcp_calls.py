"""MCP calls of one process: what each comes to, on the client's side and on the server's."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from mcp import ClientSession
from mcp.server import Server
from tenacity import AsyncRetrying, stop_after_attempt

import agenttrace
from agenttrace import agent_scope, model_turn, tool_scope, traced_tool
from agenttrace.errors import LOSSES
from agenttrace.integrations import mcp as integration
from agenttrace.integrations import patching
from agenttrace.integrations.mcp_client import build_session_call
from tests.frameworks.conftest import Rows
from tests.frameworks.mcp_clients import connected, is_failed, text_of
from tests.frameworks.mcp_servers import (
    IS_VERSION_2,
    MCPServer,
    build_low_level,
    build_server,
    failed_result,
)

TRACE = "c" * 32
OURS = f"{'f' * 16} {'0' * 16} LookupError"
"""A failure as a traced server hands it back; of a database that is not this one."""

if IS_VERSION_2:
    from mcp.server.mcpserver.tools.tool_manager import ToolManager
    from mcp.server.runner import ServerRunner

    SEAMS: list[tuple[type, str]] = [
        (ServerRunner, "_compose_server_middleware"),
        (ToolManager, "call_tool"),
    ]
else:
    from mcp.server.fastmcp.tools.tool_manager import ToolManager

    SEAMS = [(Server, "_handle_request"), (Server, "_make_error_result"), (ToolManager, "call_tool")]


def call(server: Any, name: str, arguments: Any, **kwargs: Any) -> Any:
    """Call a tool of *server* once."""
    return connected(server, lambda session: session.call_tool(name, arguments, **kwargs))


def listen(heard: list[Any]) -> Any:
    """Make a server that keeps the ``_meta`` of every call."""

    async def run(name: str, arguments: dict[str, Any]) -> Any:
        if not IS_VERSION_2:
            meta = server.request_context.meta
            heard.append({} if meta is None else dict(meta.__pydantic_extra__ or {}))
        return []

    server = build_low_level("listener", run)
    if IS_VERSION_2:

        async def keep(ctx: Any, call_next: Any) -> Any:
            if ctx.method == "tools/call":
                heard.append(dict(ctx.meta or {}))
            return await call_next(ctx)

        server.middleware.append(keep)
    return server


class TestFailure:
    """What did not go well, each told of once and on both sides."""

    def test_of_an_unknown_tool(self, rows: Rows) -> None:
        """S1.7: a name that the server does not have."""
        call(build_server("high"), "hallucinated", {"a": 1})
        assert [(name, given, status) for name, given, _, status, _ in rows.calls()] == [
            ("hallucinated", {"a": 1}, "error")
        ] * 2
        assert rows("SELECT message FROM failures") == [("Unknown tool: hallucinated",)]

    def test_of_rejected_arguments(self, rows: Rows) -> None:
        """What the server's schema refuses is recorded with what was sent and what is wrong with it."""
        call(build_server("high"), "define", {"wrong": 1})
        assert [(name, given, status) for name, given, _, status, _ in rows.calls()] == [
            ("define", {"wrong": 1}, "error")
        ] * 2
        ((kind, message),) = rows("SELECT error_type, message FROM failures")
        assert kind == "ValidationError"
        assert "word" in message

    @pytest.mark.parametrize("name", ["fail", "fail_later"])
    def test_of_a_tool_that_raises(self, rows: Rows, name: str) -> None:
        """The SDK makes a text of it; recorded is what was raised, and where."""
        assert is_failed(call(build_server("high"), name, {"word": "xyzzy"}))
        ((kind, message, at),) = rows("SELECT error_type, message, raised_at FROM failures")
        assert (kind, message) == ("LookupError", "no such word: xyzzy")
        assert f"mcp_servers.py:{_line_of(name)} " in at
        assert [row[3:] for row in rows.calls()] == [("error", "LookupError")] * 2

    def test_of_a_tool_that_refuses(self, rows: Rows) -> None:
        """The SDK's own ToolError, raised by the tool, is the failure, with the tool's words."""
        call(build_server("high"), "refuse", {"word": "a"})
        assert rows("SELECT error_type, message FROM failures") == [("ToolError", "I do not define a")]

    def test_that_is_data(self, rows: Rows) -> None:
        """A result that tells of an error without saying isError is one all the same."""
        result = call(build_server("high"), "answer_no", {"word": "a"})
        assert not is_failed(result)
        assert rows("SELECT message, returned FROM failures") == [("nothing about a", "error")]
        assert [row[3] for row in rows.calls()] == ["error"] * 2

    def test_of_a_tool_behind_a_tool(self, rows: Rows) -> None:
        """A tool that calls another of its server fails with it, of one failure."""
        call(build_server("high"), "relay", {"word": "a"})
        assert [(name, status, kind) for name, _, _, status, kind in rows.calls()] == [
            ("relay", "error", "LookupError"),
            ("relay", "error", "LookupError"),
            ("fail", "error", "LookupError"),
        ]
        assert len(rows.failures()) == 1

    def test_of_a_low_level_server_that_raises(self, rows: Rows) -> None:
        """What a handler raises is the server's failure; version 2 makes an error of the protocol of it."""

        async def run(name: str, arguments: dict[str, Any]) -> Any:
            raise KeyError("missing")

        async def work(session: ClientSession) -> None:
            try:
                assert is_failed(await session.call_tool("define", {}))
            except Exception as exc:
                assert "missing" not in type(exc).__name__

        connected(build_low_level("raiser", run), work)
        found = rows("SELECT tool_name, error_type, raised_at FROM failures ORDER BY ts_ms, id")
        assert found[0][:2] == ("define", "KeyError")
        assert "test_mcp_calls.py" in found[0][2]
        assert len(found) == (2 if IS_VERSION_2 else 1)

    def test_of_the_protocol(self, rows: Rows) -> None:
        """A server without tools answers with an error, which reaches the program as the SDK raises it."""

        async def work(session: ClientSession) -> Any:
            with pytest.raises(Exception, match="Method not found") as caught:
                await session.call_tool("define", {})
            return caught.value

        raised = connected(Server("empty"), work)
        assert ("define", "error", type(raised).__name__) in rows(
            "SELECT tool_name, status, error_type FROM tool_traces"
        )


def _line_of(name: str) -> int:
    """Give the line that raises in the tool *name*."""
    from tests.frameworks import mcp_servers

    assert mcp_servers.__file__ is not None
    with open(mcp_servers.__file__) as file:
        lines = file.read().splitlines()
    start = next(at for at, line in enumerate(lines) if f"def {name}(" in line)
    return next(at for at in range(start, len(lines)) if "raise LookupError" in lines[at]) + 1


class TestScope:
    """How a server learns where its client stands."""

    def test_is_sent_beside_what_the_program_sends(self, rows: Rows) -> None:
        """A program's own _meta stands, traceparent included; its mapping is not written to."""
        heard: list[Any] = []
        own = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "mine": "x"}
        given = dict(own)
        call(listen(heard), "define", {}, meta=given)
        assert {name: heard[0][name] for name in own} == own
        assert "conversation_id" in heard[0]["agenttrace"]
        assert given == own

    def test_is_not_sent_while_tracing_is_off(self, rows: Rows) -> None:
        """Then a server hears nothing of us."""
        heard: list[Any] = []
        agenttrace.disable()
        call(listen(heard), "define", {})
        assert not {"traceparent", "agenttrace"} & set(heard[0])

    def test_may_be_a_foreign_trace(self, rows: Rows) -> None:
        """A caller that only knows W3C's traceparent gives the conversation; the server is its agent."""
        meta = {"traceparent": f"00-{TRACE}-{'b' * 16}-01"}
        result = _call_untraced(build_server("high"), "define", {"word": "a"}, meta)
        assert result.meta is None or not any("agenttrace" in key for key in result.meta)
        assert rows("SELECT DISTINCT conversation_id FROM trajectory_events") == [(TRACE,)]
        assert rows.agents() == [("dictionary", None, "ok")]

    def test_is_the_agent_main_without_any(self, rows: Rows) -> None:
        """Outside any agent both sides belong to the agent main."""
        call(build_server("high"), "define", {"word": "a"})
        assert [name for name, *_ in rows.calls()] == ["define", "define", "look_up"]
        assert rows.agents() == [("main", None, "running")]

    @pytest.mark.parametrize(
        "meta",
        [
            {"agenttrace": ""},
            {"agenttrace": "x" * 1_000_000},
            {"agenttrace": "conversation_id=" + "y" * 1_000_000},
            {"agenttrace": "conversation_id=c&agent_id=%00%ff&span_id=not-hex&spans=" + "." * 10_000},
            {"agenttrace": "conversation_id=%ED%A0%80&agent_name=%0A"},
            {"agenttrace": 7, "traceparent": ["00"]},
            {"traceparent": "00-" + "0" * 1_000_000},
            {"traceparent": f"00-{'z' * 32}-{'b' * 16}-01"},
            {"traceparent": "-" * 100_000, "agenttrace": "&" * 100_000},
            {"agenttrace/failure": "what"},
            {"agenttrace": "conversation_id=\ud800", "traceparent": "\ud800"},
        ],
    )
    def test_may_be_rubbish(self, rows: Rows, meta: Any) -> None:
        """Whatever a client writes into _meta, the tool answers and its call is recorded, bounded."""
        result = _call_untraced(build_server("high"), "define", {"word": "a"}, meta)
        assert text_of(result) == "A: a word"
        assert [name for name, *_ in rows.calls()] == ["define", "look_up"]
        ((longest,),) = rows("SELECT max(length(conversation_id) + length(agent_id)) FROM trajectory_events")
        assert longest <= 1024 + 64

    @pytest.mark.parametrize(
        "handed",
        ["", "rubbish", "f" * 16, OURS, f"{OURS}\n", f" {OURS}", 7, {"a": []}, "x" * 1_000_000],
    )
    def test_believes_no_server(self, rows: Rows, handed: Any) -> None:
        """A failure that a server claims to have written is taken from one that shares the database only."""

        async def run(name: str, arguments: dict[str, Any]) -> Any:
            result = failed_result("no")
            result.meta = {"agenttrace/failure": handed, "mine": 1}
            return result

        integration.uninstall()
        server = build_low_level("liar", run)
        wrapped = build_session_call(ClientSession.call_tool)
        result = connected(server, lambda session: wrapped(session, "define", {}))
        assert result.meta["mine"] == 1
        assert result.meta.get("agenttrace/failure") == (None if handed == OURS else handed)
        assert rows("SELECT message, returned FROM failures") == [("no", "isError")]


def _call_untraced(server: Any, name: str, arguments: Any, meta: Any) -> Any:
    """Call as a client that is not traced does, with a ``_meta`` of its own."""
    plain = ClientSession.call_tool.__wrapped__  # type: ignore[attr-defined]
    return connected(server, lambda session: plain(session, name, arguments, meta=meta))


class TestPayload:
    """What goes in and out."""

    def test_may_be_hostile(self, rows: Rows) -> None:
        """Long, deep and strange values reach the other side whole, and are recorded in bounded form."""
        deep: Any = "x"
        for _ in range(60):
            deep = [deep]
        value = {"deep": deep, "big": 2**70, "text": "\x00\u2028" * 50_000, "": None}
        result = call(build_server("high"), "echo", {"value": value})
        assert len(text_of(result)) == 300_003
        assert [(name, status) for name, _, _, status, _ in rows.calls()] == [("echo", "ok")] * 2
        ((longest,),) = rows("SELECT max(length(payload)) FROM trajectory_events")
        assert longest < 16_384
        assert not LOSSES

    def test_of_the_program_stays_the_program_s(self, rows: Rows) -> None:
        """Arguments that are changed after the call are recorded as they were; the result is the SDK's."""
        arguments = {"word": "a"}
        result = call(build_server("high"), "define", arguments)
        arguments["word"] = "changed"
        assert type(result).__name__ == "CallToolResult"
        assert {json.dumps(given) for name, given, *_ in rows.calls()} == {'{"word": "a"}'}

    def test_may_be_no_arguments_at_all(self, rows: Rows) -> None:
        """What the SDK refuses before it asks anybody is the caller's error, as without us, and recorded."""

        class Odd:
            def __bool__(self) -> bool:
                raise RuntimeError("neither")

            __str__ = __repr__ = __bool__  # type: ignore[assignment]

        async def refused(session: ClientSession) -> str:
            with pytest.raises(Exception) as caught:
                await session.call_tool(Odd(), Odd())  # type: ignore[arg-type]
            return type(caught.value).__name__

        traced = connected(build_server("low"), refused)
        assert [(name, status, kind) for name, _, _, status, kind in rows.calls()] == [
            ("Odd", "error", traced)
        ]
        agenttrace.uninstall("mcp")
        assert connected(build_server("low"), refused) == traced

    @pytest.mark.parametrize("level", ["high", "low"])
    @pytest.mark.parametrize("name", ["define", "fail", "hallucinated"])
    def test_of_a_result_is_as_without_us(self, rows: Rows, level: str, name: str) -> None:
        """A program sees equal results, field by field, with tracing on, off and not installed."""
        found = [call(build_server(level), name, {"word": "a"})]
        agenttrace.disable()
        found.append(call(build_server(level), name, {"word": "a"}))
        agenttrace.uninstall("mcp")
        found.append(call(build_server(level), name, {"word": "a"}))
        assert found[0] == found[1] == found[2]
        assert found[0].model_fields_set == found[1].model_fields_set == found[2].model_fields_set


class TestNesting:
    """MCP calls within other operations."""

    def test_is_the_call_that_a_dispatcher_opened(self, rows: Rows) -> None:
        """The call of a client in a tool_scope of its name is the scope's, with the model's call id."""

        async def work(session: ClientSession) -> None:
            with agent_scope("caller"), tool_scope("define", call_id="toolu_1") as scope:
                scope.set_result(text_of(await session.call_tool("define", {"word": "a"})))

        connected(build_server("high"), work)
        assert rows("SELECT tool_name, call_id, tool_input FROM tool_traces ORDER BY id") == [
            ("define", "toolu_1", '{"word":"a"}'),
            ("define", None, '{"word":"a"}'),
            ("look_up", None, '{"word":"a"}'),
        ]

    def test_is_reported_by_the_call_s_id(self, rows: Rows) -> None:
        """What the server wrote was told where the model was answered to the call around the client's."""

        async def work(session: ClientSession) -> None:
            with agent_scope("caller"):
                with tool_scope("fail", call_id="toolu_1") as scope:
                    scope.set_result(await session.call_tool("fail", {"word": "a"}), is_error=True)
                block = {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": True,
                    "content": "no luck",
                }
                with model_turn("m", input=[{"role": "user", "content": [block]}]):
                    pass

        connected(build_server("high"), work)
        assert rows("SELECT error_type, fate FROM failures") == [("LookupError", "reported")]

    def test_may_be_an_attempt(self, rows: Rows) -> None:
        """A call in a retry's block is one of the attempts, numbered."""
        left = [2]

        async def run(name: str, arguments: dict[str, Any]) -> Any:
            left[0] -= 1
            return failed_result("busy") if left[0] >= 0 else []

        async def work(session: ClientSession) -> None:
            with agent_scope("caller"):
                async for attempt in AsyncRetrying(stop=stop_after_attempt(4), reraise=True):
                    with attempt:
                        if is_failed(await session.call_tool("define", {})):
                            raise ConnectionError("busy")

        connected(build_low_level("busy", run), work)
        assert rows(
            "SELECT attempt, status FROM trajectory_events WHERE kind = 'tool_result'"
            " AND parent_span_id IN (SELECT span_id FROM trajectory_events WHERE kind = 'agent_start')"
            " ORDER BY id"
        ) == [(1, "error"), (2, "error"), (3, "ok")]

    def test_counts_a_hundred_at_once(self, rows: Rows) -> None:
        """Concurrent calls in one process each have their server side below their own."""

        async def work(session: ClientSession) -> None:
            with agent_scope("caller"):
                await asyncio.gather(*(session.call_tool("define", {"word": f"w{at}"}) for at in range(100)))

        connected(build_server("low"), work)
        pairs = rows(
            "SELECT p.tool_input, c.tool_input FROM tool_traces c"
            " JOIN tool_traces p ON p.span_id = c.parent_span_id WHERE c.tool_name = 'define'"
        )
        assert len(pairs) == 100
        assert all(above == below for above, below in pairs)


if IS_VERSION_2:
    from mcp import Client
    from mcp.types import InputRequiredResult

    class TestClient:
        """``Client.call_tool``, of version 2."""

        def test_is_one_call_of_several_rounds(self, rows: Rows) -> None:
            """A server that wants to be asked again is asked in the same call; its own calls lie inside."""
            answers: list[Any] = [InputRequiredResult(request_state="wait"), []]

            async def run(name: str, arguments: dict[str, Any]) -> Any:
                return answers.pop(0)

            async def go() -> Any:
                async with Client(build_low_level("asker", run)) as client:
                    return await client.call_tool("define", {"word": "a"})

            result = asyncio.run(go())
            assert result.content == []
            found = rows(
                "SELECT c.tool_name, p.tool_name, c.status, c.tool_output FROM tool_traces c"
                " LEFT JOIN tool_traces p ON p.span_id = c.parent_span_id ORDER BY c.id"
            )
            assert [row[:3] for row in found] == [
                ("define", None, "ok"),
                ("define", "define", "ok"),
                ("define", "define", "ok"),
            ]
            assert [json.loads(row[3]).get("requestState") for row in found] == [None, "wait", None]

        def test_fails_once(self, rows: Rows) -> None:
            """What leaves both levels of the client is one failure."""

            async def go() -> None:
                async with Client(build_server("high")) as client:
                    await client.call_tool("fail", {"word": "a"})
                async with Client(Server("empty")) as client:
                    with pytest.raises(Exception, match="Method not found"):
                        await client.call_tool("define", {})

            asyncio.run(go())
            rows_of = rows("SELECT tool_name, error_type, count(*) FROM failures GROUP BY 1, 2 ORDER BY 1, 2")
            assert ("fail", "LookupError", 1) in rows_of
            assert [row[0] for row in rows_of].count("fail") == 1


def charge(amount: int, key: str = "") -> int:
    """Charge."""
    if amount < 0:
        raise ValueError(f"cannot charge {amount}")
    return 2 * amount


async def charge_later(amount: int, key: str = "") -> int:
    """Charge."""
    return charge(amount, key)


@pytest.mark.parametrize("function", [charge, charge_later], ids=["sync", "async"])
@pytest.mark.parametrize("order", ["above", "below"])
class TestDecoratedHandler:
    """A function that is traced itself."""

    def make(self, function: Any, order: str) -> Any:
        server = MCPServer("till")
        traced = traced_tool(name="charge_card", redact=["key"])
        # A fresh function each time: what is decorated above is known by the function.
        fresh = type(function)(function.__code__, globals(), function.__name__, function.__defaults__)
        fresh.__annotations__ = dict(function.__annotations__)
        if order == "above":
            traced(server.tool(name="charge")(fresh))
        else:
            server.tool(name="charge")(traced(fresh))
        return server

    def test_is_the_server_s_call(self, rows: Rows, function: Any, order: str) -> None:
        """Above or below ``@server.tool()``, one call of the server's, with the decorator's own options."""
        server = self.make(function, order)
        agenttrace.flush()
        _call_untraced(server, "charge", {"amount": 2, "key": "hidden"}, None)
        _call_untraced(server, "charge", {"amount": -2, "key": "hidden"}, None)
        (good, bad) = rows.calls()
        assert (good[0], *good[2:]) == ("charge_card", 4, "ok", None)
        assert (bad[0], *bad[3:]) == ("charge_card", "error", "ValueError")
        assert "hidden" not in str(rows("SELECT payload FROM trajectory_events"))
        assert rows.failures()[0][:2] == ("charge_card", "ValueError")

    def test_hides_what_the_schema_refuses_too(self, rows: Rows, function: Any, order: str) -> None:
        """Where some are redacted, arguments that the schema refuses are not kept, nor what repeats them."""
        result = _call_untraced(
            self.make(function, order), "charge", {"amount": 2, "key": {"a": "hidden"}}, None
        )
        assert "hidden" in text_of(result)
        assert [(name, status, kind) for name, _, _, status, kind in rows.calls()] == [
            ("charge_card", "error", "ValidationError")
        ]
        assert "hidden" not in str(rows("SELECT payload FROM trajectory_events"))


class TestUninstall:
    """Taking the patches back."""

    def test_leaves_everything_as_it_was(self, rows: Rows) -> None:
        """The classes have their own methods; servers made meanwhile go on working, unrecorded."""
        server = build_server("low")
        agenttrace.uninstall("mcp")
        assert not hasattr(vars(ClientSession)["call_tool"], "__wrapped__")
        assert is_failed(call(server, "fail", {"word": "a"}))
        assert rows.calls() == []

    def test_follows_a_server_made_before(self, rows: Rows) -> None:
        """What was made while nothing was followed is recorded once it is."""
        agenttrace.uninstall("mcp")
        server = build_server("high")
        agenttrace.install("mcp")
        call(server, "define", {"word": "a"})
        assert [name for name, *_ in rows.calls()] == ["define", "define", "look_up"]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Begin with no problem noted, and leave none behind."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(patching, "_problems", found)
    return found


class TestOtherLibrary:
    """A version that is older than what is followed, or has changed."""

    def test_without_room_for_meta_is_named(
        self, rows: Rows, noted: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The call is recorded, and doctor says what is missing."""

        async def call_tool(self: Any, name: str, arguments: Any = None) -> Any:
            return {"content": [{"type": "text", "text": name}]}

        with caplog.at_level(logging.WARNING, "agenttrace"):
            followed = build_session_call(call_tool)
        assert asyncio.run(followed(None, "define", {"word": "a"})) == {
            "content": [{"type": "text", "text": "define"}]
        }
        assert "takes no meta" in noted["mcp"][0]
        assert [row[:2] for row in rows.calls()] == [("define", {"word": "a"})]

    @pytest.mark.parametrize("lost", SEAMS, ids=lambda seam: f"{seam[0].__name__}.{seam[1]}")
    def test_that_has_changed_inside_loses_that_alone(
        self, rows: Rows, noted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, lost: tuple[type, str]
    ) -> None:
        """The program runs as ever, the client's call is there, and doctor names what was not found."""
        owner, name = lost
        agenttrace.uninstall("mcp")
        method = vars(owner)[name]

        def find(self: Any, asked: str) -> Any:
            if asked == name:
                return method.__get__(self)
            raise AttributeError(asked)

        monkeypatch.delattr(owner, name)
        monkeypatch.setattr(owner, "__getattr__", find, raising=False)
        agenttrace.install("mcp")
        assert text_of(call(build_server("high"), "define", {"word": "a"})) == "A: a word"
        assert any(name in text for text in noted["mcp"])
        assert rows.calls()[0][:2] == ("define", {"word": "a"})
        agenttrace.uninstall("mcp")
