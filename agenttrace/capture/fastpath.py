"""
The plain call of a plain function, written out: one Python frame around the tool.

Most calls are of this kind: inside an agent, without a tool scope to join, a failed
twin to number, or a result to judge. Invariant: what is published here is byte for
byte what ``ToolTracer`` publishes, which every other case goes through; a test
compares the two. Cost: 60 % of the general way (``benchmarks/bench_on.py``). What
``encode_plain`` gives is never empty, so None alone sends a value the longer way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agenttrace import clock
from agenttrace.capture import bodies
from agenttrace.capture.calls import ToolTracer
from agenttrace.capture.context import CURRENT, PIPE, ToolCall
from agenttrace.capture.detectors import INNOCENT, detect_failure
from agenttrace.capture.emit import identity_of
from agenttrace.capture.shapes import Wrapper, wrap_function
from agenttrace.encode import codec, plain
from agenttrace.errors import contain

__all__ = ["wrap_plain_tool"]


def wrap_plain_tool(tracer: ToolTracer) -> Wrapper:
    """Give the wrapper for a function whose tracer ``is_plain``."""
    name, name_json = tracer.name, tracer.name_json
    plan = tracer.plan
    assert plan is not None, "a plain tracer captures arguments"
    names, bind = plan.names_when_simple, plan.bind
    encode, encode_plain, depth, fail = codec.encode, plain.encode_plain, codec.MAX_DEPTH, tracer.fail
    start_body, end_body = bodies.tool_call_body, bodies.tool_result_body
    get, put, pipe = CURRENT.get, CURRENT.set, PIPE
    general = wrap_function(tracer)

    def call_function(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        parent = get()
        if (
            parent is None
            or (agent := parent.agent) is None
            or parent.merges
            or parent.failed_calls
            or parent.caught is not None
            or agent.unclaimed is not None
            or pipe.substitute is not None
        ):
            return general(wrapped, instance, args, kwargs)
        try:
            bound = kwargs if not args and tuple(kwargs) == names else bind(args, kwargs)
            if bound is None:
                return general(wrapped, instance, args, kwargs)
            limit_bytes = pipe.limit_bytes
            arguments = encode_plain(bound, limit_bytes, depth) or encode(bound, limit_bytes)
            call = ToolCall(name, agent, parent, arguments)
            identity = agent.identity or identity_of(agent)
            pipe.publish(
                start_body(call.started_ns, identity, call.span_id, parent.span_id, name_json, arguments)
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
            output = encode_plain(result, limit_bytes, depth) or encode(result, limit_bytes)
            now_ns = clock.now_ns()
            took_ns = now_ns - call.started_ns
            pipe.publish(end_body(now_ns, identity, call.span_id, parent.span_id, name_json, took_ns, output))
        except Exception as exc:
            contain("capture.tool_result", exc)
        return result

    return call_function
