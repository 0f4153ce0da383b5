"""The environment of a child: what is added to it, and what never is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import agent_scope
from agenttrace.capture.propagation import SCOPE_VARIABLE, parse_scope
from agenttrace.integrations.subprocesses import environment_for_child, read_own_environment
from tests.reading import ROOT, open_store, query

KEEP_SECRET = "from tests.integrations import process_tasks; process_tasks.keep_secret()"


class TestEnvironmentForChild:
    """``environment_for_child``: a new dict with our variables, or what it was given."""

    def test_off(self) -> None:
        """With tracing off nothing is added."""
        given = {"A": "1"}
        assert environment_for_child(given) is given
        assert environment_for_child(None) is None

    def test_nothing_to_add(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Outside any scope, with settings that stand in the environment, a child inherits by itself."""
        monkeypatch.setenv("AGENTTRACE", "1")
        monkeypatch.setenv("AGENTTRACE_DB", str(tmp_path / "t.db"))
        agenttrace.enable()
        assert environment_for_child(None) is None

    def test_scope(self, tmp_path: Path) -> None:
        """The scope stands in one variable, with the spans around it; the given mapping stays."""
        agenttrace.configure(database=tmp_path / "t.db")
        given = {"A": "1"}
        with agent_scope("lead") as lead, agent_scope("a name=with & signs\n\0") as agent:
            made = environment_for_child(given)
        assert given == {"A": "1"} and made["A"] == "1"
        assert (made["AGENTTRACE"], made["AGENTTRACE_DB"]) == ("1", str(tmp_path / "t.db"))
        ids = parse_scope(made[SCOPE_VARIABLE])
        assert ids["agent_id"] == agent.agent_id and ids["parent_agent_id"] == lead.agent_id
        assert ids["agent_name"] == "a name=with & signs\n\0"
        assert made[SCOPE_VARIABLE].isascii() and made[SCOPE_VARIABLE].isprintable()

    def test_settings_made_in_code(self, tmp_path: Path) -> None:
        """What ``configure`` was given reaches the child as the variables that mean the same."""
        agenttrace.configure(
            database=tmp_path / "t.db", max_payload_bytes=600, install=("threads",), on_full="drop"
        )
        made = environment_for_child({})
        assert made["AGENTTRACE_MAX_PAYLOAD_BYTES"] == "600"
        assert made["AGENTTRACE_INSTALL"] == "threads"
        assert made["AGENTTRACE_ON_FULL"] == "drop"
        assert SCOPE_VARIABLE not in made

    @pytest.mark.parametrize("kind", [str, os.fsencode])
    def test_the_program_chooses(self, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that differs from our own environment's was chosen for the child, and stays."""
        monkeypatch.setenv("AGENTTRACE_DB", "old.db")
        agenttrace.configure(database=tmp_path / "t.db")
        chosen = environment_for_child({kind("AGENTTRACE_DB"): kind("/other/t.db")})
        assert chosen[kind("AGENTTRACE_DB")] == kind("/other/t.db")
        copied = environment_for_child({kind("AGENTTRACE_DB"): kind("old.db")})
        assert copied[kind("AGENTTRACE_DB")] == kind(str(tmp_path / "t.db"))
        assert len([name for name in copied if os.fsdecode(name) == "AGENTTRACE_DB"]) == 1
        off = {kind("AGENTTRACE"): kind("0")}
        assert environment_for_child(off) is off

    def test_relative_database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child in another folder records to the same file."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AGENTTRACE_DB", "t.db")
        agenttrace.enable()
        assert environment_for_child({})["AGENTTRACE_DB"] == str(tmp_path / "t.db")

    @pytest.mark.parametrize("given", [5, "text", [("A", "1")]])
    def test_no_mapping(self, given: Any, tmp_path: Path) -> None:
        """What Popen will refuse, it gets as it is."""
        agenttrace.configure(database=tmp_path / "t.db")
        assert environment_for_child(given) is given

    def test_endless_ids(self, tmp_path: Path) -> None:
        """An id of a megabyte is not carried: the child would not start; it is counted."""
        agenttrace.configure(database=tmp_path / "t.db")
        with agent_scope("lead", conversation_id="c" * 1_000_000):
            assert SCOPE_VARIABLE not in environment_for_child({})
        assert agenttrace.errors.LOSSES == {"capture.scope_too_long": 1}
        with agent_scope("n" * 1_000_000):
            assert len(environment_for_child({})[SCOPE_VARIABLE]) < 1000

    def test_endless_rules(self, tmp_path: Path) -> None:
        """Redaction rules that no variable can hold leave the child untraced, rather than unredacted."""
        agenttrace.configure(database=tmp_path / "t.db", redact=["x" * 110_000 + "+"])
        with agent_scope("lead"):
            made = environment_for_child({"A": "1"})
            assert made == {"A": "1", "AGENTTRACE": "0"}
        assert agenttrace.errors.LOSSES["integrations.settings_too_long"] == 1

    def test_own_environment(self) -> None:
        """``os.putenv`` reaches a child though ``os.environ`` knows nothing of it."""
        os.putenv("TEST_PUTENV", "put")
        try:
            assert read_own_environment() == {**os.environ, "TEST_PUTENV": "put"}
        finally:
            os.unsetenv("TEST_PUTENV")


