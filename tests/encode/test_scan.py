"""The look over a payload before it is searched: it may find too much, and never too little."""

from __future__ import annotations

import random
import re
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace import native
from agenttrace.encode import scan
from agenttrace.encode.redact_gate import Gate
from agenttrace.encode.redact_names import Names, build_words
from agenttrace.encode.redact_rules import GATES, PIECES, TELLING_NAMES
from agenttrace.encode.scan import build_look, build_pairs, find_runs_in_python, has_piece_of_in_python

IS_NATIVE = native.FUNCTIONS is not None
PAIRS = build_pairs(PIECES)
FRAGMENTS = [piece.decode() for piece in PIECES] + [
    *("a", "A" * 15, "b" * 16, "-", "_", "/", " ", '"', "\x00", "\xff", "é", "k", "Z", "0123456789abcdef"),
]
SEARCHES = [
    (source, re.compile(source)) for source in (pattern.pattern for _, pattern in build_words(Names()))
]
SEARCHES += [(source, re.compile(source)) for _, source in GATES]


Texts = tuple[list[str], list[str]]
"""What a pattern looks at around itself, and what it takes: parts of one text each, with gaps between."""


def expand(tree: Any) -> list[Texts]:
    """Give for each alternative of a pattern the texts that stand wherever it matches."""
    found: list[Texts] = [([], [""])]
    for operator, argument in tree:
        match operator:
            case _constants.LITERAL:
                found = follow(found, [([], [chr(argument)])])
            case _constants.BRANCH:
                found = follow(found, [texts for branch in argument[1] for texts in expand(branch)])
            case _constants.SUBPATTERN:
                found = follow(found, expand(argument[3]))
            case _constants.ASSERT:
                found = follow(found, [(around + taken, [""]) for around, taken in expand(argument[1])])
            case _constants.ASSERT_NOT | _constants.AT:
                pass
            case _:
                found = follow(found, [([], ["", ""])])
    return found


def follow(before: list[Texts], behind: list[Texts]) -> list[Texts]:
    """Let each of *behind* come right after each of *before*."""
    return [
        (around + more, [*taken[:-1], taken[-1] + further[0], *further[1:]])
        for around, taken in before
        for more, further in behind
    ]


@pytest.mark.skipif(not IS_NATIVE, reason="the C part is not compiled here; CI asserts that it is")
class TestTwins:
    """C and Python find the same."""

    @given(st.binary(max_size=80), st.lists(st.sampled_from(FRAGMENTS), max_size=12))
    def test_in_any_bytes(self, noise: bytes, fragments: list[str]) -> None:
        """Whatever stands there, and where it is cut off."""
        payload = noise + "".join(fragments).encode()
        for data in (payload, payload[:-1], payload.upper()):
            assert native.FUNCTIONS.find_runs(data) == find_runs_in_python(data)
            looked = native.FUNCTIONS.has_piece_of(data, PIECES, PAIRS)
            assert looked is has_piece_of_in_python(data, PIECES, PAIRS)

    @pytest.mark.parametrize("length", range(14, 35))
    def test_at_every_place(self, length: int) -> None:
        """A run is found wherever it begins and ends, and alone or beside another one."""
        for before in range(33):
            for behind in (b"", b" ", b" " + b"x" * 16, b" xx"):
                data = b" " * before + b"k" * length + behind
                assert native.FUNCTIONS.find_runs(data) == find_runs_in_python(data), data

    @pytest.mark.parametrize("arguments", [(), (b"",), ("", (), PAIRS), (b"", ("a",), PAIRS), (b"", (), b"")])
    def test_refuse_what_they_do_not_know(self, arguments: tuple[Any, ...]) -> None:
        """Nothing is read past its end."""
        with pytest.raises(TypeError):
            native.FUNCTIONS.has_piece_of(*arguments)
        with pytest.raises(TypeError):
            native.FUNCTIONS.find_runs("text")


class TestPieces:
    """No search finds anything where none of the pieces stands."""

    @pytest.mark.parametrize("source", [source for source, _ in SEARCHES])
    def test_stand_in_every_alternative(self, source: str) -> None:
        """Read from the pattern itself: whatever it matches holds one of them."""
        alternatives = expand(_parser.parse(source))
        assert alternatives
        for around, taken in alternatives:
            assert any(piece.decode() in text for piece in PIECES for text in around + taken), taken

    def test_stand_in_every_name(self) -> None:
        """Names as people write them, in all cases and with what stands between their words."""
        draw = random.Random(20_261_121)
        print("seed 20261121")
        found = 0
        for name in sorted(TELLING_NAMES):
            for separator in ("", "_", "-", " "):
                for _ in range(20):
                    cut = draw.randrange(len(name) + 1)
                    text = f"x{separator}{name[:cut]}{separator}{name[cut:]}: 1"
                    text = "".join(draw.choice((letter, letter.upper())) for letter in text)
                    if any(pattern.search(text.lower()) for _, pattern in SEARCHES):
                        found += 1
                        assert has_piece_of_in_python(text.encode(), PIECES, PAIRS), text
        assert found > 1000

    def test_are_looked_for_only_where_the_rules_are_the_default_ones(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name of the user's own is searched for everywhere."""
        payload = b'{"badge":"x"}'
        assert not Gate(Names(), (), default=True).opens(payload)
        assert Gate(Names(("badge",)), (), default=True).opens(payload)
        monkeypatch.setattr(native, "FUNCTIONS", None)
        assert build_look(PIECES) is None
        assert scan.find_runs_in_python(payload) == []
