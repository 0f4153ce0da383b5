"""The reading commands: data on stdout, notes on stderr, the promised exit codes, JSON with a version."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agenttrace import clock
from agenttrace.cli.main import COMMANDS, cli
from agenttrace.cli.sql import EXAMPLES
from agenttrace.query.text import cell_width
from agenttrace.store import EventSink
from tests.cli.conftest import Invoke, write_story
from tests.query.factory import Story, audit
from tests.store.scenes import Scene

__all__: list[str] = []

READING = ("list", "show", "errors", "ps", "sql", "doctor")


def read_json(invoke: Invoke, *args: str) -> dict[str, Any]:
    """Run a command with --json; give the object."""
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    assert data["schema_version"] == 1
    return data


class TestWithoutADatabase:
    @pytest.mark.parametrize("name", READING)
    def test_each_says_where_it_looked_and_how_to_make_one(
        self, invoke: Invoke, clean_environment: Path, name: str
    ) -> None:
        """Exit code 3; the path, and the two commands that make a database; no file is made."""
        result = invoke(name)
        assert result.exit_code == 3
        assert result.stdout == ""
        for part in (str(clean_environment / "traces.db"), "agenttrace demo", "agenttrace run your_agent.py"):
            assert part in result.stderr
        assert not list(clean_environment.iterdir())

    def test_migrations_do_too(self, invoke: Invoke, clean_environment: Path) -> None:
        """Nothing to migrate is not an empty database."""
        for action in ("status", "up", "down"):
            result = invoke("migrate", action)
            assert result.exit_code == 3
            assert "agenttrace demo" in result.stderr
        assert not list(clean_environment.iterdir())

    def test_path_still_answers(self, invoke: Invoke, clean_environment: Path) -> None:
        """``path`` says where the database would be."""
        result = invoke("path")
        assert (result.exit_code, result.stdout) == (0, f"{clean_environment / 'traces.db'}\n")
        assert "not there yet" in result.stderr
        assert read_json(invoke, "path") == {
            "schema_version": 1,
            "path": str(clean_environment / "traces.db"),
            "exists": False,
        }


class TestWithAnotherFile:
    @pytest.mark.parametrize("name", READING)
    def test_it_is_refused_and_left_alone(self, invoke: Invoke, tmp_path: Path, name: str) -> None:
        """A foreign, damaged or cut file: one line, exit code 3, not a byte changed."""
        foreign = tmp_path / "foreign.db"
        connection = sqlite3.connect(foreign)
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
        connection.close()
        text = tmp_path / "text.db"
        text.write_text("not a database at all, but long enough to be read as one" * 20)
        for path in (foreign, text):
            before = path.read_bytes()
            result = invoke(name, "--db", str(path))
            assert result.exit_code == 3
            assert str(path) in result.stderr
            assert len(result.stderr.strip().splitlines()) == 1
            assert path.read_bytes() == before

    @pytest.mark.parametrize("name", READING)
    def test_of_a_newer_schema_has_a_code_of_its_own(self, invoke: Invoke, database: Path, name: str) -> None:
        """Exit code 4: upgrade agenttrace."""
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
        connection.close()
        result = invoke(name)
        assert result.exit_code == 4
        assert "schema 99" in result.stderr
        assert "upgrade" in result.stderr


class TestList:
    def test_has_a_line_per_conversation(self, invoke: Invoke, database: Path) -> None:
        """Newest first, at 80 columns, with how it stands."""
        write_story(database, audit("d00dad00", start_ms=clock.now_ms(), process_id="b" * 16))
        lines = invoke("list").stdout.splitlines()
        assert lines[0].split() == ["ID", "AGO", "TOOK", "CALLS", "TOKENS", "COST", "HEALTH", "TASK"]
        assert [line.split()[0] for line in lines[1:]] == ["d00dad00", "c0ffee00"]
        assert "✘ failed" in lines[1]
        assert all(len(line) <= 80 for line in lines)

    def test_shows_more_where_there_is_room(self, invoke: Invoke, database: Path) -> None:
        """A wide terminal gets agents, errors, the time of the start, and all that lies beneath."""
        text = invoke("list", env={"COLUMNS": "140"}).stdout
        assert "STARTED UTC" in text and "AGENTS" in text and "ERRORS" in text
        assert "✘ failed · ◐ 1 swallowed · ↻ 2 retries" in text

    @pytest.mark.parametrize("width", [60, 79, 80, 100, 119, 120, 200])
    def test_never_wraps(self, invoke: Invoke, database: Path, width: int) -> None:
        """Whatever the task and the counts, a line is a line, from 60 columns on."""
        story = Story("x" * 64, process_id="b" * 16, start_ms=0)
        story.conversation("task " * 40)
        agent = story.start("a")
        story.turn(agent, "m", tokens=(41_000_000, 999_999))
        for number in range(120):
            story.call(agent, "t", {"n": number}, error=("E", "x"))
        story.end(agent)
        write_story(database, story)
        for line in invoke("list", env={"COLUMNS": str(width)}).stdout.splitlines():
            assert len(line) <= width
            assert "◐ 100+ swallowed" in line or "task task" not in line

    def test_leaves_out_columns_that_say_nothing(self, invoke: Invoke, clean_environment: Path) -> None:
        """Where no run has tokens or cost, the task has their room."""
        story = Story()
        story.end(story.start("a"))
        write_story(clean_environment / "traces.db", story)
        assert invoke("list").stdout.split()[:5] == ["ID", "AGO", "TOOK", "CALLS", "HEALTH"]

    def test_keeps_to_this_folder(self, invoke: Invoke, database: Path) -> None:
        """--here: only what was recorded by a program started here."""
        assert "none fits" in invoke("list", "--here").stderr
        write_story(database, audit("d00dad00", process_id="b" * 16), cwd=os.getcwd())
        assert [row["id"] for row in read_json(invoke, "list", "--here")["conversations"]] == ["d00dad00"]

    def test_pages(self, invoke: Invoke, database: Path) -> None:
        """-n limits, and the note says how to go on."""
        write_story(database, audit("d00dad00", process_id="b" * 16))
        assert "--cursor" in invoke("list", "-n", "1").stderr
        first = read_json(invoke, "list", "-n", "1")
        second = read_json(invoke, "list", "-n", "1", "--cursor", first["next_cursor"])
        ids = [row["id"] for page in (first, second) for row in page["conversations"]]
        assert sorted(ids) == ["c0ffee00", "d00dad00"]

    def test_gives_the_familiar_fields_as_json(self, invoke: Invoke, database: Path) -> None:
        """S1.13: id, task, status, counts, tokens, cost, times."""
        (row,) = read_json(invoke, "list")["conversations"]
        assert (row["id"], row["task"], row["status"]) == ("c0ffee00", "audit the json package", "failed")
        assert (row["event_count"], row["total_tokens"], row["duration_ms"]) == (35, 1300, 568)
        assert row["metadata"] == {"folder": "/usr/lib/python3/json"}


class TestShow:
    def test_is_the_newest_as_a_tree(self, invoke: Invoke, database: Path) -> None:
        """Without anything said: the newest, as a tree of 80 columns."""
        result = invoke("show")
        assert result.exit_code == 0
        assert result.stdout.startswith("conversation c0ffee00 · audit the json package\n✘ failed")
        assert 'parse(path="bad.py") ✘' in result.stdout
        assert "swallowed at audit.py:88" in result.stdout
        assert all(len(line) <= 80 for line in result.stdout.splitlines())
        assert result.stderr == ""

    def test_is_a_ticket_as_markdown(self, invoke: Invoke, database: Path) -> None:
        """--format markdown: a head, and a list, a table or one event."""
        tree = invoke("show", "--format", "markdown").stdout
        assert tree.startswith("### Run `c0ffee00`\n\n`audit the json package`  \n✘ failed · 2026-01-01")
        assert '- `parse(path="bad.py")` ✘ 1 ms\n      - ✘ `SyntaxError` `invalid syntax` swallowed' in tree
        table = invoke("show", "--format", "markdown", "--timeline", "--agent", "reader").stdout
        assert table.count("\n| ") == 1 + 20
        event = invoke("show", "--format", "markdown", "--event", "22").stdout
        assert "#### Event 22: `error`" in event and '"message": "invalid syntax"' in event

    def test_is_json_in_both_spellings(self, invoke: Invoke, database: Path) -> None:
        """--format json is --json."""
        for more in ((), ("--timeline",), ("--event", "22")):
            assert invoke("show", *more, "--format", "json").stdout == invoke("show", *more, "--json").stdout

    def test_gives_a_timeline_in_pages(self, invoke: Invoke, database: Path) -> None:
        """-n and --cursor: every event once, and the note says how to go on."""
        rows, cursor = [], None
        while True:
            more = () if cursor is None else ("--cursor", cursor)
            data = read_json(invoke, "show", "--timeline", "-n", "10", *more)
            rows += [event["id"] for event in data["events"]]
            cursor = data["next_cursor"]
            if cursor is None:
                break
        assert rows == list(range(1, 36))
        assert "there are more: --cursor" in invoke("show", "--timeline", "-n", "10").stderr
        assert invoke("show", "-n", "10").exit_code == 2

    def test_opens_and_closes_the_tree(self, invoke: Invoke, database: Path) -> None:
        """--all shows each sibling, --depth so many levels, --no-bars the lines alone."""
        assert invoke("show", "--all").stdout.count("read_file(") == 7
        shallow = invoke("show", "--depth", "1", "--no-bars").stdout.splitlines()
        assert shallow[-1].startswith("└─ … 1 agent, 11 calls, 1 turn below (--all) · ✘ 4 failures")
        assert "━" in invoke("show").stdout
        assert "━" not in invoke("show", "--no-bars").stdout
        assert "━" not in invoke("show", env={"COLUMNS": "69"}).stdout

    def test_says_which_failed_one_it_took(self, invoke: Invoke, database: Path) -> None:
        """last-failed names its choice on stderr."""
        assert "took c0ffee00, the newest that failed" in invoke("show", "last-failed").stderr

    def test_of_an_ambiguous_start_lists_the_candidates(self, invoke: Invoke, database: Path) -> None:
        """Exit code 2, with what it could have been."""
        write_story(database, audit("c0ffee01", process_id="b" * 16))
        result = invoke("show", "c0ffee")
        assert result.exit_code == 2
        assert "c0ffee00, c0ffee01" in result.stderr

    def test_of_an_unknown_id_names_the_nearest(self, invoke: Invoke, database: Path) -> None:
        """Exit code 2."""
        result = invoke("show", "c0fee00")
        assert result.exit_code == 2
        assert "Nearest: c0ffee00" in result.stderr

    def test_keeps_to_an_agent(self, invoke: Invoke, database: Path) -> None:
        """--agent takes a name or an id, and refuses others with those there are."""
        by_name = invoke("show", "--agent", "reader").stdout
        assert "parse" in by_name
        assert "publish" not in by_name
        result = invoke("show", "--agent", "nobody")
        assert result.exit_code == 2
        assert "lead (lead-000000), reader (reader-000003)" in result.stderr

    def test_keeps_to_a_turn(self, invoke: Invoke, database: Path) -> None:
        """--turn shows the model turn and what followed it."""
        assert "list_files" in invoke("show", "--turn", "1").stdout
        result = invoke("show", "--turn", "9")
        assert "nothing fits" in result.stderr
        timeline = invoke("show", "--turn", "1", "--timeline", "--agent", "lead").stdout
        assert "model_call" in timeline and "publish" in timeline and "read_file" not in timeline

    def test_is_a_timeline_when_asked(self, invoke: Invoke, database: Path) -> None:
        """A line per event."""
        lines = invoke("show", "--timeline").stdout.splitlines()
        assert len(lines) == 35
        assert all(len(line) <= 80 for line in lines)

    def test_is_full_when_asked(self, invoke: Invoke, database: Path) -> None:
        """--full shows each of the run of siblings, and in a timeline each payload."""
        assert invoke("show", "--full").stdout.count("read_file(") == 7
        assert '"output": "7 files are fine"' in invoke("show", "--timeline", "--full").stdout

    def test_shows_one_event(self, invoke: Invoke, database: Path) -> None:
        """--event: all columns, the payload, the fate."""
        text = invoke("show", "--event", "22").stdout
        for part in ("#22 error", "error_type        SyntaxError", "swallowed", '"line": 12'):
            assert part in text
        assert (
            read_json(invoke, "show", "--event", "22")["event"]["payload"]["error"]["message"]
            == "invalid syntax"
        )
        assert invoke("show", "--event", "999").exit_code == 2

    def test_puts_back_what_was_cut(self, invoke: Invoke, database: Path) -> None:
        """--event says that something is cut, and --full shows it."""
        story = Story("cut", process_id="b" * 16)
        agent = story.start("a")
        cut = {
            "output": {"$agenttrace": "cut", "bytes": 9, "head": "he"},
            "$agenttrace": "cut",
            "bytes": 30,
            "sha256": "ab" * 32,
        }
        story.add("tool_result", agent, cut, tool_name="t")
        story.records[-1] = story.records[-1]._replace(blob=("ab" * 32, b'{"output":"here it is whole"}'))
        write_story(database, story)
        result = invoke("show", "--event", "37")
        assert "whole: agenttrace show --event 37 --full" in result.stderr
        assert "here it is whole" in invoke("show", "--event", "37", "--full").stdout

    def test_gives_the_tree_as_flat_json(self, invoke: Invoke, database: Path) -> None:
        """Nodes in pre-order, each with its parent: any depth is valid JSON."""
        data = read_json(invoke, "show")
        assert data["conversation"]["status"] == "failed"
        nodes = data["nodes"]
        assert [node["index"] for node in nodes] == list(range(14))
        assert nodes[2]["payload"]["arguments"] == {"folder": "."}
        (failure,) = next(node for node in nodes if node["name"] == "parse")["failures"]
        assert failure["fate"] == "swallowed"

    def test_gives_the_timeline_as_json(self, invoke: Invoke, database: Path) -> None:
        """Every event with its payload parsed."""
        events = read_json(invoke, "show", "--timeline")["events"]
        assert len(events) == 35
        assert events[0]["payload"] == {"input": "audit the json package"}

    def test_refuses_to_follow_as_a_tree(self, invoke: Invoke, database: Path) -> None:
        """--follow is a list."""
        assert invoke("show", "--follow", "--tree").exit_code == 2
        assert invoke("show", "--follow", "--json").exit_code == 2

    def test_follows_until_the_end(self, invoke: Invoke, database: Path) -> None:
        """What has ended is printed and done."""
        result = invoke("show", "--follow")
        assert len(result.stdout.splitlines()) == 35
        assert "c0ffee00 is failed" in result.stderr


class TestErrors:
    def test_lists_each_failure_with_its_fate(self, invoke: Invoke, database: Path) -> None:
        """One line each: what, raised and caught where, whose; the exit code is 0 all the same."""
        result = invoke("errors")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            "UTC    FATE       ROW  WHAT                  RAISED → CAUGHT            AGENT",
            "00:00  escaped    #33  PermissionError: re…  tools.py:12                lead",
            "00:00  retried    #29  TimeoutError: no an…  tools.py:12                lead",
            "00:00  retried    #27  TimeoutError: no an…  tools.py:12                lead",
            "00:00  swallowed  #22  SyntaxError: invali…  tools.py:12 → audit.py:88  ✔ reader",
        ]

    def test_says_who_claimed_success(self, invoke: Invoke, database: Path) -> None:
        """Of swallowed failures each line ends with the agent that then ended ok."""
        lines = invoke("errors", "--fate", "swallowed").stdout.splitlines()
        assert lines[0].split()[-2:] == ["CLAIMED", "BY"]
        assert lines[1].endswith("tools.py:12 → audit.py:88  ✔ reader")
        rows = read_json(invoke, "errors", "--fate", "swallowed")["failures"]
        assert [row["claimed_by"] for row in rows] == ["reader"]

    @pytest.mark.parametrize("columns", ["80", "120", "200"])
    def test_fits_the_terminal(self, invoke: Invoke, clean_environment: Path, columns: str) -> None:
        """Long paths, long names and hostile text take one line each; no fate, row or line number is cut."""
        scene = Scene("hostile", "b" * 16)
        agent = scene.agent("agent with a very long name " * 5)
        call = scene.call(agent, "tool" * 30)
        deep = f"/{'very/deep/' * 30}a_module_with_a_long_name.py"
        for _ in range(3):
            scene.error(
                call,
                "a message\x1b[31m of several\nlines\u202e " * 20,
                type="漢字Error" * 10,
                frames=[{"file": deep, "line": 12345, "function": "f"}],
                handled=True,
                handled_at={"file": deep.replace("a_", "b_"), "line": 67890, "function": "g"},
            )
        scene.end(call)
        scene.end(agent)
        with EventSink(clean_environment / "traces.db") as sink:
            scene.store(sink)
        lines = invoke("errors", env={"COLUMNS": columns}).stdout.splitlines()
        assert len(lines) == 4
        for line in lines[1:]:
            assert cell_width(line) <= int(columns)
            assert re.search(r"swallowed +#\d+ .*:12345 → .*:67890 ", line)

    def test_shows_all_with_full(self, invoke: Invoke, database: Path) -> None:
        """--full puts the message, the places and the conversation beneath each line, uncut."""
        text = invoke("errors", "--full", "--fate", "swallowed").stdout
        for part in (
            "invalid syntax",
            "c0ffee00",
            "/tools.py:12",
            "/audit.py:88",
            "reader ended ok after it",
        ):
            assert part in text

    def test_is_filtered(self, invoke: Invoke, database: Path) -> None:
        """--fate, --agent, --since and a conversation."""
        assert [row["fate"] for row in read_json(invoke, "errors", "--fate", "swallowed")["failures"]] == [
            "swallowed"
        ]
        assert len(read_json(invoke, "errors", "--agent", "lead")["failures"]) == 3
        assert len(read_json(invoke, "errors", "last")["failures"]) == 4
        result = invoke("errors", "--since", "1h")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "no failures fit" in result.stderr

    @pytest.mark.parametrize("span", ["1", "h", "-1h", "1 hour", "soon"])
    def test_refuses_a_span_without_a_unit(self, invoke: Invoke, database: Path, span: str) -> None:
        """The message says what is allowed."""
        result = invoke("errors", f"--since={span}")
        assert result.exit_code == 2
        assert "90s, 15m, 1h, 2d or 1w" in result.stderr

    def test_refuses_an_unknown_fate(self, invoke: Invoke, database: Path) -> None:
        """click names the choices."""
        assert invoke("errors", "--fate", "lost").exit_code == 2


class TestPs:
    def test_shows_what_is_open(self, invoke: Invoke, database: Path) -> None:
        """What, for how long, where, and whether anybody is seen to run it."""
        story = Story("open", start_ms=clock.now_ms() - 5000, process_id="b" * 16)
        agent = story.start("worker")
        story.open_call(agent, "slow_tool", {"n": 1})
        write_story(database, story, ended=False)
        text = invoke("ps").stdout
        lines = text.splitlines()
        assert len(lines) == 3
        assert "agent worker" in lines[1] and "call slow_tool" in lines[2]
        assert "4242" in lines[1] and "● running" in lines[1]
        assert "elsewhere" in invoke("ps", env={"COLUMNS": "120"}).stdout
        operations = read_json(invoke, "ps")["operations"]
        assert [(row["name"], row["state"]) for row in operations] == [
            ("worker", "running"),
            ("slow_tool", "running"),
        ]
        assert operations[0]["open_for_ms"] >= 5000

    def test_compares_with_what_is_usual(self, invoke: Invoke, database: Path) -> None:
        """Beside what is open stands the p95 of that tool's own calls, and stalled ones are marked."""
        past = Story("past", process_id="b" * 16)
        agent = past.start("worker")
        for number in range(30):
            past.call(agent, "search", ms=10 + number)
        past.end(agent)
        write_story(database, past)
        story = Story("open", start_ms=clock.now_ms() - 12_000, process_id="c" * 16)
        story.open_call(story.start("worker"), "search")
        write_story(database, story, ended=False)
        for width in ("60", "80", "120"):
            result = invoke("ps", env={"COLUMNS": width})
            (line,) = [line for line in result.stdout.splitlines() if "▲ stalled" in line]
            assert "38 ms" in line
            assert all(len(each) <= int(width) for each in result.stdout.splitlines())
            assert "search has been open for 12." in result.stderr
            assert "p95 of search is 38 ms: 3" in result.stderr
        (row,) = [row for row in read_json(invoke, "ps")["operations"] if row["is_stalled"]]
        assert row["name"] == "search"
        assert row["usual"] == {"count": 30, "p95_ms": 38}
        assert row["times_usual"] > 300

    def test_says_when_nothing_is(self, invoke: Invoke, database: Path) -> None:
        """An empty answer is a note, not a heading."""
        result = invoke("ps")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "nothing is open" in result.stderr


