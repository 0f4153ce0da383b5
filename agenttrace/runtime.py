"""
What a program asks of tracing: configure it, switch it on or off, flush, follow libraries.

Owns whether tracing is on. Invariant: a setting that cannot be used is logged and
replaced by its default, except where `configure` was called with it. The stages
themselves are joined in ``wiring``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agenttrace import config
from agenttrace.capture.context import CURRENT, PIPE, SWITCH
from agenttrace.capture.propagation import unpack_scope
from agenttrace.capture.settling import settle_all
from agenttrace.errors import contained
from agenttrace.origin import ORIGIN, build_rules, load_settings
from agenttrace.wiring import (
    STATE,
    connect_and_publish,
    connect_first,
    decided,
    disconnect,
    end_at_exit,
    watch_caught,
    wire_store,
)

if TYPE_CHECKING:
    from agenttrace.write.writer import FlushResult

__all__ = [
    "adopt",
    "configure",
    "current_settings",
    "disable",
    "enable",
    "flush",
    "install",
    "is_enabled",
    "reset",
    "shutdown",
    "start_from_environment",
    "uninstall",
    "wire_store",
]


def configure(
    database: str | os.PathLike[str] | None = None,
    *,
    enabled: bool | None = None,
    install: tuple[str, ...] | list[str] | None = None,
    max_payload_bytes: int | None = None,
    max_blob_bytes: int | None = None,
    redact: Any = None,
    flush_interval_s: float | None = None,
    on_full: str | None = None,
    swallowed: str | None = None,
    swallowed_include: tuple[str, ...] | list[str] | None = None,
    swallowed_exclude: tuple[str, ...] | list[str] | None = None,
    sync_interval_s: float | None = None,
    trace: tuple[str, ...] | list[str] | None = None,
) -> None:
    """
    Set how this process records; optional, and may be called again.

    A database or ``enabled=True`` switches tracing on, unless ``AGENTTRACE=0`` stands in the
    environment. What is left out keeps its value: from an earlier call, the environment,
    ``[tool.agenttrace]`` of pyproject.toml, or the default.

    Args:
        database: A path or ``sqlite:///…`` URL; default ``traces.db`` in the user's data folder.
        enabled: True switches on, False off.
        install: Which libraries are followed: ``("auto",)`` by default, () for none.
        max_payload_bytes: Room for one row's payload (4096 bytes); more is cut, with a mark.
        max_blob_bytes: Room for one whole value kept beside the row (262144 bytes); 0 for none.
        redact: More key names or patterns to redact; False for no redaction at all.
        flush_interval_s: How long events may wait for their batch (0.05 s; up to 0.25 s where many come).
        on_full: ``block`` waits up to 0.25 s when the ring is full, ``drop`` never waits.
        swallowed: ``auto``, ``on`` (expected look-ups too) or ``off``: whether caught exceptions are watched.
        swallowed_include: Folders, files or package names whose handlers count as your own.
        swallowed_exclude: The same for handlers that do not.
        sync_interval_s: Sync the disk this often (seconds); by default the system decides.
        trace: Functions to trace by their names, as ``mypkg.tools:*``, in modules imported from now on.

    Raises:
        ConfigError: A value is not allowed; the message says which is.
    """
    given = {
        "database": database,
        "install": None if install is None else tuple(install),
        "max_payload_bytes": max_payload_bytes,
        "max_blob_bytes": max_blob_bytes,
        "redact": redact,
        "flush_interval_s": flush_interval_s,
        "on_full": on_full,
        "swallowed": swallowed,
        "swallowed_include": None if swallowed_include is None else tuple(swallowed_include),
        "swallowed_exclude": None if swallowed_exclude is None else tuple(swallowed_exclude),
        "sync_interval_s": sync_interval_s,
        "trace": None if trace is None else tuple(trace),
    }
    given = {name: value for name, value in given.items() if value is not None}
    with STATE.lock:
        merged = {**STATE.given, **given}
        settings = config.load(merged, ORIGIN.environment())
        if "redact" in given:
            build_rules(settings)  # raises here, where it was asked for, and not in the writer
        if settings.trace:
            _by_name().follow(settings.trace)
        STATE.given = merged
        if STATE.recorder is not None and settings != STATE.settings:
            disconnect()
        STATE.settings = settings
        PIPE.limit_bytes = settings.limit_bytes
    if enabled is False:
        disable()
    elif enabled or database is not None:
        enable()
    elif SWITCH:
        watch_caught()


def enable() -> None:
    """Switch tracing on; ``AGENTTRACE=0`` in the environment keeps it off."""
    if config.env_switch() is False:
        PIPE.decide = decided
        return
    with STATE.lock:
        if STATE.settings is None:
            STATE.settings = load_settings(STATE.given)
            PIPE.limit_bytes = STATE.settings.limit_bytes
        PIPE.decide = decided
        if STATE.recorder is None:
            PIPE.publish = connect_and_publish
            PIPE.prepare = connect_first
        ORIGIN.find()
        if not SWITCH:
            SWITCH.append(True)
            end_at_exit()
        names, patterns = STATE.settings.install, STATE.settings.trace
    watch_caught()
    if patterns:
        with contained("runtime.trace"):
            _by_name().follow(patterns)
    if names:
        with contained("runtime.install"):
            install(*names)


def disable() -> None:
    """Switch tracing off; what was recorded stays, and `enable` goes on."""
    SWITCH.clear()
    PIPE.decide = decided
    watch_caught()


def is_enabled() -> bool:
    """Tell whether calls are recorded now."""
    return bool(SWITCH)


def install(*names: str) -> None:
    """
    Follow libraries: ``threads``, or ``auto`` for all that are supported.

    Raises:
        ConfigError: A name is unknown; the message lists the known ones.
    """
    _integrations().install(*names)


def uninstall(*names: str) -> None:
    """Take back what `install` did; without names, all of it."""
    _integrations().uninstall(*names)
    if not names:
        watch_caught(False)
        if "agenttrace.integrations.by_name" in sys.modules:
            _by_name().stop()


def _integrations() -> Any:
    # By name: the two stand beside each other, and only this file joins them.
    return importlib.import_module("agenttrace.integrations")


def _by_name() -> Any:
    return importlib.import_module("agenttrace.integrations.by_name")


def flush(timeout_s: float | None = None) -> FlushResult:
    """
    Wait until everything recorded before this call is in the database.

    Args:
        timeout_s: How long to wait at most; None waits as long as it takes.

    Returns:
        ``FlushResult(written, pending, dropped)``: events of this process so far.
    """
    recorder = STATE.recorder
    if recorder is None:
        from agenttrace.write.writer import FlushResult  # late: nothing was recorded

        return FlushResult(0, 0, 0)
    with contained("runtime.swallowed"):
        settle_all()
    return recorder.flush(timeout_s)


def shutdown(timeout_s: float = 5.0) -> FlushResult:
    """Write what is left, close this process's record, and let the database go; recording may go on."""
    with STATE.lock:
        return disconnect(timeout_s)


