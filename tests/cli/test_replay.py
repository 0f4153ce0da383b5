"""`agenttrace replay`: the recorded program again, with nothing executed that was recorded."""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Shell

_AGENT = """
import asyncio, sys, urllib.request
from agenttrace import agent_scope, model_turn, record_exception, traced_tool

def executed(name):
    with open("executed.txt", "a") as file:
        file.write(name + "\\n")

@traced_tool
def search(query: str, limit: int = 3) -> list[str]:
    executed("search")
    with urllib.request.urlopen(sys.argv[1] + "/search") as answer:
        return [f"{query} {answer.read().decode()} {number}" for number in range(limit)]

@traced_tool
async def fetch(page: str) -> dict:
    executed("fetch")
    await asyncio.sleep(0.001)
    if page.endswith(" 2"):
        refuse(page)
    return {"page": page, "words": len(page)}

def refuse(page):
    raise LookupError(f"no such page: {page}")

async def worker(topic):
    with agent_scope("worker", input=topic) as agent:
        found = search(topic)
        pages = await asyncio.gather(fetch(found[0]), fetch(found[1]))
        agent.set_output(pages)
        return pages

async def main():
    with agent_scope("lead", input=sys.argv[2:]):
        print(await asyncio.gather(worker("ants"), worker("bees"), worker("cats")))
        try:
            await fetch("swallowed 2")
        except LookupError as exc:
            record_exception(exc)
        if "fail" in sys.argv:
            await fetch("last 2")

asyncio.run(main())
"""

_BAN = """
import socket
def banned(*args, **kwargs):
    raise AssertionError("a socket was used")
for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, banned)
socket.getaddrinfo = socket.create_connection = banned
"""


_PARTS = """
from agenttrace import agent_scope, traced_tool

@traced_tool
def double(x):
    with open("executed.txt", "a") as file:
        file.write("double\\n")
    return 2 * x

def part(x):
    with agent_scope("part", input=x):
        return double(x)

if __name__ == "__main__":
    print(part(7))
"""

_CREW = """
import multiprocessing, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from agenttrace import agent_scope
from parts import part

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    with agent_scope("lead"), agent_scope("second"):
        with ProcessPoolExecutor(2) as pool:
            print(list(pool.map(part, range(3))), flush=True)
        subprocess.run([sys.executable, "parts.py"], check=True)
"""


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer anything."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"result")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Answer at an address of this machine."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


class Place:
    """A folder with an agent, and its record."""

    def __init__(self, folder: Path, shell: Shell) -> None:
        self.folder = folder
        self._shell = shell
        self.write("agent.py", _AGENT)
        (folder / "ban").mkdir()
        self.write("ban/sitecustomize.py", _BAN)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def record(self, *arguments: str) -> Any:
        """Record the agent with default settings."""
        done = self._shell("run", *arguments, cwd=self.folder)
        self.executed()
        return done

    def replay(self, *arguments: str, **options: Any) -> Any:
        """Replay in a fresh process in which no socket can be used, from another folder."""
        root = Path(__file__).parent.parent.parent
        path = os.pathsep.join((str(self.folder / "ban"), str(root)))
        return self._shell("replay", *arguments, env={"PYTHONPATH": path}, cwd="/", **options)

    def executed(self) -> list[str]:
        """Give the tools that ran since the last time."""
        file = self.folder / "executed.txt"
        found = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.fixture
def place(tmp_path: Path, shell: Shell) -> Place:
    """Give a folder with an agent."""
    return Place(tmp_path, shell)


def last_lines(stderr: str) -> list[tuple[str, str]]:
    """Give file and line of each frame of the agent's own in a printed traceback."""
    return re.findall(r'File ".*?(agent\.py)", line (\d+)', stderr)