@pytest.mark.slow
class TestSwitch:
    """Who does not want children traced says so."""

    CHILD = "import agenttrace\nwith agenttrace.agent_scope('child') as c: print(c.parent_agent_id)"

    def ask(self, **given: Any) -> str:
        return subprocess.check_output(
            [sys.executable, "-c", self.CHILD], text=True, cwd=ROOT, **given
        ).strip()

    def test_not_installed(self, tmp_path: Path) -> None:
        """Without ``processes`` among the installed names a child stands for itself."""
        agenttrace.configure(database=tmp_path / "t.db", install=("threads",))
        with agent_scope("lead"):
            assert self.ask() == "None"

    def test_uninstall(self, tmp_path: Path) -> None:
        """After ``uninstall`` the modules are as they were."""
        import concurrent.futures.process as executors
        import multiprocessing.pool as pools
        import multiprocessing.process as processes

        owners = [
            subprocess.Popen,
            executors,
            executors.ProcessPoolExecutor,
            pools,
            pools.Pool,
            pools.ApplyResult,
            processes.BaseProcess,
        ]
        before = [dict(vars(owner)) for owner in owners]
        agenttrace.configure(database=tmp_path / "t.db", install=("processes",))
        assert [dict(vars(owner)) for owner in owners] != before
        with agent_scope("lead") as lead:
            assert self.ask() == lead.agent_id
            agenttrace.uninstall("processes")
            assert [dict(vars(owner)) for owner in owners] == before
            assert self.ask() == "None"


@pytest.mark.slow
class TestSettings:
    """A child stores what its parent's settings allow, and no more."""

    @pytest.mark.parametrize("way", ["subprocess", "spawn"])
    def test_redaction_and_sizes(self, way: str, tmp_path: Path) -> None:
        """Rules that the program gave in code hold in the child; so do limits."""
        import multiprocessing
        import re

        from tests.integrations import process_tasks

        agenttrace.configure(
            database=tmp_path / "t.db",
            redact=["walnut", re.compile("squirrel-[a-z]+")],
            max_payload_bytes=1000,
        )
        with agent_scope("lead"):
            if way == "subprocess":
                subprocess.run([sys.executable, "-c", KEEP_SECRET], check=True, cwd=ROOT)
            else:
                process = multiprocessing.get_context("spawn").Process(target=process_tasks.keep_secret)
                process.start()
                process.join()
                assert process.exitcode == 0
        agenttrace.flush()
        open_store(tmp_path / "t.db")
        payloads = [
            row[0]
            for row in query(
                tmp_path / "t.db",
                "SELECT payload FROM trajectory_events WHERE tool_name = 'log_in' ORDER BY id",
            )
        ]
        assert len(payloads) == 2
        assert all("squirrel" not in payload and len(payload) <= 1000 for payload in payloads)
        assert b"squirrel-nest" not in (tmp_path / "t.db").read_bytes()
        assert query(tmp_path / "t.db", "SELECT count(DISTINCT conversation_id) FROM agents") == [(1,)]
