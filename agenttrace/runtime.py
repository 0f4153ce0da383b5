"""
The wiring: settings, capture, recorder and store meet here and nowhere else.

Owns whether tracing is on. Invariant: switching on costs the program nothing that
it can see but the recorder, which is made with the first event; a setting that
cannot be used is logged and replaced by its default, except where `configure`
was called with it.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agenttrace import config
from agenttrace.capture import context
from agenttrace.capture.context import CURRENT, PIPE, SWITCH, Operation
from agenttrace.capture.propagation import HERITAGE, SCOPE_VARIABLE, parse_scope, unpack_scope
from agenttrace.capture.settling import settle_all
from agenttrace.errors import LOSSES, ConfigError, contain, contained
from agenttrace.events import ProcessInfo, new_id

if TYPE_CHECKING:
    from agenttrace.store.event_store import TraceStore
    from agenttrace.write.recorder import Recorder
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


class _State:
    """What this process has decided; guarded by ``lock`` where it is changed."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.given: dict[str, Any] = {}
        self.settings: config.Settings | None = None
        self.recorder: Recorder | None = None
        self.process_id: str | None = None
        self.parent_process_id: str | None = None
        self.hooked = False
        self.inherited: dict[str, str] = {}
        """Environment variables that only we know of: a parent process gave them to this one."""
        self.origin: Operation | None = None
        """The operation, of another process, that this process was started in."""
        self.is_placed = False
        """Whether the above has been looked for."""


_state = _State()


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
        flush_interval_s: How long events may wait for their batch (0.05 s).
        on_full: ``block`` waits up to 0.25 s when the ring is full, ``drop`` never waits.
        swallowed: ``auto``, ``on`` (expected look-ups too) or ``off``: whether caught exceptions are watched.
        swallowed_include: Folders, files or package names whose handlers count as your own.
        swallowed_exclude: The same for handlers that do not.
        sync_interval_s: Sync the disk this often (seconds); by default the system decides.

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
    }
    given = {name: value for name, value in given.items() if value is not None}
    with _state.lock:
        merged = {**_state.given, **given}
        settings = config.load(merged, _environment())
        if "redact" in given:
            _build_rules(settings)  # raises here, where it was asked for, and not in the writer
        _state.given = merged
        if _state.recorder is not None and settings != _state.settings:
            _disconnect()
        _state.settings = settings
        PIPE.limit_bytes = settings.limit_bytes
    if enabled is False:
        disable()
    elif enabled or database is not None:
        enable()
    elif SWITCH:
        _watch_caught()


def enable() -> None:
    """Switch tracing on; ``AGENTTRACE=0`` in the environment keeps it off."""
    if config.env_switch() is False:
        PIPE.decide = _decided
        return
    with _state.lock:
        if _state.settings is None:
            _state.settings = _load_settings()
            PIPE.limit_bytes = _state.settings.limit_bytes
        PIPE.decide = _decided
        if _state.recorder is None:
            PIPE.publish = _connect_and_publish
            PIPE.prepare = _connect_first
        if not _state.is_placed:
            _state.is_placed = True
            _place_process(parse_scope(os.environ.get(SCOPE_VARIABLE, "")))
        if not SWITCH:
            SWITCH.append(True)
        names = _state.settings.install
    _watch_caught()
    if names:
        with contained("runtime.install"):
            install(*names)


def disable() -> None:
    """Switch tracing off; what was recorded stays, and `enable` goes on."""
    SWITCH.clear()
    PIPE.decide = _decided
    _watch_caught()


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
        _watch_caught(False)


def _watch_caught(wanted: bool = True) -> None:
    """Watch caught exceptions while tracing is on and the settings do not say ``off``."""
    if not hasattr(sys, "monitoring"):  # before Python 3.12
        return
    with contained("runtime.swallowed"), _state.lock:
        settings = _state.settings
        if wanted and SWITCH and settings is not None and settings.swallowed != "off":
            from agenttrace.capture import monitoring  # late: only tracing needs it
            from agenttrace.write.threads import has_ended, start_masked

            monitoring.install(
                start_thread=start_masked,
                has_ended=has_ended,
                include=settings.swallowed_include,
                exclude=settings.swallowed_exclude,
                is_thorough=settings.swallowed == "on",
            )
        elif "agenttrace.capture.monitoring" in sys.modules:
            sys.modules["agenttrace.capture.monitoring"].uninstall()


def _integrations() -> Any:
    # By name: the two stand beside each other, and only this file joins them.
    return importlib.import_module("agenttrace.integrations")