def reset() -> None:
    """Forget every setting and decision, as if just imported; for tests."""
    disable()
    shutdown()
    with STATE.lock:
        STATE.given, STATE.settings = {}, None
        ORIGIN.forget()
        PIPE.limit_bytes = config.Settings().limit_bytes
        start_from_environment()


def current_settings() -> config.Settings:
    """Give the settings in force, or those that would be."""
    return STATE.settings or load_settings(STATE.given)


def _go_on_replaying() -> None:
    """Replay, where the process that started this one does; nothing that was recorded may run here."""
    told = ORIGIN.environment().get("AGENTTRACE_REPLAY")
    if told:
        importlib.import_module("agenttrace.cassette.heirs").begin(told)  # by name: it stands above


def start_from_environment() -> None:
    """Decide from ``AGENTTRACE``, as the package is imported."""
    word = config.env_switch()
    if word is None:
        PIPE.decide = _decide
    elif word:
        with contained("runtime.start"):
            enable()
    else:
        PIPE.decide = decided
    _go_on_replaying()


def _decide() -> None:
    """Look at the environment again, as an outermost scope opens: a `.env` may have come late."""
    if config.env_switch() is not None:
        start_from_environment()


def adopt(environment: Mapping[str, str], scope: Mapping[str, str]) -> None:
    """
    Go on as the process that has started this one: switched on, with its settings, in its scope.

    Args:
        environment: What ``HERITAGE.settings`` gave there; it counts more than ``os.environ``,
            which stays as it is.
        scope: What ``pack_scope`` gave there.
    """
    with contained("runtime.adopt"):
        with STATE.lock:
            ORIGIN.inherited = {str(name): str(value) for name, value in environment.items()}
            settings = load_settings(STATE.given)
            if STATE.recorder is not None and settings != STATE.settings:
                disconnect()
            STATE.settings = settings
            PIPE.limit_bytes = settings.limit_bytes
        if environment.get("AGENTTRACE") != "0":  # else it replays only, and nobody records
            enable()
        CURRENT.set(unpack_scope(scope))
    _go_on_replaying()
