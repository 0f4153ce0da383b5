"""
Settings: where they come from, what is allowed, and which one wins.

Invariant: arguments beat the environment, the environment beats
``[tool.agenttrace]`` of the nearest pyproject.toml, that beats the defaults; only
``AGENTTRACE=0`` beats everything. A pyproject.toml cannot switch tracing on, and
names a database only inside its own folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from agenttrace.errors import ConfigError

__all__ = [
    "MEMORY",
    "VARIABLES",
    "Settings",
    "default_database",
    "env_switch",
    "load",
    "render_environment",
    "split_names",
    "user_database",
]

MEMORY = ":memory:"

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_RING_MIN_BYTES = 65_536
_PROJECT_KEYS = frozenset(
    {
        "database",
        "diagnosis",
        "install",
        "max_payload_bytes",
        "max_blob_bytes",
        "redact",
        "flush_interval_s",
        "on_full",
        "swallowed",
        "swallowed_exclude",
        "swallowed_include",
        "sync_interval_s",
        "trace",
    }
)


@dataclass(frozen=True)
class Settings:
    """All that can be set; times in seconds, sizes in bytes."""

    database: str = ""
    """Path or URL; empty stands for the default place."""
    install: tuple[str, ...] = ("auto",)
    max_payload_bytes: int = 4096
    max_blob_bytes: int = 262_144
    """Room for one whole value in ``payload_blobs``; 0 keeps none."""
    redact: Any = None
    """What ``redact.Rules.build`` takes: None the default rules, False none, more names or patterns."""
    flush_interval_s: float = 0.05
    on_full: str = "block"
    swallowed: str = "auto"
    """``on`` writes expected look-ups too, ``off`` watches nothing."""
    swallowed_include: tuple[str, ...] = ()
    """Folders, files or package names whose handlers count as the user's own."""
    swallowed_exclude: tuple[str, ...] = ()
    sync_interval_s: float | None = None
    trace: tuple[str, ...] = ()
    """Functions that are traced by their names: patterns ``module:name``."""
    diagnosis: Any = None
    """Thresholds of ``agenttrace why`` and ``check`` by name, as ``query.thresholds`` takes them."""
    ring: str = "auto"
    ring_bytes: int = 4 * 1024 * 1024

    @property
    def limit_bytes(self) -> int:
        """How long one payload may be when it leaves the caller's thread."""
        return max(self.max_blob_bytes, self.max_payload_bytes + 1024)


_DEFAULTS = Settings()

_ALLOWED = {
    "max_payload_bytes": (512, 16 * 1024 * 1024),
    "max_blob_bytes": (0, 64 * 1024 * 1024),
    "flush_interval_s": (0.0, 3600.0),
    "sync_interval_s": (0.0, 3600.0),
    "ring_bytes": (_RING_MIN_BYTES, 1024 * 1024 * 1024),
}
_LISTS = {
    "install": "library names",
    "swallowed_exclude": "folders, files or package names",
    "swallowed_include": "folders, files or package names",
    "trace": "patterns such as 'mypkg.tools:*'",
}
_WORDS = {
    "on_full": ("block", "drop"),
    "swallowed": ("auto", "on", "off"),
    "ring": ("auto", "memory"),
}


def env_switch(environment: Mapping[str, str] | None = None) -> bool | None:
    """
    Read ``AGENTTRACE``: True, False, or None where it is not set or empty.

    Any case; a word that is neither counts as not set, because recording must never raise.
    """
    word = (os.environ if environment is None else environment).get("AGENTTRACE", "").strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def split_names(text: str) -> tuple[str, ...]:
    """Split ``a, b`` at commas; ``none`` gives ()."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    return () if names == ("none",) else names


def load(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """
    Put the settings together.

    Args:
        given: What the program passed to ``configure``; None values count as not given.
        environment: Instead of ``os.environ``.

    Raises:
        ConfigError: A value is not allowed; the message names setting, value and what is.
    """
    source = os.environ if environment is None else environment
    settings = Settings()
    for values, origin in (
        (_from_project(Path.cwd()), "pyproject.toml [tool.agenttrace]"),
        (_from_environment(source), "environment"),
        ({name: value for name, value in given.items() if value is not None}, "configure()"),
    ):
        for name, value in values.items():
            settings = replace(settings, **{name: _check(name, value, origin)})
    if not settings.database:
        settings = replace(settings, database=user_database())
    return settings


def default_database() -> str:
    """Give the database that commands read when none is named: ``AGENTTRACE_DB``, project, user folder."""
    return load({}).database


def user_database() -> str:
    """Give the place of the database where nothing else is set: the user's data folder."""
    import platformdirs  # late: only when no database is named

    return str(Path(platformdirs.user_data_dir("agenttrace", appauthor=False)) / "traces.db")