def flush(timeout_s: float | None = None) -> FlushResult:
    """
    Wait until everything recorded before this call is in the database.

    Args:
        timeout_s: How long to wait at most; None waits as long as it takes.

    Returns:
        ``FlushResult(written, pending, dropped)``: events of this process so far.
    """
    recorder = _state.recorder
    if recorder is None:
        from agenttrace.write.writer import FlushResult  # late: nothing was recorded

        return FlushResult(0, 0, 0)
    with contained("runtime.swallowed"):
        settle_all()
    return recorder.flush(timeout_s)


def shutdown(timeout_s: float = 5.0) -> FlushResult:
    """Write what is left, close this process's record, and let the database go; recording may go on."""
    with _state.lock:
        return _disconnect(timeout_s)


def reset() -> None:
    """Forget every setting and decision, as if just imported; for tests."""
    disable()
    shutdown()
    with _state.lock:
        _state.given, _state.settings, _state.inherited = {}, None, {}
        _state.origin, _state.is_placed = None, False
        PIPE.limit_bytes = config.Settings().limit_bytes
        start_from_environment()


def current_settings() -> config.Settings:
    """Give the settings in force, or those that would be."""
    return _state.settings or _load_settings()


def start_from_environment() -> None:
    """Decide from ``AGENTTRACE``, as the package is imported."""
    word = config.env_switch()
    if word is None:
        PIPE.decide = _decide
    elif word:
        with contained("runtime.start"):
            enable()
    else:
        PIPE.decide = _decided


def _decide() -> None:
    """Look at the environment again, as an outermost scope opens: a `.env` may have come late."""
    if config.env_switch() is not None:
        start_from_environment()


def _decided() -> None:
    """Stand in once there is nothing left to decide, or to prepare."""
    if _state.origin is not None and CURRENT.get() is None:
        CURRENT.set(_state.origin)  # a thread or context that has not inherited it


def adopt(environment: Mapping[str, str], scope: Mapping[str, str]) -> None:
    """
    Go on as the process that has started this one: switched on, with its settings, in its scope.

    Args:
        environment: What ``HERITAGE.settings`` gave there; it counts more than ``os.environ``,
            which stays as it is.
        scope: What ``pack_scope`` gave there.
    """
    with contained("runtime.adopt"):
        with _state.lock:
            _state.inherited = {str(name): str(value) for name, value in environment.items()}
            settings = _load_settings()
            if _state.recorder is not None and settings != _state.settings:
                _disconnect()
            _state.settings = settings
            PIPE.limit_bytes = settings.limit_bytes
        enable()
        CURRENT.set(unpack_scope(scope))


def _place_process(ids: Mapping[str, str]) -> None:
    """Let the process stand where its environment says it was started."""
    _state.origin = origin = unpack_scope(ids)
    if origin is not None:
        _place_lost_calls()
        if CURRENT.get() is None:
            CURRENT.set(origin)


def _place_lost_calls() -> None:
    """Let calls outside any scope belong to the agent that this process was started by."""
    origin = _state.origin
    if origin is not None and origin.agent is not None:
        context.implicit_roots[PIPE.epoch] = origin


def _settings_for_children() -> dict[str, str]:
    """Give the environment variables that make a child record as this process does; {} while off."""
    settings = _state.settings
    if not SWITCH or settings is None:
        return {}
    known = _environment()
    variables = {name: value for name, value in known.items() if name.startswith("AGENTTRACE")}
    variables.pop(SCOPE_VARIABLE, None)
    rules = None if settings.redact is None else _build_rules(settings).to_data()
    for name, value in config.render_environment(settings, rules).items():
        # What the environment says itself stays as it is written there; a relative path would mislead.
        if name not in variables or config.VARIABLES[name] in {*_state.given, "database"}:
            variables[name] = value
    return {**variables, "AGENTTRACE": "1"}


def _environment() -> Mapping[str, str]:
    return {**os.environ, **_state.inherited}


HERITAGE.settings = _settings_for_children


def _load_settings() -> config.Settings:
    try:
        return config.load(_state.given, _environment())
    except ConfigError as exc:
        logging.getLogger("agenttrace").warning("%s; recording goes on with defaults", exc)
        environment = {"AGENTTRACE_DB": _environment().get("AGENTTRACE_DB", "")}
        try:
            return config.load(_state.given, environment)
        except ConfigError:
            return config.Settings(database=config.user_database())


def _build_rules(settings: config.Settings) -> Any:
    from agenttrace.encode.redact import Rules  # late: its patterns are compiled with the first event

    return Rules.build(settings.redact)


