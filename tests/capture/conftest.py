"""Events as capture publishes them, decoded, without a recorder."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agenttrace import events
from agenttrace.capture import context
from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.encode import codec

_NAMES = (
    "kind ts_ns conversation_id agent_id agent_name parent_agent_id span_id parent_span_id "
    "tool_name status duration_ms call_id error_id error_type extra"
).split()


class Published:
    """What was published since the test began."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def events(self) -> list[Any]:
        found = []
        for body in self.bodies:
            header, payload = codec.decode_body(body)
            fields = dict(zip(_NAMES, header, strict=True))
            fields.update(fields.pop("extra") or {})
            found.append(SimpleNamespace(**fields, payload=codec.decode(payload)))
        return found

    def __call__(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.kind == kind]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def agent(self, name: str) -> Any:
        (start,) = [event for event in self("agent_start") if event.agent_name == name]
        return start


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """Switch tracing on, in strict mode, with a list in the recorder's place."""
    monkeypatch.setenv("AGENTTRACE_STRICT", "1")
    found = Published()
    former = PIPE.publish
    PIPE.publish = found.bodies.append
    SWITCH.append(True)
    yield found
    SWITCH.clear()
    PIPE.publish = former
    context.implicit_roots.clear()
    assert events.MARK == "$agenttrace"
