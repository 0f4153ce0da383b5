"""
Which file holds the cassette of a test.

Invariants: the name is safe on every file system, whatever stands in a parameter; two tests of one
module have two names, also where parameters differ only in case or in what a file name cannot hold.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["FOLDER", "name_cassette"]

FOLDER = "cassettes"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=,+-]+")
_LIMIT = 120
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{at}" for at in range(10)), *(f"lpt{at}" for at in range(10))]
)


def name_cassette(test_file: Path, test_name: str, given: str | None = None) -> Path:
    """
    Give the path of a test's cassette.

    Args:
        test_file: The module that the test stands in.
        test_name: Its name with class and parameters, ``TestPlanner.test_weekend[Porto]``.
        given: What the test says: a name, or a path from the test's folder; None for a name of its own.
    """
    if given is None:
        return test_file.parent / FOLDER / _safe(test_file.stem) / f"{_safe(test_name)}.json"
    if "/" in given or "\\" in given or given.endswith(".json"):
        return test_file.parent / given
    return test_file.parent / FOLDER / _safe(test_file.stem) / f"{_safe(given)}.json"


def _safe(name: str) -> str:
    """Replace what a file name cannot hold; a name that had to be changed gets a number made of it all."""
    function, bracket, parameters = name.partition("[")
    parameters = parameters.removesuffix("]")
    plain = f"{function}-{parameters}" if bracket else function
    safe = _UNSAFE.sub("_", plain).strip("._ ") or "test"
    is_device = safe.partition(".")[0].lower() in _DEVICES
    if safe == plain and len(safe) <= _LIMIT and parameters == parameters.lower() and not is_device:
        return safe  # no name of a function has a hyphen, so that no two names become one
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: _LIMIT - 9]}-{digest}"
