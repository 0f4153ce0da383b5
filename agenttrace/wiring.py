"""
The wiring: settings, capture, recorder and store meet here and nowhere else.

Invariant: switching on costs the program nothing that it can see but the recorder,
which is made with the first event, stopped around a fork, and closed at exit.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from agenttrace import config
from agenttrace.capture import context
from agenttrace.capture.context import PIPE, SWITCH
from agenttrace.capture.propagation import HERITAGE
from agenttrace.capture.roots import (
    close_implicit_root,
    close_root_with_multiprocessing,
    fatal_exception,
    forget_caught,
)
from agenttrace.capture.settling import settle_all
from agenttrace.errors import LOSSES, ConfigError, contain, contained
from agenttrace.events import ProcessInfo, new_id
from agenttrace.origin import ORIGIN, build_rules, load_settings, settings_for_children

if TYPE_CHECKING:
    from agenttrace.store.event_store import TraceStore
    from agenttrace.write.recorder import Recorder
    from agenttrace.write.writer import FlushResult

__all__ = [
    "STATE",
    "State",
    "connect_and_publish",
    "connect_first",
    "decided",
    "disconnect",
    "end_at_exit",
    "watch_caught",
    "wire_store",
]


class State:
    """What this process has decided; guarded by ``lock`` where it is changed."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.given: dict[str, Any] = {}
        self.settings: config.Settings | None = None
        self.recorder: Recorder | None = None
        self.process_id: str | None = None
        self.parent_process_id: str | None = None
        self.hooked = False
        self.is_over = False
        """Our exit handler has run; what is recorded from then on is stored by whoever records it."""


STATE = State()


def decided() -> None:
    """Stand in once there is nothing left to decide, or to prepare."""
    ORIGIN.stand()


def watch_caught(wanted: bool = True) -> None:
    """Watch caught exceptions while tracing is on and the settings do not say ``off``."""
    if not hasattr(sys, "monitoring"):  # before Python 3.12
        return
    with contained("runtime.swallowed"), STATE.lock:
        settings = STATE.settings
        if wanted and SWITCH and settings is not None and settings.swallowed != "off":
            from agenttrace.capture import monitoring  # late: only tracing needs it
            from agenttrace.write.threads import has_ended, start_masked

            monitoring.install(
                start_thread=start_masked,
                has_ended=has_ended,
                finish=_finish_caught,
                include=settings.swallowed_include,
                exclude=settings.swallowed_exclude,
                is_thorough=settings.swallowed == "on",
            )
        elif "agenttrace.capture.monitoring" in sys.modules:
            sys.modules["agenttrace.capture.monitoring"].uninstall()


def _finish_caught() -> None:
    """Write what was caught as the process ends, and end its record where that is the first of it."""
    recorder = STATE.recorder
    has_record = recorder is not None and recorder.ring is not None
    settle_all()
    if not has_record:
        _at_exit()


def _settings_for_children() -> dict[str, str]:
    settings = STATE.settings
    return settings_for_children(settings, STATE.given) if SWITCH and settings is not None else {}


HERITAGE.settings = _settings_for_children


def connect_and_publish(body: bytes) -> Any:
    """Make the recorder with the first event, and hand it over."""
    with STATE.lock:
        if STATE.recorder is None:
            _connect()
        publish = PIPE.publish
    if publish is connect_and_publish:
        return None
    return publish(body)


def _forget_sent() -> None:
    """Let no request that is recorded from now on name an earlier one."""
    history = sys.modules.get("agenttrace.capture.history")
    if history is not None:  # some model was asked
        history.forget_sent()


def end_at_exit() -> None:
    """Have the record end with the program; asked early, since the first event may be an exit handler's."""
    if not STATE.hooked:
        STATE.hooked = True
        atexit.register(_at_exit)


def connect_first() -> None:
    """Make the recorder before the first run begins; its ring still comes with the first event."""
    with contained("runtime.connect"), STATE.lock:
        if STATE.recorder is None and PIPE.publish is connect_and_publish:
            _connect()


def _connect() -> None:
    from agenttrace.write.recorder import Recorder  # late: the first event pays for it, not the import

    settings = STATE.settings or load_settings(STATE.given)
    try:
        rules = build_rules(settings)
    except ConfigError as exc:
        logging.getLogger("agenttrace").warning("%s; the default redaction stays", exc)
        from agenttrace.encode.redact import Rules

        rules = Rules.build(None)

    def describe() -> ProcessInfo:
        from agenttrace.identity import describe_process

        info = describe_process(PIPE.span_prefix, STATE.parent_process_id, rules.redact_text)
        STATE.process_id = info.process_id
        close_root_with_multiprocessing(ORIGIN.operation)
        return info

    recorder = Recorder(settings, rules, describe, forget=_forget_sent)
    if STATE.recorder is not None:
        return  # a signal handler or finaliser came first, in this very thread
    if STATE.is_over:
        recorder.at_exit()
    STATE.settings, STATE.recorder = settings, recorder
    end_at_exit()
    PIPE.publish = recorder.publish
    PIPE.prepare = decided


def disconnect(timeout_s: float = 5.0) -> FlushResult:
    from agenttrace.write.writer import FlushResult

    recorder = STATE.recorder
    if recorder is None:
        return FlushResult(0, 0, 0)
    with contained("runtime.swallowed"):
        settle_all()
    close_implicit_root(ORIGIN.operation)
    result = recorder.shutdown(timeout_s)
    STATE.recorder = None
    LOSSES.clear()  # they stand in the row of the process record that ends here
    PIPE.publish = connect_and_publish
    PIPE.prepare = connect_first
    PIPE.renew_identity(new_id(8))
    ORIGIN.place_lost_calls()
    return result


def _at_exit() -> None:
    STATE.is_over = True
    recorder = STATE.recorder
    if recorder is None:
        return
    try:
        settle_all()
        close_implicit_root(ORIGIN.operation)
        exc = fatal_exception()
        recorder.shutdown(exit="ok" if exc is None else f"exception {type(exc).__name__}")
    except Exception as exc:
        contain("runtime.at_exit", exc)


def _before_fork() -> None:
    if STATE.recorder is not None:
        with contained("runtime.before_fork"):
            STATE.recorder.before_fork()


def _after_fork_in_parent() -> None:
    if STATE.recorder is not None:
        with contained("runtime.after_fork"):
            STATE.recorder.after_in_parent()


def _after_fork_in_child() -> None:
    with contained("runtime.after_fork_in_child"):
        STATE.lock = threading.RLock()
        STATE.parent_process_id, STATE.process_id = STATE.process_id, None
        context.implicit_roots.clear()
        LOSSES.clear()
        PIPE.renew_identity(new_id(8))
        ORIGIN.place_lost_calls()
        forget_caught()
        if STATE.recorder is not None:
            STATE.recorder.after_in_child()


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
        settings = STATE.settings or load_settings(STATE.given)
        encoded = codec.encode(payload, settings.limit_bytes)
        return bytes(build_rules(settings).redact_payload(encoded))

    event_store.prepare_payload = prepare
    return event_store.TraceStore
