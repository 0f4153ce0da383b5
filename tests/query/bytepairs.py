"""
A small byte-pair tokenizer that learns from a text, to hold an estimate of tokens against a real count.

Splits as the tokenizers of large models do (words with the space before them, up to three digits, runs of
other signs), then joins the pairs that it has learnt. With the few thousand pairs that a small text
teaches it takes more tokens than one with a vocabulary of a hundred thousand.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

__all__ = ["BytePairs"]

_SPLIT = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+|[0-9]{1,3}| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")

Pair = tuple[bytes, bytes]


class BytePairs:
    """A tokenizer with the pairs that *text* teaches, at most *merges* of them."""

    def __init__(self, text: str, merges: int) -> None:
        words = Counter(piece.encode() for piece in _SPLIT.findall(text))
        split = {word: [bytes([byte]) for byte in word] for word in words}
        counts: Counter[Pair] = Counter()
        places: defaultdict[Pair, set[bytes]] = defaultdict(set)
        for word, parts in split.items():
            for pair in pairwise(parts):
                counts[pair] += words[word]
                places[pair].add(word)
        self._ranks: dict[Pair, int] = {}
        for rank in range(merges):
            pair = max(counts, key=lambda each: (counts[each], each))
            if counts[pair] < 2:
                break
            self._ranks[pair] = rank
            for word in list(places[pair]):
                parts = split[word]
                for old in pairwise(parts):
                    counts[old] -= words[word]
                split[word] = parts = _join(parts, pair)
                for new in pairwise(parts):
                    counts[new] += words[word]
                    places[new].add(word)
            del counts[pair]
        self._known: dict[str, int] = {}

    def count(self, text: str) -> int:
        """Count the tokens of *text*."""
        return sum(self._count_piece(piece) for piece in _SPLIT.findall(text))

    def _count_piece(self, piece: str) -> int:
        known = self._known.get(piece)
        if known is None:
            parts = [bytes([byte]) for byte in piece.encode()]
            while len(parts) > 1:
                best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, 1 << 30))
                if best not in self._ranks:
                    break
                parts = _join(parts, best)
            known = self._known[piece] = len(parts)
        return known


def _join(parts: list[bytes], pair: Pair) -> list[bytes]:
    joined: list[bytes] = []
    at = 0
    while at < len(parts):
        if tuple(parts[at : at + 2]) == pair:
            joined.append(pair[0] + pair[1])
            at += 2
        else:
            joined.append(parts[at])
            at += 1
    return joined
