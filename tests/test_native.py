"""Which way recording goes: chosen once, said plainly, and built where it can be."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from agenttrace import native
from tests.reading import ROOT

_ASK = "from agenttrace import native; print(native.describe())"


def _ask(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


class TestTheWay:
    @pytest.mark.parametrize("word", ["1", "true", "Yes", " on "])
    def test_is_python_when_asked_for(self, word: str) -> None:
        """AGENTTRACE_PURE takes the Python way, in the words that AGENTTRACE knows."""
        assert _ask(AGENTTRACE_PURE=word) == "pure Python: AGENTTRACE_PURE is set"

    @pytest.mark.skipif(native.FUNCTIONS is None, reason="this installation has the Python way only")
    @pytest.mark.parametrize("word", ["", "0", "no"])
    def test_is_native_otherwise(self, word: str) -> None:
        """Where the C part was compiled it is taken."""
        assert _ask(AGENTTRACE_PURE=word) == "native"

    def test_is_python_beside_an_older_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A C part that was compiled from other sources is left alone."""
        monkeypatch.setitem(sys.modules, "agenttrace._native", ModuleType("agenttrace._native"))
        assert native._load() == (None, "compiled from another version; install it again")

    def test_says_why_there_is_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the C part the reason is the import's own."""
        monkeypatch.setitem(sys.modules, "agenttrace._native", None)
        functions, reason = native._load()
        assert functions is None
        assert "_native" in reason
