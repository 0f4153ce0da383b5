"""
Payloads of model inputs and answers, read for what is new in them.

Invariant: a payload that was cut is read whole where the whole was kept; nothing is parsed twice
by one reader. Cost: a look into the payload's text until something in it is asked for.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from agenttrace.events import MARK
from agenttrace.store.told import Told, is_instruction, read_told

__all__ = ["InputReader"]

_REFERENCES_READ = 64
_MESSAGES = ("messages", "input", "contents")
"""Under which key of an object a model's input has its messages."""
_BLOB = "SELECT body FROM payload_blobs WHERE sha256 = ?"


def _drop_known(items: list[Any], before: list[Any]) -> list[Any]:
    """
    Drop the messages that were there before: those at the beginning that are alike.

    Instructions stand apart: they are often made anew for each input, in front of the same messages.
    """
    fresh = [one for one in items if is_instruction(one) and one not in before]
    items = [one for one in items if not is_instruction(one)]
    count = 0
    for old, new in zip((one for one in before if not is_instruction(one)), items, strict=False):
        if old != new:
            break
        count += 1
    return fresh + items[count:]


class _Payload:
    """A payload in lower case, and which pieces were found in it: failures in a row share theirs."""

    __slots__ = ("_found", "_text")

    def __init__(self, raw: str) -> None:
        self._text = raw.lower()
        self._found: dict[str, bool] = {}

    def holds(self, piece: str) -> bool:
        """Tell whether *piece* is in it."""
        found = self._found.get(piece)
        if found is None:
            found = self._found[piece] = piece in self._text
        return found


class InputReader:
    """
    Reads payloads for one search.

    Args:
        connection: Where the blobs are.
        bodies: Those of the batch at hand, by their hashes.
    """

    def __init__(self, connection: sqlite3.Connection, bodies: dict[str, bytes]) -> None:
        self._connection = connection
        self._bodies = bodies
        self._resolved = 0
        self._whole: dict[str, str] = {}
        self._payloads: dict[str, _Payload] = {}
        self._items: dict[tuple[str, str], list[Any]] = {}
        self._told: dict[tuple[str, str | None], list[Told]] = {}

    def holds(self, payload: str, piece: str) -> bool:
        """Tell whether *piece*, in lower case, is in a payload in lower case."""
        found = self._payloads.get(payload)
        if found is None:
            found = self._payloads[payload] = _Payload(self._read_whole(payload))
        return found.holds(piece)

    def read_answer(self, payload: str) -> list[Told]:
        """Read an agent's output."""
        raw = self._read_whole(payload)
        key = (raw, None)
        if key not in self._told:
            self._told[key] = [
                read_told(item, is_answer=True) for item in self._split_items(raw, "agent_end")
            ]
        return self._told[key]

    def read_input(self, payload: str, before: str | None) -> list[Told]:
        """Read what a model's input says that the input *before* did not; None where there was none."""
        raw = self._read_whole(payload)
        former = "" if before is None else self._read_whole(before)
        key = (raw, former)
        if key not in self._told:
            items = self._split_items(raw, "model_call")
            if former:
                items = _drop_known(items, self._split_items(former, "model_call"))
            elif items and is_instruction(items[0]):
                items = items[1:]  # the first input of this agent: what it says to every model
            self._told[key] = [read_told(self._resolve(item)) for item in items]
        return self._told[key]

    def _split_items(self, raw: str, kind: str) -> list[Any]:
        """Give the messages of a model's input, and what stands beside them; an answer is the only one."""
        key = (kind, raw)
        if key not in self._items:
            payload = json.loads(raw)
            value = payload.get("output" if kind == "agent_end" else "input", payload)
            items = [value]
            if kind == "model_call" and isinstance(value, dict):
                name = next((name for name in _MESSAGES if isinstance(value.get(name), list)), None)
                if name is not None:
                    beside = {key: each for key, each in value.items() if key != name}
                    items = [{"role": "system", "beside": beside}, *value[name]]
            elif kind == "model_call" and isinstance(value, list):
                items = value
            self._items[key] = items
        return self._items[key]

    def _resolve(self, item: Any) -> Any:
        """Put what references name in their place, a few of them."""
        if not (isinstance(item, dict) and item.get(MARK) == "ref"):
            return item
        self._resolved += 1
        body = self._blob(item.get("sha256")) if self._resolved <= _REFERENCES_READ else None
        return item if body is None else json.loads(body)

    def _read_whole(self, payload: str) -> str:
        """Give the payload, or of one that was cut the whole where it was kept."""
        whole = self._whole.get(payload)
        if whole is None:
            body = None
            if f'"{MARK}":"cut"' in payload:
                mark = json.loads(payload)
                body = self._blob(mark.get("sha256")) if mark.get(MARK) == "cut" else None
            whole = self._whole[payload] = payload if body is None else body
        return whole

    def _blob(self, sha256: Any) -> str | None:
        if not isinstance(sha256, str):
            return None
        body = self._bodies.get(sha256)
        if body is None:
            row = self._connection.execute(_BLOB, (sha256,)).fetchone()
            body = None if row is None else row[0]
        return None if body is None else bytes(body).decode("utf-8", "replace")