VARIABLES = {
    "AGENTTRACE_DB": "database",
    "AGENTTRACE_INSTALL": "install",
    "AGENTTRACE_MAX_PAYLOAD_BYTES": "max_payload_bytes",
    "AGENTTRACE_MAX_BLOB_BYTES": "max_blob_bytes",
    "AGENTTRACE_FLUSH_INTERVAL_S": "flush_interval_s",
    "AGENTTRACE_SYNC_INTERVAL_S": "sync_interval_s",
    "AGENTTRACE_ON_FULL": "on_full",
    "AGENTTRACE_SWALLOWED": "swallowed",
    "AGENTTRACE_SWALLOWED_INCLUDE": "swallowed_include",
    "AGENTTRACE_SWALLOWED_EXCLUDE": "swallowed_exclude",
    "AGENTTRACE_TRACE": "trace",
    "AGENTTRACE_RING": "ring",
    "AGENTTRACE_RING_BYTES": "ring_bytes",
    "AGENTTRACE_REDACT": "redact",
}
"""Which variable stands for which setting."""


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, name in VARIABLES.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        if name == "swallowed" and text.lower() in _TRUE | _FALSE:
            text = "on" if text.lower() in _TRUE else "off"
        if name == "redact":
            values[name] = _read_redact(text)
        elif name in _LISTS:
            values[name] = split_names(text)
        else:
            values[name] = text
    return values


def _read_redact(text: str) -> Any:
    """Read ``off``, names and patterns parted by commas, or the JSON object that a parent process wrote."""
    if text.lower() in _FALSE:
        return False
    if text.startswith('{"'):
        import json  # late: only a child process reads this

        with suppress(ValueError):
            return json.loads(text)
    return list(split_names(text))


def render_environment(settings: Settings, redact: Any = None) -> dict[str, str]:
    """
    Write settings as the environment variables that mean the same; those at their default are left out.

    Args:
        settings: What is in force.
        redact: Its rules as data, as ``Rules.to_data`` gives them; None for the default ones.
    """
    rendered: dict[str, str] = {}
    for variable, name in VARIABLES.items():
        value = getattr(settings, name)
        if value == getattr(_DEFAULTS, name):
            continue
        if name in _LISTS:
            rendered[variable] = ",".join(value) or "none"
        elif name == "redact":
            import json  # late: only for a child process

            rendered[variable] = json.dumps(redact)
        else:
            rendered[variable] = str(value)
    return rendered


def _from_project(folder: Path) -> dict[str, Any]:
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                continue
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if "[tool.agenttrace" not in text:
            return {}
        return _read_project(text, place)
    return {}


def _read_project(text: str, folder: Path) -> dict[str, Any]:
    import tomllib  # late: most projects have no section of ours

    try:
        table = tomllib.loads(text).get("tool", {}).get("agenttrace", {})
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{folder / 'pyproject.toml'}: not readable as TOML ({exc})") from exc
    values = {}
    for name, value in table.items():
        if name not in _PROJECT_KEYS:
            allowed = ", ".join(sorted(_PROJECT_KEYS))
            where = f"{folder / 'pyproject.toml'}: [tool.agenttrace]"
            raise ConfigError(f"{where} has no {name!r}; allowed: {allowed}")
        values[name] = _inside(folder, value) if name == "database" else value
    return values


def _inside(folder: Path, database: Any) -> str:
    """Resolve the project's database, which may only be a relative path inside its folder."""
    where = f"{folder / 'pyproject.toml'}: [tool.agenttrace] database = {database!r}"
    if not isinstance(database, str) or "://" in database or Path(database).is_absolute():
        raise ConfigError(f"{where}: allowed is a relative path inside the project; AGENTTRACE_DB takes any")
    path = (folder / database).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"{where}: the path leaves the project's folder; AGENTTRACE_DB takes any")
    return str(path)


def _check(name: str, value: Any, origin: str) -> Any:
    """Give *value* in the setting's type, or say what is allowed."""
    if name not in {field.name for field in fields(Settings)}:
        raise ConfigError(f"{origin}: there is no setting {name!r}")
    if name in _WORDS:
        word = str(value).lower()
        if word not in _WORDS[name]:
            raise ConfigError(f"{origin}: {name} = {value!r}; allowed: {', '.join(_WORDS[name])}")
        return word
    if name == "diagnosis" and not isinstance(value, Mapping):
        raise ConfigError(f"{origin}: diagnosis = {value!r}; allowed: a table of thresholds and numbers")
    if name in _ALLOWED:
        return _check_number(name, value, origin)
    if name == "database":
        return _check_database(value, origin)
    if name in _LISTS:
        names = (value,) if isinstance(value, str) else tuple(value)
        if not all(isinstance(one, str) for one in names):
            raise ConfigError(f"{origin}: {name} = {value!r}; allowed: a list of {_LISTS[name]}, or ()")
        return names
    return value


def _check_number(name: str, value: Any, origin: str) -> int | float:
    low, high = _ALLOWED[name]
    kind = int if name.endswith("_bytes") else float
    try:
        if isinstance(value, bool):
            raise ValueError("a truth value")
        number = kind(value)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{origin}: {name} = {value!r}; allowed: a number from {low} to {high}") from exc
    if not low <= number <= high:
        raise ConfigError(f"{origin}: {name} = {value!r}; allowed: {low} to {high}")
    return number


def _check_database(value: Any, origin: str) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text:
        raise ConfigError(f"{origin}: database = {value!r}; allowed: a path or a sqlite:/// URL")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text if text == MEMORY else os.path.abspath(os.path.expanduser(text))
    if scheme == "sqlite":
        path = rest[1:] if rest.startswith("/") else rest
        if path in ("", MEMORY):
            return MEMORY
        return os.path.abspath(path)
    raise ConfigError(
        f"{origin}: database = {scheme}://…; this version writes SQLite: a path or sqlite:///path"
    )
