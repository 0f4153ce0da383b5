"""
Payloads of model inputs and answers, read for what is new in them.

Invariant: a payload that was cut, or names earlier ones, is read whole; nothing is parsed twice by
one reader. Cost: a look into the payload's text until something in it is asked for, and the whole
chat put together where it names earlier requests.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from agenttrace.events import MARK, MESSAGE_KEYS
from agenttrace.store.references import References
from agenttrace.store.told import Told, is_instruction, read_told, split_results

__all__ = ["InputReader"]


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
        self._references: dict[str, References] = {}
        self._whole: dict[str, str] = {}
        self._payloads: dict[str, _Payload] = {}
        self._items: dict[tuple[str, str], list[Any]] = {}
        self._told: dict[tuple[str, str | None], list[Told]] = {}

    def holds(self, conversation_id: str, payload: str, piece: str) -> bool:
        """Tell whether *piece*, in lower case, is in a payload in lower case."""
        found = self._payloads.get(payload)
        if found is None:
            found = self._payloads[payload] = _Payload(self._read_whole(conversation_id, payload))
        return found.holds(piece)

    def read_answer(self, conversation_id: str, payload: str) -> list[Told]:
        """Read an agent's output."""
        raw = self._read_whole(conversation_id, payload)
        key = (raw, None)
        if key not in self._told:
            self._told[key] = [
                read_told(item, is_answer=True) for item in self._split_items(raw, "agent_end")
            ]
        return self._told[key]

    def read_input(self, conversation_id: str, payload: str, before: str | None) -> list[Told]:
        """Read what a model's input says that the input *before* did not; None where there was none."""
        raw = self._read_whole(conversation_id, payload)
        former = "" if before is None else self._read_whole(conversation_id, before)
        key = (raw, former)
        if key not in self._told:
            items = self._split_items(raw, "model_call")
            if former:
                items = _drop_known(items, self._split_items(former, "model_call"))
            elif items and is_instruction(items[0]):
                items = items[1:]  # the first input of this agent: what it says to every model
            self._told[key] = [read_told(one) for item in items for one in split_results(item)]
        return self._told[key]

    def _split_items(self, raw: str, kind: str) -> list[Any]:
        """Give the messages of a model's input, and what stands beside them; an answer is the only one."""
        key = (kind, raw)
        if key not in self._items:
            payload = json.loads(raw)
            value = payload.get("output" if kind == "agent_end" else "input", payload)
            items = [value]
            if kind == "model_call" and isinstance(value, dict):
                name = next((name for name in MESSAGE_KEYS if isinstance(value.get(name), list)), None)
                if name is not None:
                    beside = {key: each for key, each in value.items() if key != name}
                    items = [{"role": "system", "beside": beside}, *value[name]]
            elif kind == "model_call" and isinstance(value, list):
                items = value
            self._items[key] = items
        return self._items[key]

    def _read_whole(self, conversation_id: str, payload: str) -> str:
        """Give the payload; of one that was cut or names others the whole."""
        whole = self._whole.get(payload)
        if whole is None:
            whole = payload
            if f'"{MARK}":"cut"' in payload or f'"{MARK}":"ref"' in payload:
                references = self._references.get(conversation_id)
                if references is None:
                    references = References(self._connection, conversation_id, self._bodies)
                    self._references[conversation_id] = references
                parsed = json.loads(payload)
                found = references.read_whole(parsed)
                whole = payload if found is parsed else json.dumps(found, ensure_ascii=False)
            self._whole[payload] = whole
        return whole
