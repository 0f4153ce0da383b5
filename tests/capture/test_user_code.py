"""Whose file a handler stands in."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest
import wrapt

import agenttrace
from agenttrace.capture.user_code import OURS, OWN, SITE, STDLIB, TRANSPORT, UserCode


class TestWhose:
    """Own, standard library, another package, or ours."""

    @pytest.mark.parametrize(
        ("file", "whose"),
        [
            (__file__, OWN),
            ("main.py", OWN),
            ("/home/me/project/agent.py", OWN),
            ("/home/me/project/.venv/lib/python3.12/site-packages/lib/a.py", SITE),
            ("/usr/lib/python3/dist-packages/lib/a.py", SITE),
            (pytest.__file__, SITE),
            (json.__file__, STDLIB),
            (asyncio.tasks.__file__, TRANSPORT),
            (threading.__file__, TRANSPORT),
            (agenttrace.__file__, OURS),
            (wrapt.__file__, OURS),
            ("<frozen importlib._bootstrap>", STDLIB),
            ("<string>", OWN),
            ("<stdin>", OWN),
            ("<ipython-input-3-abc>", OWN),
            ("<attrs generated init a.B>", STDLIB),
        ],
    )
    def test_default(self, file: str, whose: str) -> None:
        """Without settings, by place."""
        assert UserCode().whose(file) == whose

    def test_asked_twice(self) -> None:
        """The answer is the same when it is remembered."""
        code = UserCode()
        assert code.whose(__file__) == code.whose(__file__) == OWN


class TestLists:
    """The two lists of the settings."""

    SITE_FILE = "/v/lib/python3.12/site-packages/shop/tools/search.py"

    @pytest.mark.parametrize(
        "place", ["shop", "shop.tools", "shop.tools.search", os.path.dirname(SITE_FILE), SITE_FILE]
    )
    def test_include(self, place: str) -> None:
        """A package, a module, a folder or a file."""
        assert UserCode(include=[place]).whose(self.SITE_FILE) == OWN

    @pytest.mark.parametrize("place", ["sho", "shop.tool", "/v/lib/python3.12/site-packages/sho"])
    def test_part_of_a_name(self, place: str) -> None:
        """Half a name names nothing."""
        assert UserCode(include=[place]).whose(self.SITE_FILE) == SITE

    def test_exclude(self, tmp_path: Path) -> None:
        """What is excluded does not count, even when it is included too."""
        code = UserCode(include=["shop"], exclude=["shop.tools", str(tmp_path)])
        assert code.whose(self.SITE_FILE) == SITE
        assert code.whose("/v/lib/python3.12/site-packages/shop/a.py") == OWN
        assert code.whose(str(tmp_path / "a.py")) == SITE

    def test_ours(self) -> None:
        """Our own files never count."""
        assert UserCode(include=["agenttrace"]).whose(agenttrace.__file__) == OURS
