"""A program that asks Anthropic sees and sends the same, traced or not; what is taken back is gone."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import anthropic._base_client as base_client
import pytest

import agenttrace
from agenttrace.integrations import patching
from tests.clients.anthropic_ways import WAYS, Way
from tests.clients.provider import Provider
from tests.clients.provider_replies import (
    Reply,
    bad_request,
    broken_stream,
    failed_stream,
    overloaded,
    rate_limited,
    server_error,
    text,
    tool_calls,
)
from tests.clients.test_anthropic import GIVEN, RICH
from tests.clients.turns import read_turns
from tests.frameworks.conftest import Rows

PACKAGES = ("_base_client", "_streaming", "_response", "_legacy_response")

REQUEST = "_request" if hasattr(base_client.SyncAPIClient, "_copy_and_prepare") else "request"
"""The seam: the latter up to 1.0."""

SCRIPTS: dict[str, list[Reply]] = {
    "tools": [RICH],
    "retried": [rate_limited(), overloaded(), RICH],
    "given up": [server_error("one"), server_error("two"), server_error("three")],
    "refused": [bad_request()],
    "broken": [broken_stream(RICH, after=5)],
    "failed": [failed_stream(RICH, after=5)],
    "cut": [tool_calls([("add", '{"a": ')])],
}


def observe(way: Way, replies: list[Reply]) -> Any:
    """Give what the program saw, and what it sent."""
    with Provider() as provider:
        provider.queue(*replies)
        seen = way.run(provider.anthropic_url, GIVEN)
        port = provider.url.rpartition(":")[2]
        sent = [
            {
                **{name: value for name, value in request.headers.items() if "idempotency" not in name},
                "host": request.headers["host"].replace(port, "PORT"),
                "body": request.body,
            }
            for request in provider.requests
        ]
        return seen, sent


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("script", list(SCRIPTS))
class TestProgram:
    """Each way to ask, with each kind of answer."""

    def test_sees_and_sends_the_same(
        self, tmp_path: Path, way: Way, script: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Types, values, errors with their causes and places, headers and bodies."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "1")
        monkeypatch.setattr("anthropic._base_client.INITIAL_RETRY_DELAY", 0.001)
        # A body that breaks off is asked for again, unless the program reads it itself.
        is_read_late = way.is_streamed or "unread" in way.ask.__name__
        replies = [*SCRIPTS[script], *([RICH] if script == "broken" and not is_read_late else ())]
        agenttrace.uninstall()
        alone = observe(way, replies)
        agenttrace.configure(database=tmp_path / "t.db")
        on = observe(way, replies)
        assert on == alone
        agenttrace.disable()
        assert observe(way, replies) == alone
        turns = read_turns(Rows(tmp_path / "t.db"))
        assert len(turns) == 1, "it was not followed while it was to be, or was while it was not"


class TestSdk:
    """The SDK itself."""

    def test_looks_as_ever(self, rows: Rows) -> None:
        """Signatures, names and kinds of what is replaced are those of the originals."""

        def describe() -> dict[str, Any]:
            found = {}
            for owner in (base_client.SyncAPIClient, base_client.AsyncAPIClient, base_client.BaseClient):
                for name, member in vars(owner).items():
                    if inspect.isfunction(member):
                        found[f"{owner.__name__}.{name}"] = (
                            str(inspect.signature(member)),
                            member.__qualname__,
                            member.__doc__,
                            inspect.iscoroutinefunction(member),
                        )
            return found

        on = describe()
        patched = vars(base_client.SyncAPIClient)[REQUEST]
        agenttrace.uninstall()
        assert vars(base_client.SyncAPIClient)[REQUEST] is not patched
        assert describe() == on

    def test_is_put_back(self) -> None:
        """After ``uninstall`` every class has exactly what it had."""

        def members() -> dict[str, Any]:
            return {
                f"{package}.{owner.__name__}.{name}": member
                for package in PACKAGES
                if (module := sys.modules.get(f"anthropic.{package}")) is not None
                for owner in vars(module).values()
                if isinstance(owner, type)
                for name, member in vars(owner).items()
                if inspect.isfunction(member)
            }

        before = members()
        agenttrace.install("anthropic")
        during = members()
        assert {name for name in before if before[name] is not during[name]}
        agenttrace.uninstall("anthropic")
        after = members()
        assert after.keys() == before.keys()
        assert [name for name in before if before[name] is not after[name]] == []

    def test_may_be_taken_back_in_the_middle(self, rows: Rows, provider: Provider) -> None:
        """A stream that is being read when the patches go is read to its end, and so is its turn."""
        provider.queue(RICH)
        with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k") as client:
            stream = client.messages.create(**GIVEN, stream=True)
            next(stream)
            agenttrace.uninstall()
            assert len(list(stream)) > 5
        (turn,) = read_turns(rows)
        assert turn.status == "ok"

    def test_may_be_taken_back_before_another_look(self, rows: Rows, provider: Provider) -> None:
        """A raw response that is parsed once the patches are gone gives its stream, whose turn ends."""
        provider.queue(RICH)
        with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k") as client:
            response = client.messages.with_raw_response.create(**GIVEN, stream=True)
            agenttrace.uninstall()
            assert len(list(response.parse())) > 5
        (turn,) = read_turns(rows)
        assert turn.status == "ok"

    @pytest.mark.parametrize("name", [name for name, way in WAYS.items() if not way.is_async])
    def test_keeps_nothing_alive(self, rows: Rows, provider: Provider, name: str) -> None:
        """The client, which its answers hold, is gone once the program has let go of both."""
        provider.queue(text("a b c"))
        client = anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k")
        held = weakref.ref(client)
        answer = WAYS[name].ask(client, GIVEN)
        client.close()
        del answer, client
        gc.collect()
        assert held() is None

    def test_reads_messages_once(self, rows: Rows, provider: Provider) -> None:
        """Messages that come from an iterator are sent, and recorded, though they can be read once."""
        provider.queue(RICH)
        with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k") as client:
            messages = iter(GIVEN["messages"])
            client.messages.create(**{**GIVEN, "messages": messages})
        assert provider.bodies[0]["messages"] == GIVEN["messages"]
        (turn,) = read_turns(rows)
        assert turn.call["input"] == GIVEN["messages"]

    def test_runs_its_own_middleware(self, rows: Rows, provider: Provider) -> None:
        """What a program puts around each attempt sees each attempt, and the turn is one."""
        if not hasattr(anthropic.Anthropic, "middleware"):
            pytest.skip(f"anthropic {anthropic.__version__} has no middleware")
        seen: list[Any] = []

        def middleware(request: Any, call_next: Callable[[Any], Any]) -> Any:
            answer = call_next(request)
            seen.append(answer.http_response.status_code)
            return answer

        provider.queue(rate_limited(), RICH)
        settings: Any = {"middleware": [middleware]}
        with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k", **settings) as client:
            message = client.messages.create(**GIVEN)
        assert seen == [429, 200]
        assert message.id == "msg_fixed"
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt, turn.usage.input_tokens) == ("ok", 2, 100)


class TestChangedSdk:
    """A version whose inside is not the one we know."""

    SEAMS = (
        ("_base_client", "SyncAPIClient", REQUEST),
        ("_base_client", "BaseClient", "_build_request"),
        ("_base_client", "BaseClient", "_calculate_retry_timeout"),
        ("_base_client", "SyncAPIClient", "_process_response"),
        ("_response", "APIResponse", "parse"),
    )
    PROGRAM = """