@pytest.mark.slow
class TestReplay:
    """Runs the recorded program again."""

    def test_reproduces_a_failed_run_without_network_or_tools(self, place: Place, server: str) -> None:
        """A fresh process, sockets banned: the same exception at the same lines, and no tool ran."""
        recorded = place.record("agent.py", server, "fail")
        assert recorded.returncode == 1 and "LookupError: no such page: last 2" in recorded.stderr
        replayed = place.replay("last")
        assert place.executed() == []
        assert replayed.returncode == 0, replayed.stderr
        assert replayed.stdout == recorded.stdout
        assert last_lines(replayed.stderr) == last_lines(recorded.stderr)
        assert "LookupError: no such page: last 2" in replayed.stderr
        assert "gave back 11 calls; 0 ran." in replayed.stderr
        assert "ended as recorded: failed" in replayed.stderr

    def test_records_the_replay_as_a_run_of_its_own(self, place: Place, server: str, shell: Shell) -> None:
        """It can be compared with the other, and replaying it replays the other."""
        place.record("agent.py", server)
        assert place.replay("last").returncode == 0
        listed = shell("sql", "SELECT json_extract(metadata, '$.replay_of') FROM conversations ORDER BY 1")
        assert len(re.findall(r"[0-9a-f]{16}", listed.stdout)) == 1, listed.stdout
        again = place.replay("last")
        assert again.returncode == 0 and "is a replay of" in again.stderr
        assert shell("diff", "last~1", "last").returncode == 0
        assert place.executed() == []

    def test_refuses_what_was_never_recorded(self, place: Place, server: str) -> None:
        """Changed code asks for something else: the nearest call is named, nothing runs, exit 1."""
        place.record("agent.py", server)
        place.write("agent.py", _AGENT.replace('worker("cats")', 'worker("dogs")'))
        replayed = place.replay("last")
        assert replayed.returncode == 1
        assert 'asks for search(query="dogs"), which was never recorded there' in replayed.stderr
        assert 'query: recorded "cats", asked "dogs"' in replayed.stderr
        assert "agent.py was changed since it was recorded" in replayed.stderr
        assert place.executed() == []

    def test_runs_what_was_never_recorded_where_it_is_told_to(self, place: Place, server: str) -> None:
        """Mode fill; the difference is the exit code."""
        place.record("agent.py", server)
        more = '        print(await fetch("more 1"))\n\nasyncio.run(main())'
        place.write("agent.py", _AGENT.replace("\nasyncio.run(main())", more, 1))
        replayed = place.replay("last", "--mode", "fill")
        assert replayed.returncode == 1, replayed.stderr
        assert place.executed() == ["fetch"]
        assert "gave back 10 calls; 1 ran." in replayed.stderr
        assert "1 step only as replayed" in replayed.stderr and "-> agenttrace diff" in replayed.stderr

    def test_runs_modules(self, place: Place, server: str) -> None:
        """What ran with -m runs as a module again, also in a package with relative imports."""
        (place.folder / "crew").mkdir()
        place.write("crew/__init__.py", "")
        place.write("crew/names.py", "TOPIC = 'ants'\n")
        place.write(
            "crew/agent.py",
            _AGENT.replace('"ants"', "TOPIC").replace("\nimport", "\nfrom .names import TOPIC\nimport", 1),
        )
        assert place.record("-m", "crew.agent", server).returncode == 0
        replayed = place.replay("last")
        assert replayed.returncode == 0, replayed.stderr
        assert place.executed() == []

    def test_replays_all_conversations_of_the_program(self, place: Place, server: str) -> None:
        """A program that has several is replayed as a whole, whichever of them is named."""
        twice = "\nfor _ in range(2):\n    asyncio.run(main())\n"
        place.write("agent.py", _AGENT.replace("\nasyncio.run(main())", twice))
        place.record("agent.py", server)
        for selector in ("last", "last~3"):
            replayed = place.replay(selector)
            assert replayed.returncode == 0, replayed.stderr
            assert replayed.stderr.count("ended as recorded: completed") == 2
            assert "gave back 20 calls; 0 ran." in replayed.stderr
        assert place.executed() == []

    @pytest.mark.parametrize("method", ["spawn", "fork"])
    def test_replays_in_the_processes_that_are_started(self, place: Place, method: str) -> None:
        """Pools and subprocesses give back what was recorded as well; none of them runs a tool."""
        place.write("parts.py", _PARTS)
        place.write("crew.py", _CREW)
        recorded = place.record("crew.py", method)
        assert recorded.returncode == 0, recorded.stderr
        replayed = place.replay("last")
        assert (replayed.returncode, replayed.stdout) == (0, recorded.stdout), replayed.stderr
        assert place.executed() == []
        assert "ended as recorded: completed" in replayed.stderr

    def test_replays_without_recording_where_tracing_is_forbidden(
        self, place: Place, server: str, shell: Shell
    ) -> None:
        """AGENTTRACE=0 still wins: nothing is recorded, and nothing runs."""
        place.record("agent.py", server)
        root = Path(__file__).parent.parent.parent
        replayed = shell("replay", "last", env={"PYTHONPATH": str(root), "AGENTTRACE": "0"}, cwd="/")
        assert replayed.returncode == 0, replayed.stderr
        assert "AGENTTRACE=0 stands in the environment" in replayed.stderr
        assert place.executed() == [] and shell("show", "last~1").returncode == 2

    def test_takes_other_arguments(self, place: Place, server: str) -> None:
        """What stands behind -- takes the place of the recorded arguments; a redacted one must be given."""
        secret = "sk-proj-Zq8vN3xRt7LmK2pW9yB4cD6fG1hJ5sA0"
        place.record("agent.py", server, "--api-key", secret)
        refused = place.replay("last")
        assert refused.returncode == 2 and "was redacted" in refused.stderr
        assert "agenttrace replay SEL -- ARGUMENTS" in refused.stderr and secret not in refused.stderr
        replayed = place.replay("last", "--", server, "--api-key", secret)
        assert replayed.returncode == 0, replayed.stderr
        assert place.executed() == []

    def test_says_what_is_gone(self, place: Place, server: str, shell: Shell) -> None:
        """Without the file, or of a program that was no file, there is nothing to run."""
        place.record("agent.py", server)
        (place.folder / "agent.py").unlink()
        gone = place.replay("last")
        assert gone.returncode == 2 and "agent.py is not there any more" in gone.stderr
        code = "import agenttrace; agenttrace.configure(enabled=True)\nwith agenttrace.agent_scope('a'): pass"
        assert shell("-c", code, python=()).returncode == 0
        inline = place.replay("last")
        assert inline.returncode == 2 and "it was python -c" in inline.stderr

    def test_names_what_was_not_kept_before_anything_runs(self, place: Place, server: str) -> None:
        """A result cut beyond its blob: the event is named, and the program does not begin."""
        place.write("agent.py", _AGENT.replace('"words": len(page)', '"words": page * 100_000'))
        place.record("agent.py", server)
        replayed = place.replay("last")
        assert replayed.returncode == 2 and replayed.stdout == ""
        assert "is cut beyond what was kept whole" in replayed.stderr
        assert "agenttrace show --event" in replayed.stderr
        assert place.executed() == []


