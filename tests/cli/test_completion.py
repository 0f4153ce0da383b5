"""What a shell completes: through click's own classes, and in a real bash."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import (
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    get_completion_class,
)

from agenttrace.cli.completion import COMPLETE_VARIABLE
from agenttrace.cli.main import COMMANDS, cli
from agenttrace.events import KINDS
from agenttrace.query.findings import KINDS as FINDINGS
from tests.cli.conftest import Invoke, Shell, write_story
from tests.query.factory import Story

_ROOT = Path(__file__).parent.parent.parent
_WORDS = ["last", "last-failed", "last-ok", "running", "last~1"]
_HOSTILE = (
    "$(touch evil)",
    "`id`",
    "a b",
    "a;b",
    "x\ny",
    "x\x1b[31m",
    "-rf",
    "a'b",
    'a"b',
    "a|b",
    "*",
    "a\\b",
    "ö",
)


def complete(line: str) -> list[CompletionItem]:
    """Give what the last word of *line* may become."""
    *args, incomplete = line.split(" ")
    return ShellComplete(cli, {}, "agenttrace", COMPLETE_VARIABLE).get_completions(args, incomplete)


def words(line: str) -> list[str]:
    """Give the words alone."""
    return [item.value for item in complete(line)]


class TestWords:
    """click's ShellComplete on the whole command line."""

    def test_commands(self) -> None:
        """Commands come with what the overview says of each."""
        assert words("") == list(COMMANDS)
        (item,) = complete("compl")
        assert (item.value, item.help) == ("completion", COMMANDS["completion"].help)
        assert "--version" in words("--")

    def test_options(self) -> None:
        """Options of a command, and the choices of one, are click's own."""
        assert "--for-llm" in words("show --for")
        assert words("list --status f") == ["failed"]
        assert words("completion ") == ["bash", "zsh", "fish"]

    @pytest.mark.parametrize(
        "line", ["show ", "why ", "check ", "errors ", "diff ", "diff last ", "search --in "]
    )
    def test_selectors(self, database: Path, line: str) -> None:
        """Wherever a conversation is meant, the words for it come, and the newest ids with their tasks."""
        found = complete(line)
        assert [item.value for item in found] == [*_WORDS, "c0ffee00"]
        assert found[-1].help == "audit the json package"

    def test_beginnings(self, database: Path) -> None:
        """A beginning narrows, also to a conversation that is not among the newest."""
        for number in range(40):
            write_story(
                database, _one_call(f"f{number:07x}", "lead", "look", start_ms=1_800_000_000_000 + number)
            )
        assert words("show last-f") == ["last-failed"]
        assert "c0ffee00" not in words("show ") and len(words("show ")) == len(_WORDS) + 20
        assert words("show c0f") == ["c0ffee00"]
        assert words("show zzz") == []

    def test_names(self, database: Path) -> None:
        """Agents and tools are those that are recorded."""
        assert words("show last --agent ") == ["lead", "reader"]
        assert words("errors --agent r") == ["reader"]
        assert words("search x --tool p") == ["parse", "publish"]

    def test_kinds(self) -> None:
        """The kinds of events for search, those of findings for check."""
        assert words("search x --kind ") == [kind for kind in KINDS if not kind.startswith("$")]
        assert words("check last --kind ") == list(FINDINGS)

    def test_database(self, clean_environment: Path) -> None:
        """The names are those of the database that stands in the line; a path is left to the shell."""
        other = clean_environment / "other.db"
        write_story(other, _one_call("beef0000", "other", "dig"))
        assert words(f"show --db {other} b") == ["beef0000"]
        assert words(f"search x --db {other} --tool ") == ["dig"]
        (item,) = complete("show --db ot")
        assert (item.type, item.value) == ("file", "ot")

    @pytest.mark.parametrize(
        ("line", "kind"), [("run my", "file"), ("run x.py my", "file"), ("demo my", "dir")]
    )
    def test_files(self, line: str, kind: str) -> None:
        """Programs and folders are left to the shell, as they were before it asked us."""
        assert [(item.type, item.value) for item in complete(line)] == [(kind, "my")]

    @pytest.mark.parametrize("name", list(COMMANDS))
    def test_every_command(self, database: Path, name: str) -> None:
        """No word of any command ends in an error."""
        complete(f"{name} ")
        context = click.Context(cli, resilient_parsing=True)
        command = cli.get_command(context, name)
        assert command is not None
        for param in command.params:
            if isinstance(param, click.Option) and not param.is_flag:
                complete(f"{name} {param.opts[-1]} ")
        assert set(words(f"{name} --")) >= {
            param.opts[-1] for param in command.params if param.opts[-1][:2] == "--"
        }


def _one_call(
    conversation_id: str, agent_name: str, tool: str, *, start_ms: int = 1_767_225_600_000
) -> Story:
    story = Story(conversation_id, start_ms=start_ms)
    agent = story.start(agent_name)
    story.call(agent, tool, {})
    story.end(agent)
    return story


