"""A library that renames what is replaced in it: whatever it is, nothing fails and the loss is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.cli.test_doctor_libraries import LIBRARIES
from tests.reading import ROOT

PROGRAM = """
import importlib, json, logging, sys, warnings
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
from agenttrace import integrations
from agenttrace.integrations import patching

name, top = sys.argv[1:]
importlib.import_module(top)
integrations.install(name)
for module in patching.awaited(name):
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        pass
patches = [patch for library in patching._libraries if library.name == name for patch in library._patches]
targets = [(patch._owner, patch._name) for patch in patches if hasattr(patch, "_owner")]
integrations.uninstall(name)
assert not patching.problems(), patching.problems()
found = {}
for owner, attribute in targets:
    before = dict(vars(owner))
    if attribute not in before:
        continue
    delattr(owner, attribute)
    if not hasattr(owner, attribute):  # otherwise the base class's is replaced instead
        integrations.install(name)
        told = patching.problems().get(name, ())
        integrations.uninstall(name)
        found[f"{owner.__name__}.{attribute}"] = [text for text in told if attribute in text]
    setattr(owner, attribute, before[attribute])
    patching._problems.clear()
    assert {key: value for key, value in vars(owner).items() if key in before} == before
print(json.dumps(found))
"""

OPTIONAL = {
    "SyncAPIClient._sleep_for_retry": "looked for: older releases wait in another way",
    "BaseSyncToolRunner._run_tool": "looked for: only some releases have it",
    "BaseAsyncToolRunner._run_tool": "looked for: only some releases have it",
    "BaseChatModel._iter_v2_events": "looked for: only some releases have it",
    "BaseChatModel._aiter_v2_events": "looked for: only some releases have it",
    "ToolNode._execute_tool_sync": "the same is done by another method, which is followed then",
    "AttemptManager.__aenter__": "looked for: only some releases have it",
    **{
        f"mcp.client.{name}": "for replays alone, and releases name them otherwise"
        for name in (
            "stdio.stdio_client",
            "sse.sse_client",
            "streamable_http.streamable_http_client",
            "streamable_http.streamablehttp_client",
            "websocket.websocket_client",
        )
    },
}


@pytest.mark.slow
class TestAPrivateChange:
    @pytest.mark.parametrize("name", LIBRARIES)
    def test_is_named_and_breaks_nothing(self, name: str) -> None:
        """Each attribute that is replaced is taken away in its turn: the rest goes on, and this is told."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, name, LIBRARIES[name][0]],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
        assert found
        assert {target for target, told in found.items() if not told} <= OPTIONAL.keys()
