"""
Programs started with ``subprocess`` find their caller's scope in their own environment.

Covers ``Popen`` and all that goes through it: ``run``, ``check_output`` and asyncio's
subprocesses. Invariant: ``os.environ`` and the mapping given as ``env=`` stay as they are,
and a variable that the program chose for its child wins over ours.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from agenttrace.capture.context import CURRENT, SWITCH
from agenttrace.capture.propagation import HERITAGE, SCOPE_VARIABLE, pack_scope, render_scope
from agenttrace.errors import contained, count_loss
from agenttrace.integrations.patching import Patch

__all__ = ["build_patches", "environment_for_child", "read_own_environment"]

_LIMIT_BYTES = 100_000
"""Linux takes variables of up to 128 KiB."""
_OFF = frozenset({"0", "false", "no", "off"})


def build_patches(subprocess: ModuleType) -> list[Patch]:
    """Give the patches of the module ``subprocess``."""
    # Not __init__: that looks at its caller's frame to place an EncodingWarning.
    return [Patch(subprocess.Popen, "_execute_child", _build_execute)]


def _build_execute(execute: Callable[..., Any]) -> Callable[..., Any]:
    place = list(inspect.signature(execute).parameters).index("env")

    @functools.wraps(execute)
    def execute_with_scope(*args: Any, **kwargs: Any) -> Any:
        if SWITCH:
            if len(args) > place:
                args = (*args[:place], environment_for_child(args[place]), *args[place + 1 :])
            elif "env" in kwargs:
                kwargs = {**kwargs, "env": environment_for_child(kwargs["env"])}
        return execute(*args, **kwargs)

    return execute_with_scope


def environment_for_child(env: Any) -> Any:
    """
    Add to the environment of a child what it needs to record under the current scope.

    Args:
        env: As ``Popen`` takes it: a mapping of texts or bytes, or None for this process's own.

    Returns:
        A new dict; *env* itself where there is nothing to add, where it says ``AGENTTRACE=0``,
        and where it cannot be read.
    """
    with contained("integrations.environment_for_child"):
        ours = HERITAGE.settings()
        if not ours or not (env is None or hasattr(env, "items")):
            return env
        ids = pack_scope(CURRENT.get())
        if ids:
            ours[SCOPE_VARIABLE] = render_scope(ids)
        for value in ours.values():
            encoded = os.fsencode(value)  # what cannot be encoded would keep the child from starting
            if b"\0" in encoded:
                return env
            if len(encoded) > _LIMIT_BYTES:
                # So would this; and without its redaction rules the child had better not record.
                count_loss("integrations.settings_too_long")
                ours = {"AGENTTRACE": "0"}
                break
        return _merge(env, ours)
    return env


def _merge(env: Any, ours: Mapping[str, str]) -> Any:
    own = os.environ
    if env is None:
        added = {name: value for name, value in ours.items() if own.get(name) != value}
        return {**read_own_environment(), **added} if added else None
    merged = dict(env.items())
    for name, value in ours.items():
        key: Any = name if name in merged else os.fsencode(name)
        chosen = merged.get(key)
        if chosen is None:
            merged[name] = value
            continue
        text = os.fsdecode(chosen)
        if text == own.get(name):
            merged[key] = value if isinstance(key, str) else os.fsencode(value)
        elif name == "AGENTTRACE" and text.strip().lower() in _OFF:
            return env
    return merged


def read_own_environment() -> dict[str, str]:
    """
    Read the environment that a child without ``env=`` inherits.

    That is the C library's: ``os.putenv`` and libraries change it without ``os.environ`` knowing.
    """
    try:
        import ctypes  # late: 8 ms, and only beside the start of a program

        entries = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
        environment: dict[str, str] = {}
        place = 0
        while (entry := entries[place]) is not None:
            name, separator, value = entry.partition(b"=")
            if separator and name:
                environment.setdefault(os.fsdecode(name), os.fsdecode(value))
            place += 1
        return environment
    except (ImportError, OSError, ValueError, TypeError):
        return dict(os.environ)
