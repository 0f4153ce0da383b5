"""The tools without the protocol: whatever is asked, the answer is bounded, and an error says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace import TraceStore
from agenttrace.errors import ConfigError
from agenttrace.mcp_server.answers import Answer
from agenttrace.mcp_server.parameters import build_schema, check_arguments
from agenttrace.mcp_server.tools import TOOLS, Failed, Tools
from agenttrace.query.tokens import estimate_tokens
from tests.cli.conftest import write_story
from tests.query.factory import Story, audit
from tests.query.test_for_llm import CANARY, HOSTILE, big_story, own_words

_HIDDEN = ("</", "<|", "```", "\x1b", "\x07", "\u202e", "\u2028", "\u200b", "\U000e0041", "\ufe01")
HOSTILE_ID = HOSTILE.replace("\x00", "")
_CURSOR = re.compile(r'cursor="([\w-]+)"')


def ask(tools: Tools, name: str, **arguments: Any) -> Answer:
    """Call a tool, and hold the answer to its limit."""
    answer = tools.call(name, arguments)
    limit = int(arguments.get("max_tokens") or _default_limit(name))
    assert estimate_tokens(answer.text) <= limit, answer.text
    if answer.data is not None:
        assert estimate_tokens(json.dumps(answer.data, ensure_ascii=False)) <= limit, answer.data
        assert set(TOOLS[name].keys) <= set(answer.data)
    return answer


def _default_limit(name: str) -> int:
    return next(int(each.default or 0) for each in TOOLS[name].parameters if each.name == "max_tokens")


def _pages(tools: Tools, name: str, **arguments: Any) -> Iterator[Answer]:
    cursor = None
    for _ in range(500):
        answer = ask(tools, name, cursor=cursor, **arguments)
        yield answer
        found = _CURSOR.search(answer.text)
        if found is None:
            return
        cursor = found[1]
    raise AssertionError("the pages do not end")


@pytest.fixture
def tools(clean_environment: Path) -> Tools:
    """Give the tools on a database with the story ``audit``, and a run before it that went well."""
    path = clean_environment / "traces.db"
    good = Story("600d")
    lead = good.start("lead", given="audit the json package")
    good.call(lead, "list_files", {"folder": "."}, output=["a.py"])
    good.end(lead, output="all is fine")
    write_story(path, good)
    write_story(path, audit(start_ms=1_767_225_700_000))
    return Tools(str(path))


class TestAnswers:
    """What each tool says of a small database."""

    def test_why(self, tools: Tools) -> None:
        """Without a run named it is the newest that failed; cause, proof and data are there."""
        answer = ask(tools, "why")
        assert "first cause: swallowed_error" in answer.text and "## What it did" not in answer.text
        assert answer.data is not None
        assert answer.data["conversation"] == "c0ffee00" and answer.data["findings_left_out"] == 0
        first = answer.data["findings"][0]
        assert (first["kind"], first["caught_at"]) == ("swallowed_error", "/app/audit.py:88")
        assert f'show(event="{first["events"][0]}")' in answer.text
        assert "nothing wrong was found" in ask(tools, "why", conversation="600d").text

    def test_show(self, tools: Tools) -> None:
        """A run is an outline, an agent a part of it, an event a whole."""
        assert "<== the first cause" in ask(tools, "show").text
        assert "## What agent reader did" in ask(tools, "show", conversation="c0ff", agent="reader").text
        event = ask(tools, "show", event="3").text
        assert event.startswith("# Event #3\n") and "payload, JSON | {" in event
        assert ask(tools, "show", event=3).text == ask(tools, "show", event="#3").text == event

    def test_timeline(self, tools: Tools) -> None:
        """The pages of a timeline give every event once, in the order of time."""
        rows: list[int] = []
        for page in _pages(tools, "show", timeline=True, max_tokens=500):
            rows += map(int, re.findall(r"^- #(\d+) ", page.text, re.MULTILINE))
        with TraceStore(tools._database) as store:
            assert rows == [event.id for event in store.events("c0ffee00")]
        errors = ask(tools, "show", timeline=True, kind="error").text
        assert len(re.findall(r"^- #", errors, re.MULTILINE)) == 4

    def test_list(self, tools: Tools) -> None:
        """Runs come newest first, and those of a status alone."""
        data = ask(tools, "list").data
        assert data is not None and [row["id"] for row in data["conversations"]] == ["c0ffee00", "600d"]
        data = ask(tools, "list", status="completed").data
        assert data is not None and [row["id"] for row in data["conversations"]] == ["600d"]

    def test_search(self, tools: Tools) -> None:
        """Hits come with their rows; a narrower question has fewer; none is said."""
        data = ask(tools, "search", query="syntax").data
        assert data is not None and data["hits"][0]["conversation"] == "c0ffee00"
        data = ask(tools, "search", query="json", conversation="600d").data
        assert data is not None and {hit["conversation"] for hit in data["hits"]} == {"600d"}
        assert "nothing fits" in ask(tools, "search", query="zebra").text

    def test_search_pages(self, tools: Tools) -> None:
        """The pages of a search give every hit once."""
        found: list[int] = []
        for page in _pages(tools, "search", query="module*", limit=3):
            assert page.data is not None
            found += [hit["event"] for hit in page.data["hits"]]
        whole = ask(tools, "search", query="module*", limit=100).data
        assert whole is not None and found == [hit["event"] for hit in whole["hits"]]
        assert len(found) > 9

    def test_diff(self, tools: Tools) -> None:
        """Two runs part somewhere, and that comes first; one run is the same as itself."""
        answer = ask(tools, "diff", a="600d", b="c0ffee00")
        assert answer.data is not None and answer.data["is_same"] is False
        assert "they part here:" in answer.text
        answer = ask(tools, "diff", a="last", b="last")
        assert answer.data is not None and answer.data["is_same"] is True

    def test_ps(self, clean_environment: Path, tools: Tools) -> None:
        """What is open is listed; the pages give everything once."""
        assert "nothing is open" in ask(tools, "ps").text
        story = Story("09e2", process_id="bbbbbbbb00000002")
        lead = story.start("lead")
        for number in range(40):
            story.open_call(lead, f"wait_{number}", {})
        write_story(clean_environment / "traces.db", story, ended=False)
        names: list[str] = []
        for page in _pages(tools, "ps", max_tokens=600):
            assert page.data is not None
            names += [row["name"] for row in page.data["operations"]]
        assert sorted(names) == sorted(["lead", *(f"wait_{number}" for number in range(40))])

    def test_long_event(self, clean_environment: Path, tools: Tools) -> None:
        """A payload of any size is read page by page, and comes out as it was recorded."""
        story = Story("1096")
        lead = story.start("lead")
        words = " ".join(f'w{number} "quoted" \\ ü' for number in range(3_000))
        story.call(lead, "read", {"path": "x"}, output=words)
        story.end(lead)
        write_story(clean_environment / "traces.db", story)
        with TraceStore(tools._database) as store:
            row = next(each for each in store.events("1096") if each.kind == "tool_result")
        pieces = []
        for page in _pages(tools, "show", event=str(row.id), max_tokens=5_000):
            pieces.append(page.text.partition("payload, JSON")[2].partition(" | ")[2].partition("\n")[0])
        assert len(pieces) > 3
        assert json.loads("".join(pieces))["output"] == words

    @pytest.mark.slow
    def test_huge_run(self, clean_environment: Path, tools: Tools) -> None:
        """A run of 10,000 events keeps to the limit in every tool, and its cause in why and show."""
        write_story(clean_environment / "traces.db", big_story(10_000))
        for limit in (500, 2_000, 20_000):
            for name in ("why", "show"):
                text = ask(tools, name, conversation="b1600000", max_tokens=limit).text
                assert "caught at | /app/work.py:4242\n" in text
            ask(tools, "show", conversation="b1600000", timeline=True, max_tokens=limit)
            ask(tools, "search", query="page", limit=100, max_tokens=limit)
            ask(tools, "diff", a="c0ffee00", b="b1600000", max_tokens=limit)


class TestRefusals:
    """A question that makes no sense is answered with one that would."""

    @pytest.mark.parametrize(
        ("name", "arguments", "advice"),
        [
            ("shw", {}, "Did you mean show?"),
            ("delete", {}, "There are: why, show"),
            ("show", {"conversation": "c0fe"}, "Nearest: c0ffee00"),
            ("show", {"conversation": "last~9"}, "the oldest is last~1"),
            ("show", {"conversaton": "last"}, "did you mean conversation?"),
            ("show", {"agent": "raeder"}, "there is reader"),
            ("show", {"event": "99999"}, "Row ids go from 1"),
            ("show", {"max_tokens": 10}, "give 500 or more"),
            ("show", {"max_tokens": 10**9}, "give 50,000 or less"),
            ("show", {"max_tokens": "many"}, "give a whole number"),
            ("show", {"timeline": "perhaps"}, "give true or false"),
            ("show", {"timeline": True, "cursor": "x"}, "next_cursor"),
            ("show", {"cursor": "x"}, "timeline=true"),
            ("show", {"conversation": ["last"]}, "give a text"),
            ("show", {"conversation": "x" * 10_000}, "at most 2,000 characters"),
            ("list", {"status": "bad"}, "give one of running, completed"),
            ("search", {}, "query is missing"),
            ("search", {"query": "???"}, "give a word"),
            ("search", {"query": "x", "limit": 0}, "give 1 or more"),
            ("ps", {"cursor": "?"}, "next_cursor"),
        ],
    )
    def test_advice(self, tools: Tools, name: str, arguments: dict[str, Any], advice: str) -> None:
        """The message says what is right, and nothing hostile passes through it."""
        with pytest.raises(Failed) as caught:
            tools.call(name, arguments)
        assert advice in str(caught.value)
        assert estimate_tokens(str(caught.value)) < 400

    def test_no_database(self, clean_environment: Path) -> None:
        """Where there is no database the answer says how one is made; once it is there it is read."""
        path = clean_environment / "later.db"
        tools = Tools(str(path))
        for name in TOOLS:
            with pytest.raises(Failed, match="AGENTTRACE=1"):
                tools.call(name, {"query": "x"} if name == "search" else {})
        assert not path.exists()
        write_story(path, audit())
        assert "c0ffee00" in ask(tools, "list").text

    def test_other_file(self, clean_environment: Path) -> None:
        """A file that is no database of ours is named, and left as it is."""
        path = clean_environment / "notes.db"
        path.write_text("my notes\n" * 100, encoding="utf-8")
        with pytest.raises(Failed, match=r"notes\.db"):
            Tools(str(path)).call("list", {})
        assert path.read_text(encoding="utf-8") == "my notes\n" * 100

    @given(
        st.sampled_from(sorted(TOOLS)),
        st.dictionaries(
            st.sampled_from(["conversation", "agent", "event", "limit", "cursor", "max_tokens", "x\n"])
            | st.text(),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
        ),
    )
    def test_anything(self, name: str, given_: dict[str, Any]) -> None:
        """Arguments of any kind are either made right or refused with a reason."""
        parameters = TOOLS[name].parameters
        try:
            checked = check_arguments(parameters, given_)
        except ConfigError as exc:
            assert str(exc) and "\n" not in str(exc)
            return
        assert set(checked) == {each.name for each in parameters}
        schema = build_schema(parameters)
        for each in parameters:
            value = checked[each.name]
            kinds = {"string": str, "integer": int, "boolean": bool}
            assert value is None or isinstance(value, kinds[schema["properties"][each.name]["type"]])


class TestHostile:
    """What was recorded is data in every answer."""

    @pytest.mark.parametrize("limit", [500, 3_000])
    def test_everywhere(self, clean_environment: Path, limit: int) -> None:
        """Text written to be obeyed stays behind a bar or in quotation marks, and nothing hidden passes."""
        path = clean_environment / "traces.db"
        story = Story(HOSTILE_ID)
        story.conversation(HOSTILE)
        lead = story.start(HOSTILE, given=HOSTILE)
        story.turn(lead, HOSTILE, number=1)
        place = {"file": f"/{HOSTILE}.py", "line": 7, "function": HOSTILE}
        story.call(lead, HOSTILE, {HOSTILE: HOSTILE}, error=(HOSTILE, HOSTILE), handled_at=place)
        story.add(f"kind.{HOSTILE}", lead, {"x": HOSTILE})
        story.end(lead, HOSTILE, output=HOSTILE)
        story.open_call(lead, HOSTILE, {HOSTILE: HOSTILE})
        write_story(path, audit())
        write_story(path, story, ended=False)
        tools = Tools(str(path))
        calls: list[tuple[str, dict[str, Any]]] = [
            ("why", {"conversation": HOSTILE_ID}),
            ("show", {"conversation": HOSTILE_ID}),
            ("show", {"conversation": HOSTILE_ID, "timeline": True}),
            ("list", {}),
            ("ps", {}),
            ("search", {"query": "ignore previous"}),
            ("diff", {"a": "c0ffee00", "b": HOSTILE_ID}),
        ]
        with TraceStore(path) as store:
            calls += [("show", {"event": event.id}) for event in store.events(HOSTILE_ID)]
        for name, arguments in calls:
            answer = ask(tools, name, **arguments, max_tokens=limit)
            assert CANARY in answer.text, name
            assert CANARY not in own_words(answer.text), answer.text
            for text in (answer.text, *_texts(answer.data)):
                assert not [hidden for hidden in _HIDDEN if hidden in text], name
            assert all(line.isprintable() for line in answer.text.split("\n")), name

    def test_refusal(self, tools: Tools) -> None:
        """A hostile argument comes back quoted and short."""
        for arguments in ({"conversation": HOSTILE_ID}, {"agent": HOSTILE}, {HOSTILE: 1}):
            with pytest.raises(Failed) as caught:
                tools.call("show", arguments)
            assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
