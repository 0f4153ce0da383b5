"""
The plain call of a plain function, written out: one Python frame around the tool.

Most calls are of this kind: inside an agent, without a tool scope to join, a failed
twin to number, or a result to judge. Invariant: what is published here is byte for
byte what ``ToolTracer`` publishes, which every other case goes through; a test
compares the two. Cost: 60 % of the general way (``benchmarks/bench_on.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agenttrace import clock
from agenttrace.capture.calls import ToolTracer
from agenttrace.capture.context import CURRENT, PIPE, ToolCall
from agenttrace.capture.detectors import INNOCENT, detect_failure
from agenttrace.capture.emit import identity_of
from agenttrace.capture.shapes import Wrapper, wrap_function
from agenttrace.encode import codec
from agenttrace.errors import contain

__all__ = ["wrap_plain_tool"]


def wrap_plain_tool(tracer: ToolTracer) -> Wrapper:
    """Give the wrapper for a function whose tracer ``is_plain``."""
    name, name_json = tracer.name, tracer.name_json
    plan = tracer.plan
    assert plan is not None, "a plain tracer captures arguments"
    names, bind = plan.names_when_simple, plan.bind
    encode, fail = codec.encode, tracer.fail
    get, put, pipe = CURRENT.get, CURRENT.set, PIPE
    general = wrap_function(tracer)

    def call_function(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        parent = get()
        if (
            parent is None
            or parent.agent is None
            or parent.merges
            or parent.failed_calls
            or parent.caught is not None
        ):
            return general(wrapped, instance, args, kwargs)
        agent = parent.agent
        try:
            bound = kwargs if not args and tuple(kwargs) == names else bind(args, kwargs)
            if bound is None:
                return general(wrapped, instance, args, kwargs)
            arguments = encode(bound, pipe.limit_bytes)
            call = ToolCall(name, agent, parent, arguments)
            pipe.publish(
                f'["tool_call",{call.started_ns},{agent.identity or identity_of(agent)},"{call.span_id}",'
                f'"{parent.span_id}",{name_json},null,null,null,null,null,null]\n{{"arguments":'.encode()
                + arguments
                + b"}"
            )
        except Exception as exc:
            contain("capture.tool_call", exc)
            return wrapped(*args, **kwargs)
        parent.live_calls += 1
        put(call)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as exc:
            put(parent)
            fail(call, exc)
            raise
        put(parent)
        if (
            parent.failed_calls
            or agent.closed
            or call.caught is not None
            or call.epoch != pipe.epoch
            or (type(result) not in INNOCENT and detect_failure(result) is not None)
        ):
            tracer.finish(call, result)
            return result
        parent.live_calls -= 1
        try:
            output = encode(result, pipe.limit_bytes)
            now_ns = clock.now_ns()
            # The duration as nanoseconds with an exponent: 300 ns less than dividing.
            pipe.publish(
                f'["tool_result",{now_ns},{agent.identity},"{call.span_id}","{parent.span_id}",{name_json},'
                f'"ok",{now_ns - call.started_ns}e-6,null,null,null,null]\n'
                '{"is_error":false,"output":'.encode() + output + b"}"
            )
        except Exception as exc:
            contain("capture.tool_result", exc)
        return result

    return call_function