class TestSafety:
    """A word is put into a command line, and the next key may be Enter."""

    @pytest.mark.parametrize("name", _HOSTILE)
    def test_hostile_names(self, database: Path, name: str) -> None:
        """What a shell would read as more than one plain word is never offered, in any place."""
        story = _one_call(name, name, name, start_ms=1_800_000_000_000)
        write_story(database, story)
        for line in ("show ", "show last --agent ", "search x --tool "):
            found = words(line)
            assert found and name not in found

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_hostile_task(self, database: Path, shell: str) -> None:
        """A task is shown in one line without control characters, in the form of each shell."""
        story = _one_call("beef0000", "lead", "look")
        story.conversation("line\nplain,evil\tone\x1b[31m\nfile\n" + "x" * 200)
        write_story(database, story)
        made = get_completion_class(shell)
        assert made is not None
        (item,) = complete("show beef")
        text = made(cli, {}, "agenttrace", COMPLETE_VARIABLE).format_completion(item)
        assert "\x1b" not in text and len(text) < 120
        assert len(text.split("\n")) == (3 if shell == "zsh" else 1)
        assert text.split("\n")[0].startswith("plain")

    @pytest.mark.parametrize(
        "wrong", ["missing", "empty", "text", "folder", "locked", "postgresql://x/y", "future"]
    )
    def test_silent(
        self, clean_environment: Path, wrong: str, monkeypatch: pytest.MonkeyPatch, shell: Shell
    ) -> None:
        """Without a database that can be read the fixed words come, and nothing is said."""
        path = clean_environment / "traces.db"
        holder = None
        if wrong == "empty":
            path.touch()
        elif wrong == "text":
            path.write_text("no database\n" * 500, encoding="utf-8")
        elif wrong == "folder":
            path.mkdir()
        elif wrong == "future":
            holder = sqlite3.connect(path)
            holder.execute("PRAGMA user_version = 9999")
        elif wrong == "locked":
            write_story(path, _one_call("beef0000", "lead", "look"))
            holder = sqlite3.connect(path)
            holder.execute("PRAGMA journal_mode = DELETE")
            holder.execute("BEGIN EXCLUSIVE")
        elif wrong != "missing":
            monkeypatch.setenv("AGENTTRACE_DB", wrong)
        before = sorted(clean_environment.iterdir())
        environment = {
            "COMP_WORDS": "agenttrace show ",
            "COMP_CWORD": "2",
            COMPLETE_VARIABLE: "bash_complete",
        }
        done = shell(env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == [f"plain,{word}" for word in _WORDS]
        assert sorted(clean_environment.iterdir()) == before
        if holder is not None:
            holder.close()

    def test_changes_nothing(self, database: Path) -> None:
        """Not a byte of the database changes."""
        before = database.read_bytes()
        assert "c0ffee00" in words("show ") and "reader" in words("show last --agent ")
        assert database.read_bytes() == before


class TestSpeed:
    """Somebody waits."""

    @pytest.mark.slow
    def test_imports(self, database: Path, shell: Shell) -> None:
        """A word is completed without the libraries of the database and of the terminal."""
        code = (
            "import sys, time; from agenttrace.cli.main import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "heavy = {'peewee', 'playhouse', 'rich', 'agenttrace.query.diagnose'}\n"
            "print(sorted(heavy & set(sys.modules)), time.process_time(), file=sys.stderr)"
        )
        environment = {
            "COMP_WORDS": "agenttrace show ",
            "COMP_CWORD": "2",
            COMPLETE_VARIABLE: "bash_complete",
        }
        done = shell(python=("-c", code), env=environment)
        assert "plain,c0ffee00" in done.stdout
        print("processor time:", done.stderr)
        assert done.stderr.startswith("[] ")


@pytest.fixture
def folder_of_commands(tmp_path: Path) -> Path:
    """Give a folder with ``agenttrace`` in it, as an installation puts it on PATH."""
    command = tmp_path / "bin" / "agenttrace"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={_ROOT} exec {sys.executable} -m agenttrace "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    return command.parent


class TestShells:
    """The lines that ``agenttrace completion`` prints."""

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
    @pytest.mark.parametrize(
        ("line", "found"),
        [
            (("agenttrace", "sh"), ["show"]),
            (("agenttrace", "show", ""), [*_WORDS, "c0ffee00"]),
            (("agenttrace", "show", "last-"), ["last-failed", "last-ok"]),
            (("agenttrace", "show", "last", "--agent", "re"), ["reader"]),
            (("agenttrace", "show", "--max"), ["--max-tokens"]),
        ],
    )
    def test_bash(
        self,
        database: Path,
        folder_of_commands: Path,
        tmp_path: Path,
        line: tuple[str, ...],
        found: list[str],
    ) -> None:
        """A bash that has read them completes, and nothing is installed for it."""
        quoted = " ".join(f"'{word}'" for word in line)
        script = (
            'eval "$(agenttrace completion bash)"\n'
            f"COMP_WORDS=({quoted}); COMP_CWORD={len(line) - 1}\n"
            "function=$(complete -p agenttrace | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
            '"$function" agenttrace\n'
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        path = f"{folder_of_commands}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--norc", "--noprofile", "-c", script],
            env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split("\n")[:-1] == found
        assert [each.name for each in tmp_path.iterdir()] == ["bin"]

    def test_lines(self, invoke: Invoke) -> None:
        """Each shell gets click's lines for it, under our name."""
        for shell, made in (("zsh", ZshComplete), ("fish", FishComplete)):
            done = invoke("completion", shell)
            assert done.exit_code == 0 and done.stderr == ""
            assert done.stdout.rstrip("\n") == made(cli, {}, "agenttrace", COMPLETE_VARIABLE).source().rstrip(
                "\n"
            )
            assert f"{COMPLETE_VARIABLE}={shell}_complete" in done.stdout
        assert invoke("completion", "csh").exit_code == 2
