"""``agenttrace why`` and ``agenttrace check`` as people call them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import agenttrace
from agenttrace import agent_scope, conversation_scope, model_turn, traced_tool
from agenttrace.demo import agents as demo_agents
from tests.cli.conftest import Invoke, Shell


@traced_tool
def look_up(word: str) -> str:
    if word == "away":
        raise ConnectionError("the index is away")
    return f"about {word}"


def run(name: str, word: str, *, cost_usd: float = 0.01) -> None:
    """Let an agent look a word up; what fails is dropped."""
    with conversation_scope(name), agent_scope("lead", input=word) as lead:
        with model_turn("acme", input=[{"role": "user", "content": word}]) as turn:
            turn.set_output("I look it up")
            turn.set_usage(input_tokens=10, output_tokens=2, cost_usd=cost_usd)
        try:
            lead.set_output(look_up(word))
        except ConnectionError:
            lead.set_output("nothing is known")


@pytest.fixture
def runs(clean_environment: Path) -> Path:
    """Give the default database, with a good run in it and then a bad one."""
    path = clean_environment / "traces.db"
    agenttrace.configure(path, install=())
    run("good", "figs")
    run("bad", "away")
    agenttrace.shutdown()
    return path


class TestWhy:
    """S4.12: what went wrong, in twelve lines."""

    def test_of_a_swallowed_error(self, runs: Path, invoke: Invoke) -> None:
        """It names the failure, what became of it, and the row; on Python 3.12 the line that caught it."""
        done = invoke("why", "bad")
        assert done.exit_code == 0
        assert "swallowed_error" in done.stdout and "ConnectionError: the index is away" in done.stdout
        assert "nobody was told" in done.stdout and "agenttrace show --event" in done.stdout
        if sys.version_info >= (3, 12):
            number = next(
                at
                for at, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1)
                if line.strip() == "except ConnectionError:"
            )
            caught = next(line for line in done.stdout.splitlines() if line.startswith("caught"))
            assert f"test_why.py:{number}" in caught

    def test_of_a_good_run(self, runs: Path, invoke: Invoke) -> None:
        """It says that nothing was found, and how to look."""
        done = invoke("why", "good")
        assert done.exit_code == 0 and "nothing wrong was found" in done.stdout
        assert "agenttrace show good" in done.stdout

    def test_without_a_run(self, runs: Path, invoke: Invoke) -> None:
        """Nothing named means the newest that failed, or else had a failure; stderr says which."""
        done = invoke("why")
        assert "run     bad" in done.stdout and "took bad" in done.stderr

    def test_where_all_is_well(self, clean_environment: Path, invoke: Invoke) -> None:
        """Where none failed, the newest is taken."""
        agenttrace.configure(clean_environment / "traces.db", install=())
        run("good", "figs")
        agenttrace.shutdown()
        assert "nothing wrong was found" in invoke("why").stdout

    def test_as_json(self, runs: Path, invoke: Invoke) -> None:
        """Programs get every finding whole, each with its command."""
        data = json.loads(invoke("why", "bad", "--json", "--db", str(runs)).stdout)
        (finding,) = data["findings"]
        assert finding["kind"] == "swallowed_error" and finding["agent"] == "lead"
        assert finding["command"] == f"agenttrace show --event {finding['rows'][0]} --db {runs}"
        assert [link["name"] for link in data["chain"]] == ["look_up", "lead"]

    def test_hostile_text(self, clean_environment: Path, invoke: Invoke) -> None:
        """What a payload says is shown and not obeyed."""
        agenttrace.configure(clean_environment / "traces.db", install=())
        with conversation_scope("evil"), pytest.raises(RuntimeError), agent_scope("le\x1b[31mad"):
            raise RuntimeError("\x1b[2J\u202egone\nand more")
        agenttrace.shutdown()
        for arguments in (("why", "evil"), ("check", "evil")):
            done = invoke(*arguments)
            assert "RuntimeError" in done.stdout
            assert not {"\x1b", "\u202e"} & set(done.stdout)


class TestCheck:
    """A build that fails on what went wrong."""

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("good",), 0),
            (("bad",), 1),
            ((), 1),
            (("bad", "--kind", "loop"), 0),
            (("bad", "--kind", "loop", "--kind", "swallowed_error"), 1),
            (("good", "--max-cost", "1"), 0),
            (("good", "--max-cost", "0.001"), 1),
            (("good", "--kind", "nothing-like-it"), 2),
            (("nothing-like-it",), 2),
        ],
    )
    def test_exit_code(self, runs: Path, invoke: Invoke, arguments: tuple[str, ...], code: int) -> None:
        """1 where something was found that was asked for, 0 where not."""
        done = invoke("check", *arguments)
        assert done.exit_code == code, done.output
        if code != 2:
            data = json.loads(invoke("check", *arguments, "--json").stdout)
            assert data["is_ok"] is (code == 0)


@pytest.mark.slow
class TestDemo:
    """The demo's careless subagent."""

    def test_first_cause(self, clean_environment: Path, shell: Shell) -> None:
        """The failure that it dropped is the first cause, at the line that dropped it."""
        database = str(clean_environment / "demo.db")
        assert shell("demo", "-q", "--db", database).returncode == 0
        done = shell("why", "last-failed", "--db", database)
        assert "swallowed_error" in done.stdout and "drafts/endless.py took over 0.3 s" in done.stdout
        assert "lead" in done.stdout
        if sys.version_info >= (3, 12):
            source = Path(demo_agents.__file__).read_text(encoding="utf-8").splitlines()
            number = source.index(
                "                # The fault to find in the trace: the run ends ok, and nobody is told."
            )
            assert f"agents.py:{number}\n" in done.stdout
