"""Switching on and off: the environment, configure, and what an untouched program pays."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import agenttrace
from agenttrace import config
from agenttrace.errors import ConfigError
from tests.reading import ROOT, query, run_python

PROGRAM = (ROOT / "examples" / "my_agent.py").read_text()

AUDITED = """
import sys, threading, wrapt, orjson, logging, asyncio
import concurrent.futures.thread, urllib.parse, hashlib, tomllib
seen = []
watching = False
def hook(event, arguments):
    if not watching:
        return
    if event in ("mmap.__new__", "_thread.start_new_thread", "sqlite3.connect", "os.mkdir", "os.rename"):
        seen.append((event, str(arguments)))
    path = str(arguments[0]) if arguments else ""
    if event == "open" and not path.endswith((".py", ".pyc")) and "__pycache__" not in path:
        seen.append((event, str(arguments[:2])))
sys.addaudithook(hook)
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec")
watching = True
exec(code, {"__name__": "__main__", "__file__": sys.argv[1]})
watching = False
print("SEEN", seen)
"""


class TestOff:
    """S0.18: tracing is off by default and then leaves no trace of itself."""

    def test_no_open_no_mmap_no_thread(self, tmp_path: Path) -> None:
        """Without the variable an audit hook sees no open, mmap or thread start, and no file is made."""
        done = run_python(
            AUDITED, tmp_path / "none" / "t.db", str(ROOT / "examples" / "my_agent.py"), AGENTTRACE=""
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "SEEN []"
        assert list(tmp_path.iterdir()) == []

    def test_no_heavy_import(self) -> None:
        """``import agenttrace`` brings no peewee, sqlite3, click, rich or platformdirs."""
        code = "import sys, agenttrace; print([m for m in sys.argv[1:] if m in sys.modules])"
        names = ["peewee", "sqlite3", "click", "rich", "platformdirs", "tomllib", "pydantic", "numpy"]
        done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=ROOT)
        assert done.stdout.strip() == "[]", done.stderr


class TestOn:
    """``AGENTTRACE=1`` and ``configure`` switch on."""

    def test_example_leaves_its_rows(self, tmp_path: Path) -> None:
        """The README's ten lines leave agents, calls and a swallowed error."""
        done = run_python(PROGRAM, tmp_path / "t.db")
        assert done.returncode == 0, done.stderr
        assert len(query(tmp_path / "t.db", "SELECT * FROM agents")) >= 2
        assert query(tmp_path / "t.db", "SELECT count(*) FROM failures WHERE fate = 'swallowed'")[0][0] >= 1
        assert query(tmp_path / "t.db", "SELECT DISTINCT status FROM agent_sessions") == [("completed",)]

    @pytest.mark.parametrize("word", ["1", "true", "YES", "On", " 1 "])
    def test_words_for_on(self, word: str, tmp_path: Path) -> None:
        """``1``, ``true``, ``yes``, ``on`` in any case switch on."""
        assert config.env_switch({"AGENTTRACE": word}) is True

    @pytest.mark.parametrize(("word", "answer"), [("0", False), ("off", False), ("", None), ("maybe", None)])
    def test_other_words(self, word: str, answer: bool | None) -> None:
        """``0`` and its kin switch off; anything else decides nothing."""
        assert config.env_switch({"AGENTTRACE": word}) is answer

    def test_zero_beats_all(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """``AGENTTRACE=0`` wins over configure."""
        monkeypatch.setenv("AGENTTRACE", "0")
        agenttrace.configure(database=tmp_path / "t.db", enabled=True)
        assert not agenttrace.is_enabled()

    def test_late_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that comes after import counts at the next outermost scope."""
        agenttrace.runtime.reset()
        assert not agenttrace.is_enabled()
        monkeypatch.setenv("AGENTTRACE", "1")
        with agenttrace.agent_scope("a"):
            assert agenttrace.is_enabled()

    def test_late_environment_with_the_decorator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A traced agent is an outermost scope too."""
        agenttrace.runtime.reset()

        @agenttrace.traced_agent
        def agent() -> bool:
            return agenttrace.is_enabled()

        assert not agent()
        monkeypatch.setenv("AGENTTRACE", "1")
        assert agent()

    def test_disable_is_final(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What code decided, the environment does not undo."""
        agenttrace.disable()
        monkeypatch.setenv("AGENTTRACE", "1")
        with agenttrace.agent_scope("a"):
            assert not agenttrace.is_enabled()

    def test_switch_in_the_middle(self, tmp_path: Path) -> None:
        """A bound method stored before is recorded once tracing is on, and not after it is off."""

        class Kit:
            @agenttrace.traced_tool
            def tool(self, n: int) -> int:
                return n

        stored = Kit().tool
        stored(1)
        agenttrace.configure(database=tmp_path / "t.db")
        stored(2)
        agenttrace.disable()
        stored(3)
        agenttrace.flush()
        rows = query(
            tmp_path / "t.db",
            "SELECT json_extract(payload, '$.arguments.n') FROM trajectory_events WHERE kind='tool_call'",
        )
        assert rows == [(2,)]

    def test_flush_counts(self, tmp_path: Path) -> None:
        """``flush`` says what is written; without a recorder, nothing."""
        assert tuple(agenttrace.flush()) == (0, 0, 0)
        agenttrace.configure(database=tmp_path / "t.db")
        with agenttrace.agent_scope("a"):
            pass
        assert tuple(agenttrace.flush()) == (2, 0, 0)


class TestSettings:
    """Arguments beat the environment, that beats the project, that beats the default."""

    def test_precedence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each source wins over the next."""
        (tmp_path / "pyproject.toml").write_text(
            "[tool.agenttrace]\nmax_payload_bytes = 1000\nflush_interval_s = 2\ndatabase = 'traces/t.db'\n"
        )
        monkeypatch.chdir(tmp_path)
        found = config.load({"max_blob_bytes": 5}, {"AGENTTRACE_MAX_PAYLOAD_BYTES": "2000"})
        assert (found.max_blob_bytes, found.max_payload_bytes, found.flush_interval_s) == (5, 2000, 2.0)
        assert found.database == str(tmp_path / "traces" / "t.db")
        assert found.install == ("auto",)

    @pytest.mark.parametrize("database", ["/etc/t.db", "../t.db", "sqlite:///x", "a/../../t.db"])
    def test_project_database_stays_inside(
        self, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A checked-out project cannot make us write elsewhere."""
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(f"[tool.agenttrace]\ndatabase = {database!r}\n")
        monkeypatch.chdir(folder)
        with pytest.raises(ConfigError, match="database"):
            config.load({}, {})

    def test_project_cannot_switch_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``enabled`` is no key of the project's table."""
        (tmp_path / "pyproject.toml").write_text("[tool.agenttrace]\nenabled = true\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match="enabled"):
            config.load({}, {})

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"max_payload_bytes": 3}, "512"),
            ({"max_payload_bytes": "many"}, "max_payload_bytes"),
            ({"on_full": "explode"}, "block, drop"),
            ({"database": "mysql://x"}, "sqlite"),
            ({"database": ""}, "database"),
            ({"install": (3,)}, "install"),
            ({"flush_interval_s": True}, "flush_interval_s"),
            ({"colour": "red"}, "colour"),
        ],
    )
    def test_bad_value(self, given: dict[str, object], named: str) -> None:
        """A bad setting names the setting, the value and what is allowed."""
        with pytest.raises(ConfigError, match=named):
            config.load(given, {})

    def test_bad_environment_does_not_raise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In a traced program a bad variable is logged, and the default stands."""
        monkeypatch.setenv("AGENTTRACE_MAX_PAYLOAD_BYTES", "lots")
        monkeypatch.setenv("AGENTTRACE_DB", str(tmp_path / "t.db"))
        with caplog.at_level(logging.WARNING, "agenttrace"):
            agenttrace.enable()
            with agenttrace.agent_scope("a"):
                pass
            agenttrace.flush()
        assert "max_payload_bytes = 'lots'" in caplog.text
        assert query(tmp_path / "t.db", "SELECT count(*) FROM trajectory_events") == [(2,)]

    def test_idempotent(self, tmp_path: Path) -> None:
        """``configure`` twice is ``configure`` once; another database takes over at once."""
        for _ in range(2):
            agenttrace.configure(database=tmp_path / "one.db")
            agenttrace.record("note", {"text": "x"})
        agenttrace.configure(database=f"sqlite:///{tmp_path / 'two.db'}")
        agenttrace.record("note", {"text": "y"})
        agenttrace.flush()
        assert query(tmp_path / "one.db", "SELECT count(*) FROM trajectory_events WHERE kind='note'") == [
            (2,)
        ]
        assert query(tmp_path / "two.db", "SELECT count(*) FROM trajectory_events WHERE kind='note'") == [
            (1,)
        ]


class TestLosses:
    """What recording failed at is counted where `doctor` looks."""

    def test_reaches_the_process_row(self, tmp_path: Path) -> None:
        """A thread that lost its scope is counted in ``processes.failed``."""
        code = (
            "import threading, agenttrace\n"
            "from agenttrace import agent_scope, traced_tool\n"
            "tool = traced_tool(lambda: None)\n"
            "with agent_scope('a'):\n"
            "    pass\n"
            "thread = threading.Thread(target=tool)\n"
            "thread.start(); thread.join()\n"
        )
        done = run_python(code, tmp_path / "t.db", AGENTTRACE_INSTALL="none")
        assert done.returncode == 0, done.stderr
        ((failed,),) = query(tmp_path / "t.db", "SELECT failed FROM processes")
        assert json.loads(failed) == {"lost_parent": 1}


class TestProcessRow:
    """Who recorded: host, versions, command line, commit."""

    def test_row(self, tmp_path: Path) -> None:
        """The row has what it takes to find the run again, without the secrets of its command line."""
        secret = "sk-" + "ant-api03-" + "a1B2" * 20
        code = "import agenttrace; agenttrace.record('note', {})"
        done = run_python(code, tmp_path / "t.db", "--password", "hunter2hunter2", f"--key={secret}")
        assert done.returncode == 0, done.stderr
        ((argv, exit_word, ended, version),) = query(
            tmp_path / "t.db", "SELECT argv, exit, ended_ms, agenttrace_version FROM processes"
        )
        assert "hunter2" not in argv and secret not in argv and json.loads(argv)[1] == "--password"
        assert ended is not None and exit_word and version == agenttrace.__version__
