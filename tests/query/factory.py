"""
Small recorded stories for tests: what an agent did, written through the store's own door.

Ids and times are counted, so that two stories told alike are equal. Nothing here
knows the tables; a story becomes rows only through ``EventSink``.
"""

from __future__ import annotations

import json
from typing import Any

from agenttrace.events import COLUMNS, CONTROL_CONVERSATION, EXTRA_COLUMNS, ProcessInfo
from agenttrace.store import Event, EventSink, Finish, Record

__all__ = ["HEADER", "PROCESS_ID", "START_MS", "Agent", "Story", "audit", "event_of", "process_info"]

PROCESS_ID = "aaaaaaaa00000001"
START_MS = 1_767_225_600_000
"""2026-01-01 00:00:00 UTC."""

HEADER = (
    "kind ts_ns conversation_id agent_id agent_name parent_agent_id span_id parent_span_id tool_name status"
    " duration_ms call_id error_id error_type"
).split()
"""Names of a frame header's fields before the extra ones, in the order of ``events.H_*``."""


def process_info(
    process_id: str = PROCESS_ID, *, cwd: str = "/home/user", started_ms: int = START_MS
) -> ProcessInfo:
    """Describe a process of another machine, so that nobody takes its pid for one of ours."""
    return ProcessInfo(
        process_id, "elsewhere", "boot", 4242, "3.12.1", "0.1.0", '["my_agent.py"]', cwd, None, started_ms
    )


def event_of(number: int, **columns: Any) -> Event:
    """Make one row by hand, for the parts that need no database."""
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    payload = columns.pop("payload", {})
    values.update(
        conversation_id="c",
        agent_id="a",
        seq=number,
        ts_ms=START_MS + number,
        ts_ns=(START_MS + number) * 1_000_000,
        kind="note",
        event_id=f"{PROCESS_ID}-{number:x}",
    )
    values.update(columns)
    values["payload_json"] = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    del values["payload"]
    return Event(id=number, **values)


class Agent:
    """One agent run of a story."""

    def __init__(self, story: Story, name: str, agent_id: str, parent: Agent | None) -> None:
        self.story = story
        self.name = name
        self.agent_id = agent_id
        self.parent = parent
        self.span_id = story.new_span()
        self.started_ns = story.now_ns


