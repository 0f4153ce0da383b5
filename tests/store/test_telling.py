"""How an error's words are found again: every way of telling a model, and every accident."""

from __future__ import annotations

import json
import textwrap
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agenttrace.store.telling import build_failed
from agenttrace.store.told import read_told

LONG = (
    "could not read the configuration of the service 'billing': expected a table at [limits], found 3 "
    "at line 12, column 7 of /etc/billing/config.toml; the last version that was valid is of Tuesday, and "
    "the service keeps on using it until the file is put right; see the manual for what may stand there"
)
MESSAGES = {
    "plain": ValueError("no such file: a.txt"),
    "short": ValueError("x"),
    "number": ValueError("1"),
    "two words": LookupError("not found"),
    "key": KeyError("user_id"),
    "empty": TimeoutError(),
    "quotes": ValueError("""bad token "x" in 'y'"""),
    "two lines": ValueError("first line of the text\n    second line, indented"),
    "non-ASCII": ValueError("Datei nicht gefunden: größe.txt"),
    "Japanese": ValueError("設定ファイルが見つかりませんでした"),
    "emoji": ValueError("the job 🚀 did not start"),
    "backslashes": ValueError(r"cannot open C:\new\table.csv for reading"),
    "long": RuntimeError(LONG),
    "markup": ValueError("expected <a> & got <b>"),
}

Telling = Callable[[BaseException], Any]


def render_traceback(exc: BaseException) -> str:
    """Give what ``traceback.format_exc`` would."""
    try:
        raise exc
    except BaseException:
        return traceback.format_exc()


WAYS: dict[str, Telling] = {
    "type and text": lambda exc: f"{type(exc).__name__}: {exc}",
    "Error:": lambda exc: f"Error: {exc}",
    "the tool failed with": lambda exc: f"Tool failed with {exc!r}",
    "repr": repr,
    "a traceback": render_traceback,
    "its last line": lambda exc: (
        render_traceback(exc).strip().rsplit("\n", 1)[-1]
        if "\n" not in str(exc)
        else f"{type(exc).__name__}: {exc}"
    ),
    "an object": lambda exc: {"error": {"type": type(exc).__name__, "message": str(exc)}},
    "JSON": lambda exc: json.dumps({"error": str(exc), "type": type(exc).__name__}),
    "JSON twice": lambda exc: json.dumps({"body": json.dumps({"error": f"{type(exc).__name__}: {exc}"})}),
    "JSON as it is": lambda exc: json.dumps({"error": f"{type(exc).__name__}: {exc}"}, ensure_ascii=False),
    "Markdown": lambda exc: f"The call **failed**:\n```\n{type(exc).__name__}: {exc}\n```\nTry again.",
    "markup": lambda exc: f"<error type='{type(exc).__name__}'>{escape(str(exc))}</error>",
    "one line": lambda exc: " ".join(f"{type(exc).__name__}: {exc}".split()),
    "upper case": lambda exc: f"ERROR: {type(exc).__name__}: {exc}".upper(),
    "wrapped": lambda exc: textwrap.fill(f"{type(exc).__name__}: {exc}", 30),
    "shortened": lambda exc: textwrap.shorten(f"{type(exc).__name__}: {exc}", 150),
    "200 characters": lambda exc: f"{type(exc).__name__}: {exc}"[:200],
    "500 characters": lambda exc: f"Error: {exc}"[:500],
}
FRAMES: dict[str, Callable[[Any], Any]] = {
    "tool message": lambda text: {"role": "tool", "tool_call_id": "call_9", "content": text},
    "block": lambda text: {"role": "user", "content": [{"type": "tool_result", "content": text}]},
    "blocks in a block": lambda text: {
        "role": "user",
        "content": [{"type": "tool_result", "content": [{"type": "text", "text": text}]}],
    },
    "output": lambda text: {"type": "function_call_output", "call_id": "c", "output": text},
    "prompt": lambda text: f"Go on. {text}" if isinstance(text, str) else text,
}


def is_told(exc: BaseException | dict[str, Any], item: Any, **given: Any) -> bool:
    """Ask as the store does: first the raw payload, then its items."""
    error = exc if isinstance(exc, dict) else {"type": type(exc).__name__, "message": str(exc)}
    failed = build_failed(error, None, given.pop("call_id", None), given.pop("outputs", ()))
    raw = json.dumps({"input": [item]}, ensure_ascii=False).lower()
    told = read_told(json.loads(raw if given.pop("lower", False) else json.dumps(item)), **given)
    return failed.may_be_in(lambda piece: piece in raw) and failed.is_told_by(told)


