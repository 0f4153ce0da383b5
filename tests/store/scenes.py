"""
Small histories, written down event by event, for the tests of the store.

A `Scene` hands out operations (`agent`, `call`, `model`) that are closed by
`end`; it numbers spans, errors and nanoseconds by itself, so that a test says
only what matters.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from agenttrace.events import END_OF, ProcessInfo
from agenttrace.store.batch import EventSink
from agenttrace.store.plan import Record

PROCESS_ID = "00112233aabbccdd"
START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000


def process_info(process_id: str = PROCESS_ID, **given: Any) -> ProcessInfo:
    """Give a process that exists in tests only."""
    info = ProcessInfo(
        process_id, "here", "boot", 42, "3.11.7", "0.1.0", "[]", "/", None, START_NS // 1_000_000
    )
    return info._replace(**given)


@dataclass(frozen=True)
class Operation:
    """One operation of a scene."""

    kind: str
    span_id: str
    parent: Operation | None
    agent_id: str
    agent_name: str
    parent_agent_id: str | None
    conversation_id: str
    tool_name: str | None = None
    attempt: int | None = None
    retry_of: str | None = None


class Scene:
    """A history in the making."""

    def __init__(self, conversation_id: str = "c1", process_id: str = PROCESS_ID) -> None:
        self.conversation_id = conversation_id
        self.process_id = process_id
        self.records: list[Record] = []
        self.now_ns = START_NS
        self._count = 0
        self._errors = 0

    def add(self, kind: str, operation: Operation | None, payload: Any = None, **columns: Any) -> None:
        """Add one event; *columns* are those of the header, the rarer ones included."""
        self.now_ns = columns.pop("ts_ns", self.now_ns + STEP_NS)
        self._count += 1
        given: dict[str, Any] = {
            "conversation_id": operation.conversation_id if operation else self.conversation_id,
            "agent_id": operation.agent_id if operation else "main",
            "agent_name": operation.agent_name if operation else "main",
            "parent_agent_id": operation.parent_agent_id if operation else None,
            "span_id": operation.span_id if operation else None,
            "parent_span_id": operation.parent.span_id if operation and operation.parent else None,
            "tool_name": operation.tool_name if operation else None,
            "attempt": operation.attempt if operation else None,
            "retry_of": operation.retry_of if operation else None,
            **columns,
        }
        self.records.append(
            build_record(kind, self.now_ns, payload, f"{self.process_id}-{self._count:x}", **given)
        )

    def agent(self, name: str = "lead", under: Operation | None = None, **payload: Any) -> Operation:
        """Start an agent, at the root or in an operation of another."""
        agent = Operation(
            "agent_start",
            f"{self.process_id[:8]}{self._count:08x}",
            under,
            payload.pop("id", f"{name}-1"),
            name,
            under.agent_id if under else None,
            self.conversation_id,
        )
        self.add("agent_start", agent, {"input": None, **payload})
        return agent

    def call(self, under: Operation | None, tool: str = "read", **columns: Any) -> Operation:
        """Start a call of *tool*, further attempts with ``attempt`` and ``retry_of``."""
        call = Operation(
            "tool_call",
            f"{self.process_id[:8]}{self._count:08x}",
            under,
            under.agent_id if under else "main",
            under.agent_name if under else "main",
            under.parent_agent_id if under else None,
            self.conversation_id,
            tool,
            columns.pop("attempt", None),
            columns.pop("retry_of", None),
        )
        self.add("tool_call", call, {"arguments": columns.pop("arguments", {})}, **columns)
        return call

    def end(self, operation: Operation, error_id: str | None = None, **columns: Any) -> None:
        """End *operation*: ok, or with the failure *error_id*, or with ``status=``."""
        output = columns.pop("output", None)
        status = columns.pop("status", "error" if error_id else "ok")
        kind = END_OF[operation.kind]
        self.add(
            kind,
            operation,
            {"is_error": status == "error", "output": output},
            status=status,
            error_id=error_id,
            **columns,
        )

    def model(self, agent: Operation, text: Any = "go on", **columns: Any) -> None:
        """Let *agent* ask its model something, and the model answer."""
        turn = Operation(
            "model_call",
            f"{self.process_id[:8]}{self._count:08x}",
            agent,
            agent.agent_id,
            agent.agent_name,
            agent.parent_agent_id,
            self.conversation_id,
        )
        self.add("model_call", turn, {"input": text})
        self.add("model_turn", turn, {"output": "ok"}, status="ok", **columns)

    def error(self, where: Operation | None, message: str = "no such file: a.txt", **given: Any) -> str:
        """Write the error row of a failure in *where*; gives its id."""
        self._errors += 1
        error_id = given.pop("error_id", f"{self._errors:016x}")
        error_type = given.pop("type", "OSError")
        error: dict[str, Any] = {"type": error_type, "module": "builtins", "message": message}
        for name in ("frames", "leaves"):
            if name in given:
                error[name] = given.pop(name)
        if "leaves" in error:
            error["leaves"] = [{"type": "X", "message": "x", "error_id": one} for one in error["leaves"]]
        payload: dict[str, Any] = {"error": error}
        for name in ("handled", "handled_at", "returned"):
            if name in given:
                payload[name] = given.pop(name)
        self.add("error", where, payload, error_id=error_id, error_type=error_type, **given)
        return error_id

    def fail(
        self, under: Operation | None, tool: str = "read", message: str = "no such file: a.txt", **given: Any
    ) -> str:
        """Call a tool that raises: call, error, result; gives the error's id."""
        call_columns = {name: given.pop(name) for name in ("attempt", "retry_of") if name in given}
        call = self.call(under, tool, **call_columns)
        error_id = self.error(call, message, **given)
        self.end(call, error_id)
        return error_id

    def fail_turn(self, agent: Operation, message: str = "rate limit reached, 429") -> str:
        """Let *agent* ask its model, which fails; gives the error's id."""
        turn = Operation(
            "model_call",
            f"{self.process_id[:8]}{self._count:08x}",
            agent,
            agent.agent_id,
            agent.agent_name,
            agent.parent_agent_id,
            self.conversation_id,
        )
        self.add("model_call", turn, {"input": "go on"})
        error_id = self.error(turn, message)
        self.end(turn, error_id)
        return error_id

    def store(self, sink: EventSink) -> None:
        """Write it all, in one batch."""
        written = sink.write(self.records, process=process_info(self.process_id))
        assert written.failed == {}
        self.records = []


def build_record(kind: str, ts_ns: int, payload: Any = None, event_id: str = "", **columns: Any) -> Record:
    """Build a record from columns by name."""
    names = (
        "conversation_id agent_id agent_name parent_agent_id span_id parent_span_id tool_name status"
        " duration_ms call_id error_id error_type"
    ).split()
    header = [kind, ts_ns, *(columns.pop(name, None) for name in names)]
    header.append({name: value for name, value in columns.items() if value is not None} or None)
    blob = header[-1].pop("blob", None) if header[-1] else None
    body = (
        payload if isinstance(payload, bytes) else json.dumps(payload or {}, separators=(",", ":")).encode()
    )
    return Record(header, body, event_id, blob)
