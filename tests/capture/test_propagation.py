"""A scope leaves the process as a few short texts, and comes back as what it was."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agenttrace
from agenttrace import agent_scope, conversation_scope, current, extract, inject, traced_tool
from agenttrace.capture.context import CURRENT
from agenttrace.capture.propagation import pack_scope, parse_scope, render_scope, unpack_scope
from tests.reading import ROOT, open_store, query

SERVER = """
import http.server, json, sys
import agenttrace
from agenttrace import agent_scope, extract, traced_tool

@traced_tool
def look_up(name):
    return name.upper()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with extract(self.headers), agent_scope("server") as agent:
            answer = json.dumps([look_up("acme"), agent.parent_agent_id, agent.conversation_id]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
for _ in range(2):
    server.handle_request()
"""

_IDS = st.text(max_size=40).filter(lambda text: text.strip() != "")


class TestPackedScope:
    """``unpack_scope(parse_scope(render_scope(pack_scope(scope))))`` is the scope."""

    @given(conversation_id=_IDS, agent_id=_IDS, name=_IDS)
    def test_round_trip(self, conversation_id: str, agent_id: str, name: str) -> None:
        """Whatever the ids hold, the line is printable ASCII and gives them back, with the spans around."""
        with agent_scope("root", conversation_id=conversation_id), agent_scope(name, agent_id=agent_id):
            scope = CURRENT.get()
            assert scope is not None
            line = render_scope(pack_scope(scope))
            assert line.isascii() and line.isprintable()
            back = unpack_scope(parse_scope(line))
            assert back is not None and back.agent is not None and scope.agent is not None
            found = (back.conversation_id, back.agent.agent_id, back.agent.name, back.agent.parent_agent_id)
            agent = scope.agent
            encodable = [one.encode("utf-8", "replace").decode() for one in (conversation_id, agent_id, name)]
            assert found == (*encodable, agent.parent_agent_id)
            assert back.span_chain() == scope.span_chain()

    def test_conversation_without_agent(self) -> None:
        """A conversation scope alone comes back as one."""
        with conversation_scope("chat"):
            back = unpack_scope(pack_scope(CURRENT.get()))
        assert back is not None and back.agent is None and back.conversation_id == "chat"

    def test_none(self) -> None:
        """No scope is no ids."""
        assert pack_scope(None) == {}
        assert unpack_scope({}) is None

    @pytest.mark.parametrize("text", ["", "rubbish", "conversation_id=", "a=b&spans=1.2", "=" * 100_000])
    def test_rubbish(self, text: str) -> None:
        """What nobody packed is no scope."""
        assert unpack_scope(parse_scope(text)) is None

    def test_bad_spans(self) -> None:
        """Spans that are none are left out."""
        back = unpack_scope({"conversation_id": "c", "span_id": "zz", "spans": "zz.0123456789abcdef.."})
        assert back is not None
        assert back.span_chain()[1:] == ("0123456789abcdef",)


class TestExtract:
    """``with extract(carrier)``: the block belongs to the scope that ``inject`` wrote."""

    def test_round_trip(self) -> None:
        """Header names are compared without case, and the former scope comes back."""
        with agent_scope("lead") as lead:
            headers = {name.upper(): value for name, value in inject().items()}
        with extract(headers):
            scope = current()
            assert scope is not None
            assert (scope.conversation_id, scope.agent_id) == (lead.conversation_id, lead.agent_id)
        assert current() is None

    def test_foreign_traceparent(self) -> None:
        """Of another tracer's header the ids of trace and span are taken."""
        with extract({"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}), agent_scope("server") as agent:
            assert agent.conversation_id == "ab" * 16


@traced_tool
def ask(url: str) -> list[str]:
    request = urllib.request.Request(url, headers=inject())
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: list[str] = json.load(response)
    return answer


@pytest.mark.slow
class TestOverHttp:
    """A server in another process records under the request's caller."""

    def test_two_callers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each request's agent stands under the agent that asked, in its conversation."""
        database = tmp_path / "t.db"
        monkeypatch.setenv("AGENTTRACE", "1")
        monkeypatch.setenv("AGENTTRACE_DB", str(database))
        with subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
            agenttrace.enable()
            for _ in range(2):
                with agent_scope("client") as client:
                    assert ask(url) == ["ACME", client.agent_id, client.conversation_id]
            assert server.wait(30) == 0
        agenttrace.flush()
        open_store(database)
        assert query(
            database,
            "SELECT count(*), count(DISTINCT conversation_id) FROM agents WHERE agent_name = 'server'",
        ) == [(2, 2)]
        assert (
            query(
                database,
                "SELECT p.kind, p.tool_name FROM trajectory_events c JOIN trajectory_events p"
                " ON p.span_id = c.parent_span_id AND p.kind = 'tool_call'"
                " WHERE c.kind = 'agent_start' AND c.agent_name = 'server'",
            )
            == [("tool_call", "ask")] * 2
        )