import sys, anthropic, anthropic.{module} as module
owner = getattr(module, "{owner}")
renamed = "{name}_of_another_version"
setattr(owner, renamed, vars(owner)["{name}"])
class Forwards:
    # What the SDK itself still calls by the old name is found; what asks for the attribute finds none.
    def __get__(self, instance, kind):
        if sys._getframe(1).f_globals["__name__"].startswith("agenttrace"):
            raise AttributeError("there is no {name} in this version")
        return getattr(kind if instance is None else instance, renamed)
setattr(owner, "{name}", Forwards())
import agenttrace
agenttrace.configure(database=sys.argv[1])
client = anthropic.Anthropic()
given = dict(model="m", max_tokens=9, messages=[{{"role": "user", "content": "hello"}}])
print(client.messages.create(**given).content[0].text)
print("".join(client.messages.stream(**given).__enter__().text_stream))
print([len(list(client.messages.with_raw_response.create(**given, stream=True).parse()))])
agenttrace.shutdown()
from agenttrace.integrations.patching import problems
print(problems(), file=sys.stderr)
"""

    @pytest.mark.slow
    @pytest.mark.parametrize("module, owner, name", SEAMS, ids=[name for _, _, name in SEAMS])
    def test_loses_what_does_not_fit_and_says_so(
        self, provider: Provider, tmp_path: Path, module: str, owner: str, name: str
    ) -> None:
        """The program runs as ever, and ``doctor`` can name what is not there."""
        provider.queue(text("one"), rate_limited(), text("two"), text("three"))
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                self.PROGRAM.format(module=module, owner=owner, name=name),
                tmp_path / "t.db",
            ],
            env={
                "HOME": str(tmp_path),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                **provider.environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.splitlines() == ["one", "two", "[6]"], done.stderr
        assert f"no {name} in this version" in done.stderr.splitlines()[-1]

    def test_is_told_apart_from_an_older_one(
        self, rows: Rows, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What older versions have not is not missed in them, and nothing else is lost with it."""
        if not hasattr(base_client.SyncAPIClient, "_sleep_for_retry"):
            pytest.skip(f"anthropic {anthropic.__version__} is older")
        agenttrace.uninstall()
        for owner in (base_client.SyncAPIClient, base_client.AsyncAPIClient):
            sleep = vars(owner)["_sleep_for_retry"]
            monkeypatch.delattr(owner, "_sleep_for_retry")
            monkeypatch.setattr(
                owner, "__getattr__", lambda self, _, sleep=sleep: sleep.__get__(self), raising=False
            )
        agenttrace.install("anthropic")
        provider.queue(rate_limited(), RICH)
        with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k") as client:
            client.messages.create(**GIVEN)
        (turn,) = read_turns(rows)
        assert (turn.status, turn.attempt, len(turn.retries)) == ("ok", 2, 1)
        assert "anthropic" not in patching.problems()

    @pytest.mark.slow
    @pytest.mark.parametrize("is_installed", [True, False], ids=["another SDK", "the program's own module"])
    def test_may_be_another_thing_of_that_name(self, tmp_path: Path, is_installed: bool) -> None:
        """A package without the client we know is named, unless it is only a module of the program's own."""
        (tmp_path / "anthropic.py").write_text("def greet():\n    return 'hello'\n")
        program = (
            "import importlib.metadata as metadata, sys, agenttrace\n"
            "from agenttrace.integrations.patching import problems\n"
            "agenttrace.configure(database=sys.argv[1])\n"
            f"names = {is_installed} and ['anthropic']\n"
            "def version(name, known=metadata.version):\n"
            "    if name == 'anthropic' and not names: raise metadata.PackageNotFoundError(name)\n"
            "    return known(name)\n"
            "metadata.version = version\n"
            "import agenttrace.integrations.anthropic as ours\n"
            "ours.version = version\n"
            "import anthropic\n"
            "print(anthropic.greet(), problems().get('anthropic'))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "t.db"],
            env={"HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.startswith("hello "), done.stderr
        assert ("is not followed" in done.stdout) == is_installed

    def test_is_no_concern_of_a_program_without_it(self) -> None:
        """Nothing is said of a library that is not imported."""
        agenttrace.install("anthropic")
        assert "anthropic" not in patching.problems()
