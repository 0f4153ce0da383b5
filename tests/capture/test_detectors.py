"""Failures returned as data: found without running a line of the value's own code."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import http.client
import http.server
import json
import subprocess
import sys
import threading
import timeit
import types
import unittest.mock
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import cached_property
from http import HTTPStatus
from typing import Any, NamedTuple

import aiohttp
import httpx
import pydantic
import pytest
import requests
import wrapt

from agenttrace import agent_scope, tool_scope, traced_tool
from agenttrace.capture.detectors import INNOCENT as INNOCENT_TYPES
from agenttrace.capture.detectors import describe_returned, detect_failure
from tests.capture.conftest import Published


class Boom(Exception):
    pass


class CallToolResult(pydantic.BaseModel):
    """The shape of MCP's result."""

    content: list[Any] = []
    isError: bool = False


@dataclasses.dataclass(slots=True)
class Slotted:
    returncode: int
    output: str = ""


@dataclasses.dataclass
class Outcome:
    error: Any = None
    exit_code: int = 0


class Finished(NamedTuple):
    returncode: int
    stdout: str


class Text(str):
    pass


def finished_process(code: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    process.wait()
    return process


def requests_response(status: int) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    return response


def http_error() -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://x", 503, "busy", None, None)  # type: ignore[arg-type]


FAILING: dict[str, tuple[Callable[[], Any], str]] = {
    "error text": (lambda: {"error": "no such file"}, "error"),
    "error beside data": (lambda: {"data": None, "error": "timeout", "retry": True}, "error"),
    "error object": (lambda: {"error": {"code": -32000, "message": "no"}}, "error"),
    "error list": (lambda: {"error": ["one", "two"]}, "error"),
    "error tuple": (lambda: {"error": ("E1", "bad")}, "error"),
    "error True": (lambda: {"error": True, "message": "bad"}, "error"),
    "error exception": (lambda: {"error": Boom("x")}, "error"),
    "error of a text class": (lambda: {"error": Text("bad")}, "error"),
    "error in an OrderedDict": (lambda: collections.OrderedDict(a=1, error="bad"), "error"),
    "error in a defaultdict": (lambda: collections.defaultdict(str, error="bad"), "error"),
    "error that begins with nothing": (lambda: {"error": "None of the servers answered"}, "error"),
    "not ok": (lambda: {"ok": False, "error": "channel_not_found"}, "error"),
    "JSON text": (lambda: json.dumps({"error": "no such file"}), "error"),
    "compact JSON text": (lambda: '{"error":"no such file"}', "error"),
    "JSON text with an object": (lambda: json.dumps({"error": {"message": "x"}, "id": 3}), "error"),
    "JSON text that says failed": (lambda: json.dumps({"status": "failed", "error": "x"}), "error"),
    "JSON text that is not ok": (lambda: json.dumps({"ok": False, "error": "x"}), "error"),
    "JSON text, no success": (lambda: json.dumps({"success": False, "error": "x"}), "error"),
    "JSON text of MCP": (lambda: json.dumps({"content": [], "isError": True}), "isError"),
    "MCP model": (lambda: CallToolResult(isError=True), "isError"),
    "MCP dict": (lambda: {"content": [], "isError": True}, "isError"),
    "tool_result block": (lambda: {"type": "tool_result", "is_error": True, "content": "no"}, "isError"),
    "CompletedProcess": (lambda: subprocess.CompletedProcess(["x"], 1), "returncode"),
    "killed process": (lambda: subprocess.CompletedProcess(["x"], -9), "returncode"),
    "Popen": (lambda: finished_process(3), "returncode"),
    "returncode in a dict": (lambda: {"returncode": 2, "stdout": ""}, "returncode"),
    "exit_code in a dict": (lambda: {"exit_code": 127}, "returncode"),
    "exitCode in a dict": (lambda: {"exitCode": 1, "output": ""}, "returncode"),
    "slots": (lambda: Slotted(1), "returncode"),
    "dataclass": (lambda: Outcome(exit_code=1), "returncode"),
    "named tuple": (lambda: Finished(1, ""), "returncode"),
    "namespace": (lambda: types.SimpleNamespace(returncode=1), "returncode"),
    "requests": (lambda: requests_response(404), "status_code"),
    "httpx": (lambda: httpx.Response(500), "status_code"),
    "status_code in a dict": (lambda: {"status_code": 429, "body": ""}, "status_code"),
    "HTTPStatus": (lambda: {"status_code": HTTPStatus.NOT_FOUND}, "status_code"),
    "mock of a response": (lambda: unittest.mock.Mock(status_code=502), "status_code"),
    "exception": (lambda: Boom("x"), "exception"),
    "urllib's HTTPError": (http_error, "exception"),
    "exception group": (lambda: ExceptionGroup("both", [Boom("x")]), "exception"),
    "object with an exception": (lambda: Outcome(error=Boom("x")), "error"),
}


class Hostile:
    """Every way of looking at it runs its code."""

    ran: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        Hostile.ran.append(name)
        raise RuntimeError(name)

    def __bool__(self) -> bool:
        return bool(self.__getattribute__("__bool__"))

    def __eq__(self, other: object) -> bool:
        return bool(self.__getattribute__("__eq__"))

    def __hash__(self) -> int:
        Hostile.ran.append("__hash__")
        return hash("error")

    @property
    def error(self) -> str:
        Hostile.ran.append("error")
        return "ran"


class HostileDict(dict[Any, Any]):
    """A dict whose methods run its own code."""

    def _run(self, *args: Any) -> Any:
        Hostile.ran.append("dict")
        raise RuntimeError

    get = __getitem__ = __contains__ = __iter__ = items = keys = values = __len__ = __bool__ = _run  # type: ignore[assignment]


class SameHash:
    """A key that sits where ``error`` would."""

    def __hash__(self) -> int:
        return hash("error")

    def __eq__(self, other: object) -> bool:
        Hostile.ran.append("key")
        return True


class FakeDict:
    """An object whose instance dict is a property."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        Hostile.ran.append("__dict__")
        return {"returncode": 1}


class FakeClass:
    """An object that claims to be an exception."""

    @property
    def __class__(self) -> Any:
        Hostile.ran.append("__class__")
        return Boom


class Lazy:
    @cached_property
    def status_code(self) -> int:
        Hostile.ran.append("lazy")
        return 500


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name not in ("mro", "__prepare__"):
            Hostile.ran.append(name)
        return super().__getattribute__(name)


class WithMeta(metaclass=Meta):
    pass


class EvilInt(int):
    def __ne__(self, other: object) -> bool:
        Hostile.ran.append("__ne__")
        return True

    __le__ = __ge__ = __lt__ = __gt__ = __eq__ = __ne__  # type: ignore[assignment]
    __hash__ = int.__hash__


class Colour(enum.Enum):
    RED = 500


INNOCENT: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "False": lambda: False,
    "number": lambda: 404,
    "text": lambda: "Error: no such file",
    "empty text": lambda: "",
    "list": lambda: [{"error": "one of many"}],
    "tuple": lambda: (1, "", "no such file"),
    "error None": lambda: {"error": None},
    "error empty": lambda: {"error": ""},
    "error blank": lambda: {"error": "  "},
    "error False": lambda: {"error": False, "data": 1},
    "error empty object": lambda: {"error": {}},
    "error empty list": lambda: {"error": []},
    "error zero": lambda: {"error": 0},
    "error as a measure": lambda: {"error": 0.04, "value": 3.2},
    "error says none": lambda: {"error": "None"},
    "error says no error": lambda: {"error": "no error"},
    "ok with a remark": lambda: {"ok": True, "error": "deprecated"},
    "errors of a linter": lambda: {"errors": ["E501 line too long"]},
    "no errors": lambda: {"errors": []},
    "error counts": lambda: {"error_count": 3, "errors": 3},
    "isError False": lambda: {"isError": False, "content": []},
    "isError as text": lambda: {"isError": "false"},
    "returncode zero": lambda: {"returncode": 0},
    "returncode None": lambda: {"returncode": None},
    "returncode True": lambda: {"returncode": True},
    "returncode text": lambda: {"returncode": "1"},
    "CompletedProcess": lambda: subprocess.CompletedProcess(["x"], 0),
    "MCP model": CallToolResult,
    "status_code 200": lambda: {"status_code": 200},
    "status_code 302": lambda: requests_response(302),
    "status_code 1000": lambda: {"status_code": 1000},
    "described link": lambda: {"url": "http://x", "status": 404},
    "status of an order": lambda: types.SimpleNamespace(status=500),
    "slots never set": lambda: Slotted.__new__(Slotted),
    "object with an error text": lambda: Outcome(error="stderr of a good run"),
    "exception class": lambda: Boom,
    "interrupt as a value": KeyboardInterrupt,
    "JSON list": lambda: '[{"error": "x"}]',
    "JSON of something else": lambda: json.dumps({"line": 3, "error": "x in a log"}),
    "JSON error None": lambda: '{"error": null}',
    "broken JSON": lambda: '{"error": "x"',
    "JSON after text": lambda: 'Result: {"error": "x"}',
    "a page that begins so": lambda: '{"error": "' + "x" * 20_000 + '"}',
    "deep JSON": lambda: '{"error":' + "[" * 5_000 + "]" * 5_000 + "}",
    "surrogates": lambda: '{"error": "\ud800"}',
    "beyond the first keys": lambda: {**{str(n): n for n in range(100)}, "error": "x"},
    "no text keys": lambda: {1: 2, (3, 4): 5, None: 6},
    "module": lambda: types.ModuleType("m"),
    "function": lambda: lambda: None,
    "generator": lambda: (n for n in [1]),
    "enum": lambda: Colour.RED,
    "hostile": Hostile,
    "hostile under error": lambda: {"error": Hostile()},
    "hostile dict": HostileDict,
    "key of the same hash": lambda: {SameHash(): "x"},
    "instance dict as a property": FakeDict,
    "class as a property": FakeClass,
    "lazy attribute": Lazy,
    "metaclass": WithMeta,
    "int that lies": lambda: {"returncode": EvilInt(0)},
    "proxy": lambda: wrapt.ObjectProxy(FakeDict()),
    "mock": unittest.mock.MagicMock,
}


class TestTable:
    """Issue: ``{"error": …}``, ``isError``, exit codes, HTTP statuses, exceptions as values."""

    def test_size(self) -> None:
        """There are at least thirty of either kind."""
        assert len(FAILING) >= 30 and len(INNOCENT) >= 30

    @pytest.mark.parametrize("name", FAILING)
    def test_failing(self, name: str) -> None:
        """A failure is named by the detector that knows it."""
        build, detector = FAILING[name]
        assert detect_failure(build()) == detector

    @pytest.mark.parametrize("name", INNOCENT)
    def test_innocent(self, name: str) -> None:
        """A look-alike is innocent, and no code of the value runs."""
        value = INNOCENT[name]()
        Hostile.ran.clear()
        found = detect_failure(value)
        assert Hostile.ran == [] and found is None

    def test_running_process(self) -> None:
        """A process that still runs has not failed."""
        process = subprocess.Popen([sys.executable], stdin=subprocess.PIPE)
        try:
            assert detect_failure(process) is None
        finally:
            process.communicate()

    def test_hostile_dict_that_fails(self) -> None:
        """What a dict's class overrides does not hide what the dict holds."""
        value = HostileDict()
        dict.__setitem__(value, "error", "bad")
        Hostile.ran.clear()
        assert detect_failure(value) == "error" and Hostile.ran == []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Give the address of a server that knows no page."""

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestResponses:
    """The real response objects of the common clients."""

    @pytest.mark.parametrize(("page", "expected"), [("/missing", "status_code"), ("/", None)])
    def test_clients(self, page: str, expected: str | None, address: str) -> None:
        """requests, httpx and http.client."""
        url = f"http://{address}{page}"
        connection = http.client.HTTPConnection(address)
        connection.request("GET", page)
        assert detect_failure(connection.getresponse()) == expected
        connection.close()
        with requests.Session() as session:
            session.trust_env = False
            assert detect_failure(session.get(url)) == expected
        with httpx.Client(trust_env=False) as client:
            assert detect_failure(client.get(url)) == expected

    @pytest.mark.parametrize(("page", "expected"), [("/missing", "status_code"), ("/", None)])
    def test_aiohttp(self, page: str, expected: str | None, address: str) -> None:
        """aiohttp, whose status is called ``status``."""

        async def main() -> str | None:
            async with aiohttp.ClientSession() as session, session.get(f"http://{address}{page}") as response:
                return detect_failure(response)

        assert asyncio.run(main()) == expected


class TestCost:
    def test_numbers_and_text(self) -> None:
        """A result that can be no failure costs about as much as calling any function."""

        def nothing(value: Any) -> None:
            return None

        for value in (5, None, "x" * 500, [1]):
            bare = min(timeit.repeat(lambda v=value: nothing(v), number=2_000, repeat=9))
            looked = min(timeit.repeat(lambda v=value: detect_failure(v), number=2_000, repeat=9))
            assert looked < 4 * bare, f"{value!r:.20}: {looked / 2_000 * 1e9:.0f} ns"

    def test_huge_values(self) -> None:
        """The size of a value does not matter."""
        for value in ({n: n for n in range(300_000)}, '{"error": "' + "x" * 10_000_000):
            assert min(timeit.repeat(lambda v=value: detect_failure(v), number=1, repeat=3)) < 0.001

    def test_types_that_need_no_look(self) -> None:
        """Text is none of them: it may be JSON."""
        assert str not in INNOCENT_TYPES and dict not in INNOCENT_TYPES and int in INNOCENT_TYPES


class TestRows:
    """An ``error`` row with ``returned``, and a result with status ``error``."""

    def test_tool(self, published: Published) -> None:
        """The row says which detector found it, and what the failure says of itself."""

        @traced_tool
        def search() -> dict[str, Any]:
            return {"error": {"message": "quota is used up", "code": 7}}

        with agent_scope("lead"):
            assert search() == {"error": {"message": "quota is used up", "code": 7}}
        (error,), (result,) = published("error"), published("tool_result")
        assert error.payload["returned"] == "error"
        assert error.payload["error"]["message"] == "quota is used up"
        assert (result.status, result.error_id) == ("error", error.error_id)
        assert result.error_type == error.error_type == "ReturnedFailure"
        assert result.payload["is_error"] is True and result.payload["output"]["error"]["code"] == 7

    @pytest.mark.parametrize("shape", ["function", "coroutine", "generator", "method", "class method"])
    def test_every_shape(self, shape: str, published: Published) -> None:
        """Each shape of tool is judged by what it returns; a generator by its return value."""
        bad = {"error": "bad"}

        def stream() -> Any:
            yield {"error": "an item is no result"}
            return bad

        async def fetch() -> Any:
            return bad

        class Kit:
            @traced_tool
            def method(self) -> Any:
                return bad

            @classmethod
            @traced_tool
            def of_class(cls) -> Any:
                return bad

        with agent_scope("lead"):
            if shape == "function":
                traced_tool(lambda: bad)()
            elif shape == "coroutine":
                asyncio.run(traced_tool(fetch)())
            elif shape == "generator":
                list(traced_tool(stream)())
            elif shape == "method":
                Kit().method()
            else:
                Kit.of_class()
        assert [result.status for result in published("tool_result")] == ["error"]
        assert [error.payload["returned"] for error in published("error")] == ["error"]

    def test_is_error_wins(self, published: Published) -> None:
        """``is_error=`` has the last word both ways."""

        @traced_tool(is_error=lambda value: False)
        def fine() -> dict[str, str]:
            return {"error": "expected"}

        @traced_tool(is_error=lambda value: value == "nothing found")
        def bad() -> str:
            return "nothing found"

        fine()
        bad()
        assert [result.status for result in published("tool_result")] == ["ok", "error"]
        assert [error.payload["returned"] for error in published("error")] == ["is_error"]

    def test_is_error_that_raises(self, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
        """An ``is_error`` that breaks leaves the call closed, judged by the detectors."""
        monkeypatch.setenv("AGENTTRACE_STRICT", "0")

        @traced_tool(is_error=lambda value: value["no such key"])
        def tool() -> dict[str, str]:
            return {"error": "bad"}

        assert tool() == {"error": "bad"}
        assert [result.status for result in published("tool_result")] == ["error"]

    def test_returned_exception(self, published: Published) -> None:
        """An exception that comes back as a value is told with its own type, frames and causes."""

        @traced_tool
        def careful() -> Exception:
            try:
                raise Boom("inside")
            except Boom as exc:
                return exc

        with agent_scope("lead"):
            careful()
        (error,), (result,) = published("error"), published("tool_result")
        assert (error.error_type, result.error_type) == ("Boom", "Boom")
        assert error.payload["error"]["message"] == "inside" and error.payload["error"]["frames"]
        assert error.payload["returned"] == "exception"

    def test_returned_exception_of_an_inner_tool(self, published: Published) -> None:
        """One failure has one row, also when the tool around it gives it back as its result."""

        @traced_tool
        def inner() -> None:
            raise Boom("inside")

        @traced_tool
        def outer() -> Any:
            try:
                return inner()
            except Boom as exc:
                return exc

        with agent_scope("lead"):
            outer()
        (error,) = published("error")
        assert [(end.status, end.error_id) for end in published("tool_result")] == [
            ("error", error.error_id)
        ] * 2

    def test_tool_scope(self, published: Published) -> None:
        """What a dispatcher sets as the result is judged too, unless it says itself what it is."""
        for is_error in (None, False, True):
            with tool_scope("t", arguments={}) as call:
                call.set_result({"isError": True, "content": "no"}, is_error=is_error)
        assert [result.status for result in published("tool_result")] == ["error", "ok", "error"]
        assert [error.payload["returned"] for error in published("error")] == ["isError", "set_result"]

    def test_agent(self, published: Published) -> None:
        """An agent's answer is what it says: only ``is_error=True`` makes it a failure."""
        with agent_scope("quiet") as agent:
            agent.set_output({"error": "the subject of the report"})
        with agent_scope("frank") as agent:
            agent.set_output(Boom("gave up"), is_error=True)
        assert [(end.status, end.error_type) for end in published("agent_end")] == [
            ("ok", None),
            ("error", "Boom"),
        ]

    def test_json_text(self, published: Published) -> None:
        """JSON text stays the text it is; the row holds it as the message."""

        @traced_tool
        def search() -> str:
            return '{"error": "no such index"}'

        search()
        (error,), (result,) = published("error"), published("tool_result")
        assert result.status == "error" and result.payload["output"] == '{"error": "no such index"}'
        assert "no such index" in error.payload["error"]["message"]


class TestDescription:
    """What a returned failure is known by in a list."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (subprocess.CompletedProcess(["ls"], 2, "", "no such file\n"), "returncode 2: no such file"),
            (subprocess.CompletedProcess(["ls"], -9, b"", b"\xffkilled"), "returncode -9: \ufffdkilled"),
            (subprocess.CompletedProcess(["ls"], 3), "returncode 3"),
        ],
    )
    def test_says_what_failed(self, value: object, text: str) -> None:
        """The code, and what was written to standard error."""
        assert describe_returned(value) == f"CompletedProcess: {text}"
