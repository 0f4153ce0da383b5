"""
The arguments of a call by parameter name, without ``Signature.bind``.

Invariant: names are worked out once, at decoration; at call time there is a zip,
a few look-ups and no user code. A call that does not fit the signature is given
as it came, because Python itself is about to refuse it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from agenttrace.capture.emit import encode_value
from agenttrace.encode import codec

__all__ = ["ArgumentPlan"]

_REDACTED = b'{"$agenttrace":"redacted","rule":"argument"}'


class ArgumentPlan:
    """How the arguments of one function are named, and which of them are kept."""

    __slots__ = (
        "_dropped",
        "_kept",
        "_keyword_only",
        "_positional",
        "_positional_only_count",
        "_receiver",
        "_required",
        "_required_count",
        "_simple",
        "_var_keyword",
        "_var_positional",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        kept: Collection[str] | None = None,
        dropped: Collection[str] = (),
    ) -> None:
        """
        Work out the parameters of *function*.

        Args:
            function: Any callable; one without a readable signature is given as called.
            kept: Names to record; None for all.
            dropped: Names whose values never leave the caller's thread.
        """
        self._kept = None if kept is None else frozenset(kept)
        self._dropped = frozenset(dropped)
        self._positional: tuple[str, ...] = ()
        self._positional_only_count = 0
        self._keyword_only: tuple[str, ...] = ()
        self._required: frozenset[str] = frozenset()
        self._var_positional: str | None = None
        self._var_keyword: str | None = None
        self._receiver: str | None = None
        self._simple = False
        self._required_count = 0
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            self._var_positional, self._var_keyword = "args", "kwargs"
            return
        self._read(parameters, function)

    def _read(self, parameters: list[inspect.Parameter], function: Callable[..., Any]) -> None:
        kind = inspect.Parameter
        self._positional = tuple(
            p.name for p in parameters if p.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)
        )
        self._positional_only_count = sum(p.kind is kind.POSITIONAL_ONLY for p in parameters)
        self._keyword_only = tuple(p.name for p in parameters if p.kind is kind.KEYWORD_ONLY)
        self._required = frozenset(
            p.name
            for p in parameters
            if p.default is kind.empty and p.kind not in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD)
        )
        self._required_count = len(self._required)
        for parameter in parameters:
            if parameter.kind is kind.VAR_POSITIONAL:
                self._var_positional = parameter.name
            elif parameter.kind is kind.VAR_KEYWORD:
                self._var_keyword = parameter.name
        if self._positional and self._positional[0] in ("self", "cls") and _is_in_class(function):
            self._receiver = self._positional[0]
        self._simple = (
            not self._keyword_only
            and not self._positional_only_count
            and self._var_positional is None
            and self._var_keyword is None
        )

    @property
    def keeps_all(self) -> bool:
        """Whether every argument is recorded."""
        return self._kept is None and not self._dropped

    @property
    def names_when_simple(self) -> tuple[str, ...] | None:
        """The names that a call by keywords alone gives in this very order; None where it is not so easy."""
        return self._positional if self._simple and self._receiver is None else None

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """
        Name the arguments, in the signature's order.

        Returns:
            Only what was given, without defaults; None when the call does not fit.
        """
        positional = self._positional
        if self._simple and not kwargs:
            # Parameters with a default follow those without, so a count tells whether it fits.
            if not self._required_count <= len(args) <= len(positional):
                return None
            bound = dict(zip(positional, args))  # noqa: B905, 100 ns less than with strict=
        else:
            found = self._bind_any(args, kwargs)
            if found is None:
                return None
            bound = found
        receiver = self._receiver
        if receiver is not None and receiver in bound:  # bound is ours here, never the caller's kwargs
            value = bound[receiver]
            bound[receiver] = (value if isinstance(value, type) else type(value)).__name__
        return bound

    def _bind_any(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        positional = self._positional
        bound = dict(zip(positional, args, strict=False))
        if len(args) > len(positional):
            if self._var_positional is None:
                return None
            bound[self._var_positional] = args[len(positional) :]
        taken = 0
        for index in range(len(args), len(positional)):
            name = positional[index]
            if index >= self._positional_only_count and name in kwargs:
                bound[name] = kwargs[name]
                taken += 1
        for name in self._keyword_only:
            if name in kwargs:
                bound[name] = kwargs[name]
                taken += 1
        if taken < len(kwargs):
            if self._var_keyword is None:
                return None
            named = set(positional[self._positional_only_count :]) | set(self._keyword_only)
            rest = {name: value for name, value in kwargs.items() if name not in named}
            if taken + len(rest) != len(kwargs):
                return None  # a name given twice
            bound[self._var_keyword] = rest
        return bound if self._required <= bound.keys() else None

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], limit_bytes: int) -> bytes:
        """Give the arguments as JSON bytes; an unfitting call as ``{"args": […], "kwargs": {…}}``."""
        bound = self.bind(args, kwargs)
        if bound is None:
            bound = {"args": args, "kwargs": kwargs}
            if self._dropped or self._kept is not None:
                return _REDACTED
        if self._dropped or self._kept is not None:
            return self._encode_some(bound)
        return codec.encode(bound, limit_bytes)

    def _encode_some(self, bound: dict[str, Any]) -> bytes:
        members = []
        for name, value in bound.items():
            if name in self._dropped or not (
                self._kept is None or name in self._kept or name == self._receiver
            ):
                encoded = _REDACTED
            elif name == self._var_keyword and isinstance(value, dict):
                encoded = self._encode_some(value)
            else:
                encoded = encode_value(value)
            members.append(encode_value(name) + b":" + encoded)
        return b"{" + b",".join(members) + b"}"


def _is_in_class(function: Callable[..., Any]) -> bool:
    qualified = getattr(function, "__qualname__", "")
    return "." in str(qualified).rpartition("<locals>.")[2]