def _connect_and_publish(body: bytes) -> Any:
    """Make the recorder with the first event, and hand it over."""
    with _state.lock:
        if _state.recorder is None:
            _connect()
        publish = PIPE.publish
    if publish is _connect_and_publish:
        return None
    return publish(body)


def _connect_first() -> None:
    """Make the recorder before the first run begins; its ring still comes with the first event."""
    with contained("runtime.connect"), _state.lock:
        if _state.recorder is None and PIPE.publish is _connect_and_publish:
            _connect()


def _connect() -> None:
    from agenttrace.write.recorder import Recorder  # late: the first event pays for it, not the import

    settings = _state.settings or _load_settings()
    try:
        rules = _build_rules(settings)
    except ConfigError as exc:
        logging.getLogger("agenttrace").warning("%s; the default redaction stays", exc)
        from agenttrace.encode.redact import Rules

        rules = Rules.build(None)

    def describe() -> ProcessInfo:
        from agenttrace.identity import describe_process

        info = describe_process(PIPE.span_prefix, _state.parent_process_id, rules.redact_text)
        _state.process_id = info.process_id
        _close_root_with_multiprocessing()
        return info

    recorder = Recorder(settings, rules, describe)
    if _state.recorder is not None:
        return  # a signal handler or finaliser came first, in this very thread
    _state.settings, _state.recorder = settings, recorder
    if not _state.hooked:
        _state.hooked = True
        atexit.register(_at_exit)
    PIPE.publish = recorder.publish
    PIPE.prepare = _decided


def _disconnect(timeout_s: float = 5.0) -> FlushResult:
    from agenttrace.write.writer import FlushResult

    recorder = _state.recorder
    if recorder is None:
        return FlushResult(0, 0, 0)
    with contained("runtime.swallowed"):
        settle_all()
    _close_implicit_root()
    result = recorder.shutdown(timeout_s)
    _state.recorder = None
    LOSSES.clear()  # they stand in the row of the process record that ends here
    PIPE.publish = _connect_and_publish
    PIPE.prepare = _connect_first
    PIPE.renew_identity(new_id(8))
    _place_lost_calls()
    return result


def _close_implicit_root() -> None:
    """End the agent ``main`` of this process; with the exception that ends the process, if one does."""
    root = context.implicit_roots.pop(PIPE.epoch, None)
    if root is None or root is _state.origin:
        return
    from agenttrace.capture.agents import close_agent

    with contained("runtime.close_root"):
        close_agent(root, b"null", _fatal_exception())


def _close_root_with_multiprocessing() -> None:
    """Have a child of multiprocessing end its agent ``main``: it runs no atexit handlers."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        # Before the recorder's own, which has -100.
        util.Finalize(None, _close_implicit_root, exitpriority=-99)


def _fatal_exception() -> BaseException | None:
    """Give the exception that ended the program, where the interpreter has just printed one."""
    exc = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return exc if isinstance(exc, BaseException) else None


def _at_exit() -> None:
    recorder = _state.recorder
    if recorder is None:
        return
    try:
        settle_all()
        _close_implicit_root()
        exc = _fatal_exception()
        recorder.shutdown(exit="ok" if exc is None else f"exception {type(exc).__name__}")
    except Exception as exc:
        contain("runtime.at_exit", exc)


def _before_fork() -> None:
    if _state.recorder is not None:
        with contained("runtime.before_fork"):
            _state.recorder.before_fork()


def _after_fork_in_parent() -> None:
    if _state.recorder is not None:
        with contained("runtime.after_fork"):
            _state.recorder.after_in_parent()


def _after_fork_in_child() -> None:
    with contained("runtime.after_fork_in_child"):
        _state.lock = threading.RLock()
        _state.parent_process_id, _state.process_id = _state.process_id, None
        context.implicit_roots.clear()
        LOSSES.clear()
        PIPE.renew_identity(new_id(8))
        _place_lost_calls()
        _forget_caught()
        if _state.recorder is not None:
            _state.recorder.after_in_child()


def _forget_caught() -> None:
    """Leave to the parent process what it caught and has not written yet."""
    operation = CURRENT.get()
    while operation is not None:
        operation.caught = None
        operation = operation.parent


if hasattr(os, "register_at_fork"):
    # At once, not with the first event: children forked before it would share their span ids.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


def wire_store() -> type[TraceStore]:
    """Give ``TraceStore`` with the redacting encoder in place."""
    from agenttrace.encode import codec
    from agenttrace.store import event_store

    def prepare(payload: Any) -> bytes:
        settings = current_settings()
        encoded = codec.encode(payload, settings.limit_bytes)
        return bytes(_build_rules(settings).redact_payload(encoded))

    event_store.prepare_payload = prepare
    return event_store.TraceStore
