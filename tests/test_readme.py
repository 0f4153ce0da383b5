"""What the README claims: its two commands, its example, and five lines of SQL that find what went wrong."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__: list[str] = []

_ROOT = Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_SQL_NAMES = ("failed", "slowest", "tokens", "open", "swallowed")


def _block(mark: str) -> str:
    """Give the fenced block right below the comment ``<!-- mark -->``."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w+\n(.*?)```", _README, re.DOTALL)
    assert found, f"README.md has no block marked {mark!r}"
    return found.group(1)


def _sql(name: str) -> str:
    line = _block(f"sql: {name}").strip()
    assert "\n" not in line, "a one-liner is one line"
    return line.split('"')[1]


def _environment(database: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTTRACE")}
    return {**kept, "AGENTTRACE_DB": str(database), "PYTHONPATH": str(_ROOT), "COLUMNS": "100", **more}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run ``agenttrace demo`` once; give its database."""
    database = tmp_path_factory.mktemp("readme") / "traces.db"
    done = subprocess.run(
        [sys.executable, "-m", "agenttrace", "demo"],
        env=_environment(database),
        cwd=database.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield database


@pytest.fixture
def rows(demo: Path) -> Iterator[sqlite3.Connection]:
    """Give the demo's database, opened as a user opens it."""
    connection = sqlite3.connect(demo)
    connection.row_factory = sqlite3.Row
    yield connection
    connection.close()


class TestPicture:
    def test_shows_the_tree_that_is_printed(self, demo: Path) -> None:
        """The picture has what ``show`` prints for the demo: its agents, its bars, its failures and fates."""
        import html

        (name,) = re.findall(r"!\[[^]]*\]\((docs/images/[^)]*)\)", _README)
        drawn = (_ROOT / name).read_text(encoding="utf-8")
        picture = re.sub(r"<[^>]*>", "", html.unescape(drawn)).replace("\xa0", " ")
        done = subprocess.run(
            [sys.executable, "-m", "agenttrace", "show"],
            env=_environment(demo),
            capture_output=True,
            text=True,
            timeout=60,
        )
        for line in done.stdout.splitlines():
            for word in re.findall(
                r"own time|critical path|waited for|swallowed|[✔✘▸] |\b[a-z_]{4,}\(", line
            ):
                assert word.strip() in picture
        assert re.findall(r"https?://[^\"' )]*", drawn) == ["http://www.w3.org/2000/svg"]


class TestCommands:
    def test_are_one_line_each(self) -> None:
        """Each of the two commands can be copied as one line, and needs nothing but python3."""
        for name in ("demo", "test"):
            command = _block(f"command: {name}").strip()
            assert "\n" not in command
            assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")

    def test_are_what_ci_runs(self) -> None:
        """CI takes the commands from the README, so that the two cannot drift apart."""
        script = (_ROOT / ".ci" / "run").read_text()
        for name in ("demo", "test"):
            assert f"$(readme_command {name})" in script

    @pytest.mark.slow
    def test_name_commands_that_exist(self) -> None:
        """Every `agenttrace COMMAND` of the README answers to --help."""
        named = set(re.findall(r"`agenttrace ([a-z-]+)", _README))
        assert {"list", "show", "errors", "ps", "run", "sql", "demo", "doctor", "migrate", "path"} <= named
        for command in sorted(named):
            done = subprocess.run(
                [sys.executable, "-m", "agenttrace", command, "--help"],
                env=_environment(Path("unused.db")),
                cwd=_ROOT,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"

    def test_link_to_files_that_exist(self) -> None:
        """No link of the README or of docs/ leads nowhere."""
        for page in [_ROOT / "README.md", *(_ROOT / "docs").rglob("*.md")]:
            prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
            for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", prose):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


class TestExample:
    def test_is_the_file(self) -> None:
        """The example in the README is examples/my_agent.py, to the letter."""
        source = (_ROOT / "examples" / "my_agent.py").read_text(encoding="utf-8")
        docstring = ast.parse(source).body[0]
        assert docstring.end_lineno is not None
        code = "".join(source.splitlines(keepends=True)[docstring.end_lineno :])
        assert _block("example").strip() == code.strip()

    @pytest.mark.slow
    def test_leaves_rows_only_when_asked(self, tmp_path: Path) -> None:
        """With AGENTTRACE=1 both agents, three calls and the swallowed error are there; without, no file."""
        database = tmp_path / "traces.db"
        example = [sys.executable, str(_ROOT / "examples" / "my_agent.py")]
        subprocess.run(example, env=_environment(database), cwd=tmp_path, check=True, timeout=60)
        assert not list(tmp_path.iterdir())
        asked = _environment(database, AGENTTRACE="1")
        subprocess.run(example, env=asked, cwd=tmp_path, check=True, timeout=60)
        connection = sqlite3.connect(database)
        agents = {name for (name,) in connection.execute("SELECT agent_name FROM agents")}
        assert agents == {"planner", "weather"}
        calls = connection.execute("SELECT tool_name, status FROM tool_traces ORDER BY id").fetchall()
        assert calls == [("search", "ok"), ("search", "error")]
        fates = connection.execute("SELECT error_type, fate FROM failures").fetchall()
        assert fates == [("TimeoutError", "swallowed")]
        connection.close()


@pytest.mark.slow
class TestOneLiners:
    @pytest.mark.parametrize("name", _SQL_NAMES)
    def test_run_as_they_stand(self, demo: Path, name: str) -> None:
        """Each line works in a shell, with the database's path in place of traces.db."""
        if shutil.which("sqlite3") is None:
            pytest.skip("no sqlite3 command here; the statements run through Python below")
        line = _block(f"sql: {name}").strip().replace("traces.db", str(demo), 1)
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert not done.stderr

    def test_find_the_failed_call(self, rows: sqlite3.Connection) -> None:
        """The failed calls of one agent in the last hour are listed with their errors."""
        found = rows.execute(_sql("failed")).fetchall()
        assert found
        assert all(row["tool_name"] and row["error_type"] for row in found)

    def test_find_the_retried_call(self, rows: sqlite3.Connection) -> None:
        """The slowest tools come with how many of their calls needed more than one attempt."""
        found = rows.execute(_sql("slowest")).fetchall()
        assert [row["tool_name"] for row in found if row["retried"]] == ["save_report"]
        assert [row["max_ms"] for row in found] == sorted((row["max_ms"] for row in found), reverse=True)

    def test_find_the_subagents(self, rows: sqlite3.Connection) -> None:
        """The same line tells the agents apart: a lead and at least two subagents."""
        assert len({row["agent_name"] for row in rows.execute(_sql("slowest"))}) >= 3

    def test_add_up_tokens(self, rows: sqlite3.Connection) -> None:
        """Tokens are summed by model, input and output apart."""
        found = rows.execute(_sql("tokens")).fetchall()
        assert found
        assert all(row["turns"] > 0 and row["input"] > 0 and row["output"] > 0 for row in found)

    def test_find_nothing_open_afterwards(self, rows: sqlite3.Connection) -> None:
        """A finished program leaves nothing open."""
        assert rows.execute(_sql("open")).fetchall() == []

    def test_find_the_swallowed_error(self, rows: sqlite3.Connection) -> None:
        """The error that a subagent swallowed is listed with its type and message."""
        found = rows.execute(_sql("swallowed")).fetchall()
        assert [(row["agent_name"], row["error_type"]) for row in found] == [("examples", "TimeoutError")]

    def test_seek_the_last_hour(self, rows: sqlite3.Connection) -> None:
        """The line with a time in it begins at that time, on an index, however many events there are."""
        plan = [row["detail"] for row in rows.execute(f"EXPLAIN QUERY PLAN {_sql('failed')}")]
        assert re.fullmatch(r"SEARCH \w+ USING INDEX \w+ \(ts_ms>\?\)", plan[0]), plan
        assert not [step for step in plan if step.startswith("SCAN") and "trajectory_events" in step], plan

    @pytest.mark.parametrize("name", _SQL_NAMES)
    def test_never_read_the_whole_table(self, rows: sqlite3.Connection, name: str) -> None:
        """No line begins by walking all events: errors, calls and turns have indexes, open spans a table."""
        plan = [row["detail"] for row in rows.execute(f"EXPLAIN QUERY PLAN {_sql(name)}")]
        assert " USING " in plan[0] or plan[0] == "SCAN o", plan

    def test_agree_with_the_command_line(self, demo: Path) -> None:
        """`agenttrace errors --json` finds the failures that the views show."""
        done = subprocess.run(
            [sys.executable, "-m", "agenttrace", "errors", "--json"],
            env=_environment(demo),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in (0, 1), done.stderr
        assert json.loads(done.stdout)["schema_version"]