@pytest.mark.slow
class TestPdb:
    """Stops at the first cause."""

    def test_stops_at_the_line_that_raised(self, place: Place, server: str) -> None:
        """An exception that leaves the program: the very line in the tool, which did not run."""
        quiet = _AGENT.replace('await fetch("swallowed 2")', "pass")
        place.write("agent.py", quiet)
        place.record("agent.py", server, "fail")
        replayed = place.replay("last", "--pdb", input="p __file__\nup\nup\np sys.argv[2]\nq\n")
        line = quiet.splitlines().index('    raise LookupError(f"no such page: {page}")') + 1
        assert f"agent.py({line})refuse()" in replayed.stdout
        assert "-> raise LookupError" in replayed.stdout and "'fail'" in replayed.stdout
        assert place.executed() == []

    def test_stops_where_the_first_cause_was_swallowed(self, place: Place, server: str) -> None:
        """A failure that was caught: the handler's line, where the record says it."""
        place.record("agent.py", server)
        replayed = place.replay("last", "--pdb", input="p exc\nw\nc\n")
        assert "-> record_exception(exc)" in replayed.stdout or "-> except LookupError" in replayed.stdout
        assert "main()" in replayed.stdout
        assert place.executed() == []

    def test_leaves_with_the_debugger(self, place: Place, server: str) -> None:
        """Quitting ends the program; no handler of its own catches that."""
        place.write("agent.py", _AGENT.replace("except LookupError as exc", "except Exception as exc"))
        place.record("agent.py", server, "fail")
        replayed = place.replay("last", "--pdb", input="q\n")
        assert replayed.returncode == 1 and "left the debugger" in replayed.stderr
        assert place.executed() == []
