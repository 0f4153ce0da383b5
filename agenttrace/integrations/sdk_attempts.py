"""
What an attempt of a model's SDK failed with, as the SDK would have raised it after the last one.

Invariant: nothing is read from the network, and the exception that is being handled stays as it is.
"""

from __future__ import annotations

import sys
from typing import Any

from agenttrace.integrations.sdk_exchange import Exchange

__all__ = ["describe_failure"]


def describe_failure(exchange: Exchange, client: Any, caught: BaseException | None) -> Any:
    """
    Give the SDK's exception for the attempt that failed; a text where nobody knows why.

    Args:
        exchange: Has the response, if there was one.
        client: The SDK's.
        caught: What is being handled now; it may be the program's, from before the request.
    """
    if caught is exchange.handled:
        caught = None
    response = exchange.response if exchange.response is not None else getattr(caught, "response", None)
    if response is not None:
        return client._make_status_error_from_response(response)
    if caught is None:
        return "the attempt failed"
    if type(caught).__module__.partition(".")[0] == exchange.name:
        return caught
    package = sys.modules[exchange.name]
    is_timeout = any(base.__name__ == "TimeoutException" for base in type(caught).__mro__)
    failure = (package.APITimeoutError if is_timeout else package.APIConnectionError)(
        request=getattr(caught, "_request", None)
    )
    failure.__cause__ = caught
    return failure
