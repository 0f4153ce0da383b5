"""No secret reaches a disk; what only looks like one comes through as it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import agenttrace
from agenttrace import agent_scope, model_turn, record, traced_tool
from agenttrace.store.blobs import unpack
from tests.property.innocent_values import INNOCENT
from tests.property.secret_formats import BARE_FORMATS, CONTEXT_FORMATS, make_secret
from tests.reading import ROOT, open_store, query

FORMATS = [*BARE_FORMATS, *CONTEXT_FORMATS]
FILLER = "lorem ipsum dolor "

KILLED = """
import os, sys
import agenttrace
sys.path.insert(0, sys.argv[1])
from tests.property.test_secrets_on_disk import FORMATS, leak
agenttrace.configure(
    database=sys.argv[2], flush_interval_s=60, max_blob_bytes=8192, redact=["internal_code", r"ACME-[0-9]{6}"]
)
with agenttrace.agent_scope("leaky"):
    for number, name in enumerate(FORMATS):
        leak(name, number)
    agenttrace.record("note", {"text": "the code is ACME-123456", "internal_code": "zebra-crossing-7"})
    os.kill(os.getpid(), 9)
"""


class Leak(Exception):
    pass


@traced_tool
def look_up(text: str, options: dict[str, object]) -> object:
    return {"answer": [text, {"nested": text}], "document": FILLER * 20_000 + text}


@traced_tool
def refuse(text: str) -> None:
    raise Leak(f"could not log in with {text}")


@traced_tool(name="tool " + "x" * 20)
def cut(text: str, shift: int) -> str:
    return "y" * (8192 - shift) + " " + text + " tail" * 3000


def leak(name: str, seed: int) -> None:
    """Put one secret wherever a program may put one."""
    text = make_secret(name, seed).text
    with agent_scope("child", input=text, metadata={"given": text}) as agent:
        look_up(text, {"json": json.dumps({"body": text}), text: "as a key"})
        try:
            refuse(text)
        except Leak:
            pass
        for shift in (0, 5, 20, 40):
            cut(text, shift)
        with model_turn("m", input=[{"role": "user", "content": text}]) as turn:
            turn.set_output(text)
        with model_turn("m", input=[{"role": "user", "content": FILLER * 400 + text}]) as turn:
            turn.set_output([FILLER * 400, text])
        record("message", {"role": "user", "content": f"{FILLER}{text} {FILLER}"})
        agent.set_output(text)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def leaks_in(folder: Path) -> list[str]:
    """Name the secrets that can be read from any file, and from what lies compressed in a database."""
    found = []
    places = files_below(folder)
    for file in folder.rglob("*.db"):
        for sha256, body in query(file, "SELECT sha256, body FROM payload_blobs"):
            places[f"{file} {sha256}"] = unpack(bytes(body))
    for file, data in places.items():
        for number, name in enumerate(FORMATS):
            for needle in make_secret(name, number).left_in(data):
                found.append(f"{name}: {needle!r} in {Path(file).name}")
    return found


@pytest.mark.slow
class TestSecretsOnDisk:
    """The design's "nothing unredacted reaches a disk"."""

    def test_formats(self) -> None:
        """More than thirty formats are tried."""
        assert len(FORMATS) >= 30

    def test_while_running_and_after(self, tmp_path: Path) -> None:
        """Neither database nor WAL holds a secret, while it is written and after the end."""
        agenttrace.configure(database=tmp_path / "data" / "t.db", flush_interval_s=0.01)
        with agent_scope("leaky"):
            for number, name in enumerate(FORMATS):
                leak(name, number)
                if number % 8 == 7:
                    agenttrace.flush()  # so that a machine with no time for the writer drops nothing
            assert agenttrace.flush().pending == 0
            assert leaks_in(tmp_path) == []
        agenttrace.shutdown()
        assert leaks_in(tmp_path) == []
        assert query(tmp_path / "data" / "t.db", "SELECT count(*) FROM trajectory_events")[0][0] > 10 * len(
            FORMATS
        )
        bodies = query(
            tmp_path / "data" / "t.db", "SELECT count(*), sum(length(body) < bytes) FROM payload_blobs"
        )
        assert all(count > 0 for count in bodies[0]), "as they are, and compressed"

    @pytest.mark.crash
    @pytest.mark.shared_ring
    def test_after_a_kill_with_a_custom_rule(self, tmp_path: Path) -> None:
        """A recoverer uses the rules of the ring, the program's own among them."""
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(ROOT), str(tmp_path / "t.db")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL
        open_store(tmp_path / "t.db")
        assert leaks_in(tmp_path) == []
        ((payload,),) = query(tmp_path / "t.db", "SELECT payload FROM trajectory_events WHERE kind = 'note'")
        assert "ACME-123456" not in payload and "zebra" not in payload
        for data in files_below(tmp_path).values():
            assert b"ACME-123456" not in data and b"zebra-crossing" not in data

    def test_innocent_values(self, tmp_path: Path) -> None:
        """200 values that look a little like secrets are stored as they are."""
        assert len(INNOCENT) >= 200
        agenttrace.configure(database=tmp_path / "t.db", max_payload_bytes=65_536)

        @traced_tool
        def keep(value: object) -> object:
            return value

        for value in INNOCENT:
            keep(value)
        agenttrace.flush()
        stored = query(
            tmp_path / "t.db",
            "SELECT json_extract(payload, '$.arguments'), json_extract(payload, '$.output'), kind"
            " FROM trajectory_events WHERE tool_name = 'keep' ORDER BY id",
        )
        for place, value in enumerate(INNOCENT):
            expected = json.loads(json.dumps(value))
            (arguments, _, _), (_, _, _) = stored[2 * place], stored[2 * place + 1]
            assert json.loads(arguments) == {"value": expected}
        payloads = query(
            tmp_path / "t.db", "SELECT payload FROM trajectory_events WHERE kind = 'tool_result' ORDER BY id"
        )
        outputs = [json.loads(payload)["output"] for (payload,) in payloads]
        assert outputs == [json.loads(json.dumps(value)) for value in INNOCENT]
