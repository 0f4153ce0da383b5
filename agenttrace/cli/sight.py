"""
What ``agenttrace doctor`` says can be seen here: by this Python, of caught exceptions, of libraries.

Nothing is patched and no library is imported, unless that is asked for: then in a process of its
own, which may print and fail as it likes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from agenttrace import config, native
from agenttrace.cli.checks import Check
from agenttrace.query.text import pluralize, render_count, sanitize

if TYPE_CHECKING:
    from agenttrace.query.viewer import TraceViewer

__all__ = ["check_sight"]

_BUILT_IN = frozenset({"threads", "exceptions", "processes", "logging"})
"""Integrations of the standard library, which is always there."""
_DISTRIBUTIONS = {
    "openai_agents": ("openai-agents",),
    "pydantic_ai": ("pydantic-ai-slim", "pydantic-ai"),
}
"""Where an integration is not named as its distribution."""
_TRY_TIMEOUT_S = 60
_TRY = """
import importlib, json, sys
from agenttrace import integrations
from agenttrace.integrations import patching
name, top = sys.argv[1:]
found, missing = [], []
try:
    integrations.install(name)
    importlib.import_module(top)
    for module in patching.awaited(name):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as exc:
            if not f"{module}.".startswith(f"{exc.name}."):
                raise
            missing.append(module)  # other versions have it
except BaseException as exc:
    found.append(f"{type(exc).__name__}: {exc}"[:300])
found += patching.problems().get(name, ())
inside = [module for module in patching.awaited(name) if module.startswith(f"{top}.")]
is_unknown = patching.awaited(name) and not patching.count_patches(name)
if not found and (is_unknown or (inside and set(inside) <= set(missing))):
    lacking = f"; it has no {', '.join(missing)}" if missing else ""
    found.append(f"nothing of this version can be followed{lacking}")