class Story:
    """A conversation being told; every event takes one millisecond."""

    def __init__(
        self, conversation_id: str = "c0ffee00", *, start_ms: int = START_MS, process_id: str = PROCESS_ID
    ) -> None:
        self.conversation_id = conversation_id
        self.process_id = process_id
        self.now_ns = start_ms * 1_000_000
        self.records: list[Record] = []
        self._spans = 0
        self._errors = 0

    def new_span(self) -> str:
        """Count up a span id."""
        self._spans += 1
        return f"{self.process_id[:8]}{self._spans:08x}"

    def wait(self, ms: float) -> None:
        """Let time pass."""
        self.now_ns += int(ms * 1_000_000)

    def conversation(self, task: str | None = None, metadata: Any = None) -> None:
        """Name the conversation."""
        self.add(CONTROL_CONVERSATION, None, {"task": task, "metadata": metadata})

    def add(self, kind: str, agent: Agent | None, payload: Any = None, **columns: Any) -> None:
        """Add one event of *agent*."""
        values: dict[str, Any] = {
            "kind": kind,
            "ts_ns": self.now_ns,
            "conversation_id": self.conversation_id,
        }
        if agent is not None:
            values["agent_id"] = agent.agent_id
            values["agent_name"] = agent.name
            values["parent_agent_id"] = agent.parent.agent_id if agent.parent else None
        values.update(columns)
        names = (*EXTRA_COLUMNS, "turn_in_run")
        extra = {name: values[name] for name in names if values.get(name) is not None}
        header = [values.get(name) for name in HEADER] + [extra or None]
        number = len(self.records) + 1
        body = payload if isinstance(payload, str) else json.dumps(payload or {}, ensure_ascii=False)
        self.records.append(Record(header, body.encode(), f"{self.process_id}-{number * 64:x}"))
        self.now_ns += 1_000_000

    def start(
        self, name: str, parent: Agent | None = None, *, agent_id: str | None = None, given: Any = None
    ) -> Agent:
        """Start an agent."""
        agent = Agent(self, name, agent_id or f"{name}-{self._spans:06x}", parent)
        self.add(
            "agent_start",
            agent,
            {"input": given},
            span_id=agent.span_id,
            parent_span_id=parent.span_id if parent else None,
        )
        return agent

    def end(
        self, agent: Agent, status: str = "ok", *, output: Any = None, error: tuple[str, str] | None = None
    ) -> None:
        """End an agent; *error* is ``(error_id, error_type)``."""
        self.add(
            "agent_end",
            agent,
            {"output": output},
            span_id=agent.span_id,
            parent_span_id=agent.parent.span_id if agent.parent else None,
            status=status,
            duration_ms=(self.now_ns - agent.started_ns) / 1e6,
            error_id=error[0] if error else None,
            error_type=error[1] if error else None,
        )

    def open_call(self, agent: Agent, tool: str, arguments: Any = None, **columns: Any) -> str:
        """Start a call that nobody has ended yet; gives its span."""
        span_id = columns.pop("span_id", None) or self.new_span()
        self.add(
            "tool_call",
            agent,
            {"arguments": {} if arguments is None else arguments},
            span_id=span_id,
            parent_span_id=columns.pop("parent_span_id", agent.span_id),
            tool_name=tool,
            **columns,
        )
        return span_id

    def call(
        self,
        agent: Agent,
        tool: str,
        arguments: Any = None,
        *,
        output: Any = "done",
        error: tuple[str, str] | None = None,
        ms: float = 3,
        handled_at: dict[str, Any] | None = None,
        **columns: Any,
    ) -> tuple[str, str | None]:
        """
        Tell one whole call.

        Args:
            error: ``(type, message)`` when it fails.
            handled_at: Adds a ``handled`` row with this place.

        Returns:
            Its span and, when it failed, the ``error_id``.
        """
        span_id = self.open_call(agent, tool, arguments, **columns)
        self.wait(ms)
        error_id = None
        if error is not None:
            error_id = self.fail(agent, span_id, error, tool=tool, **columns)
        self.add(
            "tool_result",
            agent,
            {"is_error": True} if error else {"is_error": False, "output": output},
            span_id=span_id,
            parent_span_id=agent.span_id,
            tool_name=tool,
            status="error" if error else "ok",
            duration_ms=ms,
            error_id=error_id,
            error_type=error[0] if error else None,
            **columns,
        )
        if handled_at is not None:
            self.add("handled", agent, {"handled_at": handled_at}, span_id=agent.span_id, error_id=error_id)
        return span_id, error_id

    def fail(
        self, agent: Agent, span_id: str, error: tuple[str, str], *, tool: str | None = None, **columns: Any
    ) -> str:
        """Tell an ``error`` row; gives its id."""
        self._errors += 1
        error_id = columns.pop("error_id", None) or f"{self.conversation_id[:4]:0<4}{self._errors:012x}"
        described = {
            "type": error[0],
            "module": "builtins",
            "message": error[1],
            "frames": [{"file": "/app/tools.py", "line": 12, "function": tool or "run"}],
        }
        self.add(
            "error",
            agent,
            {"error": described},
            span_id=span_id,
            parent_span_id=agent.span_id,
            tool_name=tool,
            error_id=error_id,
            error_type=error[0],
            **columns,
        )
        return error_id

    def turn(
        self, agent: Agent, model: str, *, tokens: tuple[int, int] = (100, 20), number: int | None = None
    ) -> None:
        """Tell one model turn."""
        span_id = self.new_span()
        where = {"span_id": span_id, "parent_span_id": agent.span_id, "model": model, "turn": number}
        self.add("model_call", agent, {"input": "?"}, **where)
        self.wait(500)
        self.add(
            "model_turn",
            agent,
            {"output": "!"},
            status="ok",
            duration_ms=500.0,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cost_usd=0.0123,
            **where,
        )

    def write(self, sink: EventSink, *, cwd: str = "/home/user", ended: bool = True) -> None:
        """Store what was told since the last time."""
        records, self.records = self.records, []
        finish = Finish(self.process_id, self.now_ns, close_open=False, exit="ok") if ended else None
        sink.write(records, process=process_info(self.process_id, cwd=cwd), finish=finish)


def audit(conversation_id: str = "c0ffee00", **options: Any) -> Story:
    """Tell of an audit with a subagent, a swallowed error, a retried call and an escaped failure."""
    story = Story(conversation_id, **options)
    story.conversation("audit the json package", {"folder": "/usr/lib/python3/json"})
    lead = story.start("lead", given="audit the json package")
    story.turn(lead, "planner-1", tokens=(1204, 96), number=1)
    story.call(lead, "list_files", {"folder": "."}, output=["a.py", "bad.py"])
    reader = story.start("reader", lead, given="read every file")
    for number in range(7):
        story.call(reader, "read_file", {"path": f"module_{number}.py"}, output="text", ms=1)
    story.call(
        reader,
        "parse",
        {"path": "bad.py"},
        error=("SyntaxError", "invalid syntax"),
        handled_at={"file": "/app/audit.py", "line": 88, "function": "read"},
        ms=1,
    )
    story.end(reader, output="7 files are fine")
    span_id = story.open_call(lead, "fetch", {"url": "https://example.org/rules"})
    for attempt in (1, 2):
        error_id = story.fail(
            lead, span_id, ("TimeoutError", "no answer in 5 s"), tool="fetch", attempt=attempt
        )
        story.add(
            "retry",
            lead,
            {"wait_ms": 10, "limit_count": 3},
            span_id=span_id,
            parent_span_id=lead.span_id,
            tool_name="fetch",
            error_id=error_id,
            attempt=attempt,
        )
        story.wait(10)
    story.add(
        "tool_result",
        lead,
        {"is_error": False, "output": "rules"},
        span_id=span_id,
        parent_span_id=lead.span_id,
        tool_name="fetch",
        status="ok",
        duration_ms=24.0,
    )
    _, error_id = story.call(
        lead, "publish", {"report": "r" * 200}, error=("PermissionError", "read-only"), ms=2
    )
    story.end(lead, "error", error=(error_id or "", "PermissionError"))
    return story