class TestTold:
    """What tells of a failure."""

    @pytest.mark.parametrize("frame", FRAMES)
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("name", MESSAGES)
    def test_is_found(self, name: str, way: str, frame: str) -> None:
        """Every message is found in every form that programs give it, in every kind of message."""
        exc = MESSAGES[name]
        assert is_told(exc, FRAMES[frame](WAYS[way](exc)))

    @pytest.mark.parametrize(
        "output",
        [
            "Error executing tool fail",
            {"content": [{"type": "text", "text": "Error executing tool fail"}], "isError": True},
            [{"type": "text", "text": "Error executing tool fail"}],
        ],
    )
    @pytest.mark.parametrize("frame", FRAMES)
    def test_is_found_in_a_framework_s_words(self, frame: str, output: Any) -> None:
        """A failure whose own words stayed with the server is told by what its call handed on."""
        exc = LookupError("no such word: xyzzy")
        item = FRAMES[frame]("Error executing tool fail")
        assert is_told(exc, item, outputs=[output])
        assert not is_told(exc, item)
        assert not is_told(exc, FRAMES[frame]("Error executing tool find"), outputs=[output])

    @pytest.mark.parametrize("name", [name for name in MESSAGES if name != "empty"])
    def test_is_found_as_the_whole_result_of_a_tool(self, name: str) -> None:
        """``content: str(e)`` tells, however short the text is."""
        assert is_told(MESSAGES[name], {"role": "tool", "content": str(MESSAGES[name])})

    @pytest.mark.parametrize(
        "item",
        [
            {"role": "tool", "content": f"…{LONG[-90:]}"},
            {"role": "tool", "content": f"{LONG[:60]}..."},
            {"role": "tool", "content": LONG[:63]},
            {"role": "tool", "content": json.dumps({"error": LONG[:80]})},
            {"role": "user", "content": f"{LONG[:60]} […] and so on"},
        ],
    )
    def test_is_found_in_part(self, item: Any) -> None:
        """The beginning is enough where the text was cut, and so is the end."""
        assert is_told(MESSAGES["long"], item)

    def test_is_found_by_one_of_its_lines(self) -> None:
        """Of a text of many lines, the first or the last may be all that is passed on."""
        text = "the compiler gave up on main.c\n  int x = ;\n          ^\nexpected an expression before this"
        for line in (text.splitlines()[0], text.splitlines()[-1]):
            assert is_told(ValueError(text), {"role": "user", "content": f"It says: {line}"})

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            (
                "login with [redacted:token] was refused by a.example",
                "login with sk-12345 was refused by a.example",
            ),
            (
                "login with sk-12345 was refused by a.example",
                "login with [redacted:token] was refused by a.example",
            ),
            ("cannot use the key [redacted:api_key]", "Error: cannot use the key [redacted:api_key]"),
            (
                "the server at db.example refused password=hunter2",
                "the server at db.example refused [redacted:x]",
            ),
            (
                "[redacted:url] answered with 502 bad gateway",
                "https://a:b@c.example/ answered with 502 bad gateway",
            ),
        ],
    )
    def test_is_found_where_a_part_was_redacted(self, message: str, text: str) -> None:
        """A redacted part, on either side, stands for anything."""
        assert is_told(ValueError(message), {"role": "tool", "content": text})

    def test_is_found_in_a_list(self) -> None:
        """A line of its own in a text that speaks of failures."""
        text = "Errors:\n- bad row 1\n- bad row 2\n- bad row 3\n- bad row 4\n- bad row 5"
        for item in (
            {"role": "user", "content": text},
            {"role": "user", "content": json.dumps({"log": text})},
        ):
            assert is_told(ValueError("bad row 5"), item)
            assert not is_told(ValueError("bad row 6"), item)

    @pytest.mark.parametrize(
        "text", ["Tool error: ConnectError", "It failed with a ConnectError", "raised ConnectError."]
    )
    def test_is_found_by_its_type(self, text: str) -> None:
        """A type that stands where an error's text would is enough."""
        error = {"type": "ConnectError", "message": "[Errno 111] refused by 10.0.0.7"}
        assert is_told(error, {"role": "tool", "content": text})
        assert not is_told(error, {"role": "tool", "content": "except ConnectError: pass"})

    def test_is_found_through_its_leaves_and_causes(self) -> None:
        """A group is told when one of its leaves is, and an error when its cause is."""
        leaf = {"type": "OSError", "message": "no route to host a.example"}
        group = {"type": "ExceptionGroup", "message": "unhandled errors (2 sub-exceptions)", "leaves": [leaf]}
        wrapped = {"type": "RuntimeError", "message": "step 3", "cause": leaf}
        for error in (group, wrapped):
            assert is_told(error, {"role": "user", "content": "Error: no route to host a.example"})

    def test_is_found_by_its_call(self) -> None:
        """A result marked as an error tells of the failure of its call, whatever it says."""
        block = {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "is_error": True,
            "content": "It did not work.",
        }
        assert is_told(ValueError("x"), {"role": "user", "content": [block]}, call_id="toolu_1")
        assert not is_told(ValueError("x"), {"role": "user", "content": [block]}, call_id="toolu_2")
        answer = {"role": "tool", "tool_call_id": "call_1", "content": "The tool failed."}
        assert is_told(ValueError("x"), answer, call_id="call_1")
        for extra in ({}, {"is_error": False}, {"error": None}, {"errors": []}):
            good = {"role": "tool", "tool_call_id": "call_1", "content": "no output", **extra}
            assert not is_told(ValueError("x"), good, call_id="call_1")

    def test_is_found_in_an_answer(self) -> None:
        """An agent whose answer is the text itself tells; one letter does not."""
        assert is_told(ValueError("timed out"), "timed out", is_answer=True)
        assert not is_told(ValueError("x"), "x", is_answer=True)