print("\\n" + json.dumps(found))
"""
_MODULES = {"openai_agents": "agents"}
"""Where an integration is not named as the module that is imported."""
_SEES_ALL = (3, 12)
_MODELS_SHOWN = 5
_UNPRICED = """
SELECT model, count(*) FROM trajectory_events
WHERE kind = 'model_turn' AND cost_usd IS NULL AND (input_tokens IS NOT NULL OR output_tokens IS NOT NULL)
GROUP BY model ORDER BY count(*) DESC, model
"""
"""From the index alone; a turn without token counts cost nothing that anybody knows of."""


def check_sight(viewer: TraceViewer, try_libraries: bool) -> Iterator[Check]:
    """Say what this Python and this installation can see; with *try_libraries* import each that is there."""
    running = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "ok", running, running)
    recorder = native.describe()
    yield Check("recorder", "ok" if native.FUNCTIONS else "info", recorder, recorder)
    switch = {True: "on", False: "off (AGENTTRACE=0 beats everything)", None: "off unless a program asks"}
    yield Check("tracing", "info", switch[config.env_switch()], config.env_switch())
    settings = None
    try:
        settings = config.load({})
    except Exception as exc:
        yield Check("settings", "warn", str(exc))
    yield _check_swallowed("auto" if settings is None else settings.swallowed)
    yield from _check_recorded_versions(viewer)
    yield from _check_prices(viewer)
    yield from _check_integrations(("auto",) if settings is None else settings.install, try_libraries)


def _check_swallowed(setting: str) -> Check:
    if setting == "off":
        text = "caught exceptions are not watched (AGENTTRACE_SWALLOWED=0, or the settings say so)"
        return Check("swallowed", "info", text, {"setting": setting, "is_on": False})
    from agenttrace.capture import monitoring  # late: it brings capture with it

    state = monitoring.state()
    tools: dict[str, str] = {}
    if sys.version_info >= (3, 12):
        owners = ((number, sys.monitoring.get_tool(number)) for number in range(6))
        tools = {str(number): owner for number, owner in owners if owner}
    data = {"setting": setting, "is_on": state.is_on, "tools": tools}
    if sys.version_info >= _SEES_ALL:
        return Check("swallowed", "ok", state.text, data)
    text = (
        "Python 3.11 has no sys.monitoring (3.12 has). Seen all the same: what leaves a traced call,"
        " agent or model turn and is dropped afterwards. Not seen: what your code catches before that;"
        " use suppressed() or record_exception() there, or Python 3.12"
    )
    return Check("swallowed", "warn", text, data)


def _check_recorded_versions(viewer: TraceViewer) -> Iterator[Check]:
    """Say of the recorded processes how many could not see all; theirs may be another Python than this."""
    rows = viewer.reader.rows("SELECT python_version, count(*) FROM processes GROUP BY 1")
    old = {name: count for name, count in rows if _parse_version(name) < _SEES_ALL}
    total = sum(count for _, count in rows)
    if old:
        text = (
            f"{render_count(sum(old.values()))} of {render_count(total)} recorded processes ran"
            f" {', '.join(f'Python {sanitize(name)}' for name in sorted(old))}: what their own code caught"
            " before it left a traced call is not in this database"
        )
        yield Check("swallowed", "info", text, old)


def _check_prices(viewer: TraceViewer) -> Iterator[Check]:
    """Say by which table turns are priced here, and which recorded ones have no price."""
    from agenttrace.prices import load_table  # late: it brings the library in

    table = load_table()
    if table.problem is not None:
        text = f"genai-prices {sanitize(table.version or '')} cannot be used: {sanitize(table.problem)}"
        yield Check("prices", "warn", text, table._asdict())
    elif table.version is None:
        text = "genai-prices is not installed: the cost of a turn is only known where it is given"
        yield Check("prices", "info", f"{text} (extra: prices)", table._asdict())
    else:
        yield Check("prices", "ok", f"genai-prices {table.version}, offline", table._asdict())
    rows = viewer.reader.rows(_UNPRICED)
    if rows:
        named = [f"{sanitize(model or 'no model')} ({render_count(count)})" for model, count in rows]
        shown = ", ".join(named[:_MODELS_SHOWN])
        if len(named) > _MODELS_SHOWN:
            shown += f" and {render_count(len(named) - _MODELS_SHOWN)} models more"
        text = f"{pluralize(sum(count for _, count in rows), 'turn')} without a price: {shown}"
        yield Check("prices", "info", text, {"unpriced": dict(rows)})


def _parse_version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else _SEES_ALL


def _check_integrations(chosen: tuple[str, ...], try_libraries: bool) -> Iterator[Check]:
    from agenttrace.integrations import INTEGRATIONS  # late: it brings wrapt with it

    wanted = [name for name in INTEGRATIONS if "auto" in chosen or name in chosen]
    if not wanted:
        yield Check("libraries", "info", "nothing is followed (install is set to none)", {})
        return
    found = {name: _find_version(name) for name in wanted if name not in _BUILT_IN}
    followed = [name for name in wanted if name in _BUILT_IN]
    followed += [f"{name} {sanitize(at)}" for name, at in found.items() if at]
    yield Check("libraries", "ok", f"followed when imported: {', '.join(followed)}", {"followed": followed})
    absent = [name for name, at in found.items() if not at]
    if absent:
        yield Check("libraries", "info", f"not installed here: {', '.join(absent)}", {"absent": absent})
    for name, at in found.items():
        for problem in _try(name) if at and try_libraries else ():
            yield Check("libraries", "warn", f"{name} {at}: {sanitize(problem)}", {name: problem})


def _find_version(name: str) -> str | None:
    for distribution in _DISTRIBUTIONS.get(name, (name,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _try(name: str) -> list[str]:
    """Import a library in a process of its own, followed as it would be; give what could not be."""
    command = [sys.executable, "-c", _TRY, name, _MODULES.get(name, name)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRY_TIMEOUT_S)
        problems: list[str] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except subprocess.TimeoutExpired:
        return [f"could not be imported in {_TRY_TIMEOUT_S} s"]
    except (ValueError, OSError) as exc:
        return [f"could not be tried: {type(exc).__name__}"]
    return problems
