"""
A cassette as it stands beside a test, for people to read and to review.

Invariants: no secret that the default rules know is in it; recording the same run twice gives the same
text, since times, random ids and the folders of this machine are left out; what it gives back is whole:
where a secret was taken out of a result, the result has the word ``REDACTED`` in it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agenttrace.cassette import Cassette
from agenttrace.encode import codec
from agenttrace.encode.redact import Rules
from agenttrace.events import MARK

__all__ = ["PLACEHOLDER", "build_stable", "load_stable", "write_stable"]

PLACEHOLDER = "REDACTED"
_TAKEN = re.compile(r"\[redacted:[^\]]*\]")
_PROVIDER_ID = re.compile(
    r"(call|chatcmpl|cmpl|fc|gen|msg|req|resp|rs|run|thread|toolu|tooluse|srvtoolu)([-_])[A-Za-z0-9_-]{8,}"
)
"""Ids that OpenAI, Anthropic and those who speak like them draw anew for each answer."""
_ASKED = ("arguments", "input", "params")
_GIVEN = ("output", "stream", "error", "attempts", "members", "payload", "deltas")
_OF_THE_CLOCK = frozenset(
    {"duration_ms", "first_chunk_ms", "priced_by", "wait_ms", "created", "created_at", "caught"}
)
"""Members of a record that are other ones each time: ``caught`` counts what libraries raised and caught."""
_OWN_WORDS = ("output", "stream", "deltas")
_DEPTH_LIMIT = 200


def build_stable(cassette: Cassette, folder: Path, rules: Rules | None = None) -> dict[str, Any]:
    """
    Give a cassette as data for a file.

    Args:
        cassette: What was recorded.
        folder: Lines of code are kept of files below it, named from there.
        rules: What counts as a secret; the default rules, unless given.
    """
    data = cassette.to_data()
    names: dict[str, str] = {}
    redact = _redactor(rules or Rules.default())
    base = os.path.join(os.path.abspath(folder), "")
    runs = []
    for run in data["runs"]:
        made = {key: value for key, value in run.items() if key not in ("calls", "turns")}
        made = _fields(made, redact, base)
        for group in ("calls", "turns"):
            if group in run:
                made[group] = [_fields(one, redact, base) for one in run[group]]
        _number_ends(made.get("calls", []))
        runs.append(_rename(made, names))
    return {"version": data["version"], "status": data["status"], "runs": runs}


def _number_ends(calls: list[dict[str, Any]]) -> None:
    """
    Count the ends among the calls of one run only, and leave them out where they are in calling order.

    Which of two agents that work at once ends first is another thing each time, and no news.
    """
    ended = sorted(call["ended"] for call in calls if call.get("ended") is not None)
    ranks = {end: at for at, end in enumerate(ended, 1)}
    for call in calls:
        if call.get("ended") is not None:
            call["ended"] = ranks[call["ended"]]
    if [call["ended"] for call in calls if call.get("ended") is not None] == sorted(ranks.values()):
        for call in calls:
            call.pop("ended", None)


def write_stable(path: Path, data: dict[str, Any]) -> None:
    """Write the data to a file in one step, so that nobody reads half of it; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    handle, made = tempfile.mkstemp(prefix=f".{path.name[:40]}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogatepass"))
        os.chmod(made, 0o644)
        os.replace(made, path)
    except BaseException:
        os.unlink(made)
        raise


def load_stable(path: Path) -> Cassette:
    """
    Read such a file.

    Raises:
        ReplayError: It cannot be read, or is no cassette.
    """
    return Cassette.load(path)


def _redactor(rules: Rules) -> Callable[[str, Any], Any]:
    def redact(name: str, value: Any) -> Any:
        payload = rules.redact_payload(codec.dumps({name: value}))
        data = codec.loads(payload)
        return data[name] if isinstance(data, dict) and name in data else data

    return redact


def _fields(recorded: dict[str, Any], redact: Callable[[str, Any], Any], base: str) -> dict[str, Any]:
    made = {}
    for name, value in recorded.items():
        if name in _OF_THE_CLOCK:
            continue
        if name in _ASKED:
            value = redact(name, value)
        elif name in _GIVEN:
            value = _give(redact(name, value), base, 1 if name in _OWN_WORDS else 0)
        made[name] = value
    return made


def _give(value: Any, base: str, depth: int) -> Any:
    """Put a word where a secret was taken out, and leave out times and lines of others' code."""
    if depth > _DEPTH_LIMIT:
        return value
    if isinstance(value, str):
        return _TAKEN.sub(PLACEHOLDER, value) if "[redacted:" in value else value
    if isinstance(value, list):
        return [_give(one, base, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get(MARK) == "redacted" and value.get("rule") != "capture_result":
        return PLACEHOLDER
    made = {
        key: _give(one, base, depth + 1)
        for key, one in value.items()
        if depth or key not in _OF_THE_CLOCK  # deeper in they are a tool's or a model's own words
    }
    frames = made.get("frames")
    if isinstance(frames, list) and "type" in made:
        made["frames"] = [_place(one, base) for one in frames if _is_below(one, base)]
    return made


def _is_below(frame: Any, base: str) -> bool:
    if not isinstance(frame, dict) or not isinstance(frame.get("file"), str):
        return False
    file = frame["file"]
    return (file.startswith(base) or not os.path.isabs(file)) and "site-packages" not in file


def _place(frame: dict[str, Any], base: str) -> dict[str, Any]:
    file = frame["file"]
    return {**frame, "file": Path(file[len(base) :]).as_posix() if file.startswith(base) else file}


def _rename(value: Any, names: dict[str, str]) -> Any:
    """Give each provider's id a number, the same wherever it stands."""
    if isinstance(value, dict):
        return {
            key: _rename(one, names)
            for key, one in value.items()
            if not (key == "response_id" and one is None)
        }
    if isinstance(value, list):
        return [_rename(one, names) for one in value]
    if not isinstance(value, str):
        return value
    match = _PROVIDER_ID.fullmatch(value)
    if match is None:
        return value
    return names.setdefault(value, f"{match[1]}{match[2]}{len(names) + 1:04d}")
