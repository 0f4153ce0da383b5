"""
Whose file is this: the user's own, the standard library's, another package's, or ours?

Invariant: the answer depends on the file's name and the two lists of the settings alone, so
it is the same in every process; each name is judged once. A name that is no file
(``<string>``, a notebook's cell) is the user's where a user can have typed it.
"""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterable

__all__ = ["OURS", "OWN", "SITE", "STDLIB", "TRANSPORT", "UserCode"]

OWN, STDLIB, SITE, OURS, TRANSPORT = "own", "stdlib", "site", "ours", "transport"
"""``transport``: parts of the standard library that catch an exception only to raise it elsewhere."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO = os.path.join(_PACKAGE, "demo", "agents.py")
"""Agents like any user's, wherever they are installed: what they swallow is there to be found."""
_TYPED = (
    "<stdin>",
    "<string>",
    "<ipython-input",
    "<python-input",
    "<doctest",
    "<cell",
    "<input",
    "<console>",
)
_FOLDERS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_CARRIERS = ("asyncio", os.path.join("concurrent", "futures"), "multiprocessing")
_CARRIER_FILES = ("threading.py", "contextlib.py")
_KNOWN_LIMIT_COUNT = 20_000


def _folders(paths: Iterable[str | None]) -> tuple[str, ...]:
    kept = {os.path.join(form, "") for path in paths if path for form in (path, os.path.realpath(path))}
    return tuple(sorted(kept))


def _stdlib_folders() -> tuple[str, ...]:
    return _folders(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


def _site_folders() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    try:
        paths += [*site.getsitepackages(), site.getusersitepackages()]
    except Exception:  # a site module of an embedded interpreter has neither
        paths += []
    return _folders(paths)


class UserCode:
    """
    Tell user code from other code, by file name.

    Args:
        include: More that counts as the user's own: folders or files, or names of packages.
        exclude: What does not, whatever else is said; the same forms.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        stdlib = _stdlib_folders()
        self._stdlib = stdlib
        self._site = _site_folders()
        self._carriers = tuple(os.path.join(root, name, "") for root in stdlib for name in _CARRIERS) + tuple(
            os.path.join(root, name) for root in stdlib for name in _CARRIER_FILES
        )
        self._known: dict[str, str] = {}

    def whose(self, file: str) -> str:
        """Give ``own``, ``stdlib``, ``transport``, ``site`` or ``ours`` for a code object's file name."""
        known = self._known.get(file)
        if known is None:
            if len(self._known) >= _KNOWN_LIMIT_COUNT:
                self._known.clear()
            known = self._known[file] = self._judge(file)
        return known

    def _judge(self, file: str) -> str:
        if file == _DEMO:
            return OWN
        if file.startswith(_PACKAGE):
            return OURS
        whose = self._place_of(file)
        if whose == OWN:
            return SITE if _is_named(file, self._exclude) else OWN
        if _is_named(file, self._include) and not _is_named(file, self._exclude):
            return OWN
        return whose

    def _place_of(self, file: str) -> str:
        if file.startswith("<"):
            return OWN if file.startswith(_TYPED) else STDLIB
        if any(folder in file for folder in _FOLDERS) or file.startswith(self._site):
            return OURS if f"{os.sep}wrapt{os.sep}" in file else SITE
        if file.startswith(self._carriers):
            return TRANSPORT
        return STDLIB if file.startswith(self._stdlib) else OWN


def _is_named(file: str, places: tuple[str, ...]) -> bool:
    return any(_is_in(file, place) for place in places)


def _is_in(file: str, place: str) -> bool:
    """Tell whether *file* is, or lies in, the path or package *place*."""
    if os.sep in place or place in (".", "~"):
        path = os.path.abspath(os.path.expanduser(place))
        return os.path.abspath(file) == path or os.path.abspath(file).startswith(os.path.join(path, ""))
    parts = place.replace(".", os.sep)
    return f"{os.sep}{parts}{os.sep}" in file or file.endswith(f"{os.sep}{parts}.py")