class TestSql:
    def test_prints_a_table(self, invoke: Invoke, database: Path) -> None:
        """Names above, cells below, whole when nobody's terminal is narrow."""
        result = invoke(
            "sql", "SELECT tool_name, count(*) AS calls FROM tool_traces GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        )
        assert result.stdout.splitlines() == ["tool_name  calls", "read_file      7"]

    def test_gives_rows_as_json(self, invoke: Invoke, database: Path) -> None:
        """Columns and rows; bytes as text."""
        data = read_json(invoke, "sql", "SELECT 1 AS one, NULL AS none, CAST('é' AS BLOB) AS bytes")
        assert data["rows"] == [{"one": 1, "none": None, "bytes": "é"}]

    def test_reads_stdin(self, invoke: Invoke, database: Path) -> None:
        """- is stdin."""
        assert invoke("sql", "-", input="SELECT 42 AS answer").stdout.splitlines() == ["answer", "    42"]

    @pytest.mark.parametrize(
        "query",
        [
            "DELETE FROM conversations",
            "DROP TABLE conversations",
            "SELECT nothing",
            "SELEC 1",
            "SELECT 1; SELECT 2",
        ],
    )
    def test_refuses_what_does_not_read(self, invoke: Invoke, database: Path, query: str) -> None:
        """Exit code 2 and one line; nothing is changed."""
        result = invoke("sql", query)
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert read_json(invoke, "sql", "SELECT count(*) AS n FROM conversations")["rows"] == [{"n": 1}]

    def test_shows_the_tables_and_queries_that_run(self, invoke: Invoke, database: Path) -> None:
        """Without a query: what there is; every query it suggests runs."""
        text = invoke("sql").stdout
        assert "view failures" in text and "table trajectory_events" in text
        for title, sql in EXAMPLES:
            assert title in text
            assert invoke("sql", sql).exit_code == 0
        assert len(read_json(invoke, "sql")["examples"]) == 5


class TestDoctor:
    def test_says_that_all_is_well(self, invoke: Invoke, database: Path) -> None:
        """Path, size, schema, journal, losses, ring, Python; with --verify integrity and counts."""
        result = invoke("doctor", "--verify")
        assert result.exit_code == 0, result.stdout
        for part in (
            str(database),
            "35 events, 1 conversation",
            "write-ahead log",
            "every count agrees",
            "0600",
        ):
            assert part in result.stdout

    def test_names_what_was_lost(self, invoke: Invoke, database: Path) -> None:
        """Dropped and failed counts by reason, with what to do."""
        connection = sqlite3.connect(database)
        connection.execute(
            "UPDATE processes SET dropped = '{\"full\": 7}', failed = '{\"note: ValueError\": 2}'"
        )
        connection.commit()
        connection.close()
        text = invoke("doctor").stdout
        assert "7 events dropped: full (the ring was full" in text
        assert "2 failures of recording: note: ValueError" in text

    def test_finds_counts_that_contradict_the_events(self, invoke: Invoke, database: Path) -> None:
        """--verify: exit code 1, and which number is wrong; without it nobody counts."""
        connection = sqlite3.connect(database)
        connection.execute("UPDATE agent_rollups SET tool_calls = 99 WHERE agent_name = 'lead'")
        connection.commit()
        connection.close()
        assert invoke("doctor").exit_code == 0
        result = invoke("doctor", "--verify")
        assert result.exit_code == 1
        assert "tool_calls is stored as 99, the events say 3" in result.stdout

    def test_warns_of_rights(self, invoke: Invoke, database: Path) -> None:
        """A database that others may read is said."""
        database.chmod(0o644)
        assert "others may read it" in invoke("doctor").stdout

    def test_gives_checks_as_json(self, invoke: Invoke, database: Path) -> None:
        """Each with a name, a state, a text and data."""
        checks = read_json(invoke, "doctor")["checks"]
        assert {"database", "size", "schema", "journal", "ring", "python"} <= {
            check["name"] for check in checks
        }


class TestMigrate:
    def test_goes_down_and_up(self, invoke: Invoke, database: Path) -> None:
        """status, down with --yes, up: the events stay as long as their table does."""
        migrations = read_json(invoke, "migrate", "status")["migrations"]
        assert all(one["applied"] for one in migrations)
        assert invoke("migrate", "down", "--yes").exit_code == 0
        assert "missing" in invoke("migrate", "status").stdout
        result = invoke("list")
        assert result.exit_code == 3
        assert "migrate up" in result.stderr
        assert invoke("migrate", "up").exit_code == 0
        assert [row["id"] for row in read_json(invoke, "list")["conversations"]] == ["c0ffee00"]

    def test_asks_before_it_takes_back(self, invoke: Invoke, database: Path) -> None:
        """No answer, no change."""
        assert invoke("migrate", "down", input="n\n").exit_code == 1
        assert "missing" not in invoke("migrate", "status").stdout


class TestEveryCommand:
    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_is_told_alike_in_the_overview(self, invoke: Invoke, name: str) -> None:
        """The overview's line is the first sentence of the command's own help."""
        import click

        command = cli.get_command(click.Context(cli), name)
        assert command is not None and command.help is not None
        assert command.help.strip().splitlines()[0] == COMMANDS[name].help
        assert name in invoke("--help").stdout

    @pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"completion", "migrate"}))
    def test_takes_a_database(self, name: str) -> None:
        """--db everywhere; --json wherever something is read."""
        import click

        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        options = {option for param in command.params for option in param.opts}
        assert "--db" in options
        assert ("--json" in options) == (name not in ("run", "demo", "mcp", "replay", "make-test"))

    def test_unknown_is_usage(self, invoke: Invoke) -> None:
        """Exit code 2."""
        assert invoke("frobnicate").exit_code == 2
        assert invoke("list", "--nope").exit_code == 2
