"""
What an MCP result says, and which failure a traced server hands back with it.

Invariants: only what the SDK itself has made is read; a client takes a failure only from a server
that writes to the same database, because elsewhere nobody would find its row; what a program gets
to see is the result as the server's code gave it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

from agenttrace.capture.outer_calls import OuterCall
from agenttrace.capture.propagation import HERITAGE

__all__ = ["add_failure", "name_of", "take_failure", "tell_result"]

_FAILURE_KEY = "agenttrace/failure"
"""In ``_meta`` of a result: ``error_id place type``."""

_HANDED_BACK = re.compile(r"([0-9a-f]{16}) ([0-9a-f]{16}) (\w{1,128})")
_CREDENTIALS = re.compile(r"//[^/@]*@")
_PARTS_LIMIT_COUNT = 64
_NAME_LIMIT = 256
_NOT_FOR_THE_MODEL = ("_meta", "meta")


def name_of(name: Any) -> str:
    """Give what a call asks for as the name of a tool, also where that is no text."""
    return name[:_NAME_LIMIT] if type(name) is str else type(name).__name__


def tell_result(call: OuterCall, result: Any) -> None:
    """Keep *result*, an object of the SDK's or its wire form, as what *call* gave."""
    wire = _wire_of(result)
    if not isinstance(wire, dict):
        call.set_result(wire)
        return
    told = {name: value for name, value in wire.items() if name not in _NOT_FOR_THE_MODEL}
    if told.get("resultType") == "complete":
        del told["resultType"]
    if told.get("isError") is True:
        call.set_result(told, is_error=True, detector="isError", failure=_text_of(told))
    else:
        told.pop("isError", None)
        call.set_result(told, failure=_said_in(told))


def _wire_of(result: Any) -> Any:
    """Give the result as it goes over the wire; anything that is none, as it is."""
    if isinstance(result, Mapping):
        return dict(result)
    dump = getattr(type(result), "model_dump", None)
    if dump is None or type(result).__module__.partition(".")[0] not in ("mcp", "mcp_types"):
        return result
    return dump(result, by_alias=True, exclude_none=True)


def _said_in(told: Mapping[str, Any]) -> Any:
    """Give what may stand for a failure: the structured content, else the only text."""
    structured = told.get("structuredContent")
    if isinstance(structured, dict) and structured:
        return structured["result"] if list(structured) == ["result"] else structured
    content = told.get("content")
    return _text_of(told) if isinstance(content, list) and len(content) == 1 else None


def _text_of(told: Mapping[str, Any]) -> str | None:
    """Give the text that the model gets to read."""
    content = told.get("content")
    parts = [
        part.get("text")
        for part in (content if isinstance(content, list) else [])[:_PARTS_LIMIT_COUNT]
        if isinstance(part, Mapping)
    ]
    return "\n".join(part for part in parts if isinstance(part, str)) or None


def add_failure(meta: Mapping[str, Any] | None, call: OuterCall) -> dict[str, Any] | None:
    """Give ``_meta`` with the failure that *call* ended with; None where there is nothing to add."""
    if call.error_id is None:
        return None
    kind = re.sub(r"\W", "_", call.error_type or "Error")[:128] or "Error"
    return {**(meta or {}), _FAILURE_KEY: f"{call.error_id} {_place_of_record()} {kind}"}


def take_failure(result: Any, call: OuterCall) -> None:
    """Take what our server added to *result* out again, and the failure as that of *call*."""
    meta = getattr(result, "meta", None)
    if not isinstance(meta, dict) or _FAILURE_KEY not in meta:
        return
    said = meta[_FAILURE_KEY]
    handed = _HANDED_BACK.fullmatch(said) if isinstance(said, str) else None
    if handed is None:
        return  # no server of ours has written it
    del meta[_FAILURE_KEY]
    if not meta:
        result.meta = None
        result.__pydantic_fields_set__.discard("meta")
    if handed[2] == _place_of_record():
        call.take_failure(handed[1], handed[3])


def _place_of_record() -> str:
    """Name the database that this process writes to, so that only what sees the same one says the same."""
    database = HERITAGE.settings().get("AGENTTRACE_DB", "")
    if "://" in database and not database.startswith("sqlite:"):
        database = _CREDENTIALS.sub("//", database)
    elif database.endswith(":memory:"):
        database = f"{os.getpid()}"
    else:
        database = os.path.realpath(database.removeprefix("sqlite:///"))
    seen_from = f"{_boot_id()} {_mounts()}"
    return hashlib.sha256(f"{seen_from} {database}".encode("utf-8", "replace")).hexdigest()[:16]


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii", errors="replace") as file:
            return file.read(64)
    except OSError:
        import socket  # late: only where the system has no such file

        return socket.gethostname()


def _mounts() -> str:
    """Name what tells two containers of one machine apart."""
    try:
        return os.readlink("/proc/self/ns/mnt")
    except OSError:
        return ""
