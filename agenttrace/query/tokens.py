"""
How many tokens a text takes in a language model's context, estimated high, without any tokenizer.

Invariant: more text is never fewer tokens, and no text is estimated at more than its bytes in UTF-8,
which is what a tokenizer that works on bytes takes at most. Tokenizers differ and none is at hand, so
this counts as one with a small vocabulary would: three letters of a word are a token, and so are two
digits, every other sign, and every byte beyond ASCII. Prose, code, JSON and ids come out above
what models bill; words that a tokenizer has never seen may come out below.
Cost: one pass of a regular expression.
"""

from __future__ import annotations

import re

__all__ = ["estimate_tokens"]

_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+| +|[^\x00-\x7f]+|.", re.DOTALL)
_LETTERS_PER_TOKEN = 3
_DIGITS_PER_TOKEN = 2
_SPACES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of *text*, >= 0; 0 of ""."""
    count = 0
    for piece in _PIECE.findall(text):
        first = piece[0]
        if first == " ":
            # One space goes with the word behind it.
            count += (len(piece) + _SPACES_PER_TOKEN - 2) // _SPACES_PER_TOKEN
        elif first > "\x7f":
            count += len(piece.encode("utf-8", "surrogatepass"))
        elif first.isdigit():
            count += -(-len(piece) // _DIGITS_PER_TOKEN)
        elif first.isalpha():
            count += -(-len(piece) // _LETTERS_PER_TOKEN)
        else:
            count += 1
    return count
