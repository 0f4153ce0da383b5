"""
The tool that every benchmark calls, and the values it takes and gives.

Invariant: the same seed gives the same bytes on every machine, so that figures of
different runs speak of the same work.
"""

from __future__ import annotations

import json
import random
from typing import Any

__all__ = ["ARGUMENTS", "SEED", "build_document", "build_result", "look_up"]

SEED = 20261121

# None of them is a word that redaction looks for; bench_encode measures what those cost.
_WORDS = (
    "agent call result error retry trace event tool model turn cost parse read write list find table "
    "index column batch ring frame writer store query viewer summary failure swallowed handled"
).split()


def build_result(size_bytes: int, seed: int = SEED) -> dict[str, Any]:
    """
    Build a result as tools give them: a few fields and a list of hits.

    Args:
        size_bytes: Length of its compact JSON, from 100 up; met within 8 bytes.
        seed: Draws the words.

    Returns:
        A dict of str, int, float, bool and lists.
    """
    draw = random.Random(seed)
    result: dict[str, Any] = {"ok": True, "elapsed_s": 0.25, "count": 7, "hits": []}
    while True:
        hit = {
            "path": f"src/{draw.choice(_WORDS)}.py",
            "line": draw.randrange(1, 999),
            "text": _sentence(draw, 5),
        }
        if _length({**result, "hits": [*result["hits"], hit]}) > size_bytes - 20:
            break
        result["hits"].append(hit)
    result["note"] = "x" * max(0, size_bytes - _length({**result, "note": ""}))
    return result


def build_document(size_bytes: int, seed: int = SEED) -> str:
    """Build one long string of words, *size_bytes* long."""
    draw = random.Random(seed)
    parts: list[str] = []
    length = 0
    while length < size_bytes:
        part = _sentence(draw, 200) + "\n"
        parts.append(part)
        length += len(part)
    return "".join(parts)[:size_bytes]


def _sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(_WORDS) for _ in range(words))


def _length(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


RESULT_500 = build_result(500)
ARGUMENTS: dict[str, Any] = {"question": "where is the retry table read?", "limit": 10}


def look_up(question: str, limit: int = 10) -> dict[str, Any]:
    """Stand for a tool that does nothing but give 500 bytes back."""
    return RESULT_500