class TestAccident:
    """What only looks as if it told of a failure."""

    @pytest.mark.parametrize(
        ("exc", "item"),
        [
            (ValueError("1"), {"role": "user", "content": "give me 1 of them"}),
            (ValueError("x"), {"role": "user", "content": "solve for x"}),
            (ValueError("x"), {"role": "user", "content": "x"}),
            (LookupError("not found"), {"role": "user", "content": "If it is not found, say so."}),
            (LookupError("not found"), {"role": "assistant", "content": "The file was not found yesterday."}),
            (KeyError("name"), {"role": "user", "content": [{"type": "text", "text": "What is your name?"}]}),
            (ValueError("a"), {"role": "tool", "content": "a banana"}),
            (ValueError("1"), {"role": "tool", "content": "items: 1, 2, 3"}),
            (ValueError("10"), {"role": "tool", "content": "Error: 100 of them"}),
            (TimeoutError(), {"role": "user", "content": "Go on."}),
            (ValueError("no such file: a.txt"), {"role": "tool", "content": "no such file: b.txt"}),
            (ValueError("no such file: a.txt"), {"role": "user", "content": "read the file a.txt"}),
            (
                ValueError("GET https://a.example/items/17 answered 500"),
                {"role": "tool", "content": "GET https://a.example/items/18 answered 500"},
            ),
            (
                ValueError("could not fetch the page number 12"),
                {"role": "tool", "content": "could not fetch the page number 1"},
            ),
            (
                ValueError('could not open the table named "orders"'),
                {"role": "tool", "content": 'could not open the table named "customers"'},
            ),
        ],
    )
    def test_is_not_taken_for_telling(self, exc: BaseException, item: Any) -> None:
        """A short text by itself, a part of a word, or the same words about another thing."""
        assert not is_told(exc, item)


class TestLaws:
    """What holds for any text."""

    @given(st.text(), st.integers(0, 3))
    @example("\\", 1)
    @example("[redacted:", 2)
    @example("\ud83d", 1)
    def test_escaping_makes_no_difference(self, message: str, depth: int) -> None:
        """A message told with its type is found, however often the text was put into JSON."""
        text = f"KeyError: {message}"
        for _ in range(depth):
            text = json.dumps({"e": text})
        assert is_told({"type": "KeyError", "message": message}, {"role": "tool", "content": text})

    @given(
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=20), st.text()
    )
    def test_nothing_raises(self, item: Any, message: str) -> None:
        """Any payload and any error can be compared."""
        for error in ({"type": "E", "message": message}, message, item, {"message": item, "leaves": item}):
            told = read_told(item)
            failed = build_failed(error, "E", "c")
            assert failed.may_be_in(lambda piece: piece in message) in (True, False)
            assert failed.is_told_by(told) in (True, False)

    def test_is_bounded(self) -> None:
        """A message and an input of megabytes take milliseconds, not minutes."""
        words = "a b " * 500_000
        assert is_told({"type": "E", "message": words}, {"role": "tool", "content": words})
        assert not is_told({"type": "E", "message": words}, {"role": "user", "content": "a b a c " * 500_000})
