"""A chat that resends its history: every request comes back as it was sent, and lies there once."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import agenttrace
from agenttrace import TraceStore, agent_scope, conversation_scope, model_turn
from agenttrace.capture import history
from agenttrace.store import EventSink
from agenttrace.store.blobs import unpack
from agenttrace.store.references import References
from tests.reading import open_store, query, run_python

WORDS = [f"{chr(97 + number % 26)}word{number}" for number in range(3_000)]


def prose(draw: random.Random, length: int) -> str:
    """Draw words of about *length* characters."""
    found: list[str] = []
    while length > 0:
        found.append(draw.choice(WORDS))
        length -= len(found[-1]) + 1
    return " ".join(found)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Record to a database of this test."""
    path = tmp_path / "traces.db"
    agenttrace.configure(path, install=(), on_full="block")
    yield path
    agenttrace.shutdown()


def said(database: Path, kind: str = "model_call", name: str = "input") -> list[Any]:
    """Give what stands in the payloads of a kind, whole, in the order of time."""
    agenttrace.shutdown()
    found = []
    with TraceStore(database) as store:
        readers: dict[str, Callable[[Any], Any]] = {}
        for (conversation_id,) in query(database, "SELECT id FROM conversations ORDER BY created_ms"):
            readers[conversation_id] = store.payload_reader(conversation_id)
            found += [event for event in store.events(conversation_id) if event.kind == kind]
        return [
            readers[event.conversation_id](event).get(name) for event in sorted(found, key=lambda e: e.id)
        ]


def stored_bytes(database: Path) -> int:
    """Give the size of the database after a checkpoint."""
    agenttrace.shutdown()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(database)


def ask(messages: Any, answer: Any = None, **given: Any) -> None:
    """Ask a model, and wait until it is stored: a real one takes longer than that."""
    with model_turn("m", input=messages, **given) as turn:
        if answer is not None:
            turn.set_output(answer)
    agenttrace.flush()


class TestAChat:
    @pytest.mark.slow
    @pytest.mark.parametrize("form", ["text", "blocks", "message"])
    def test_of_two_hundred_turns_lies_there_once(self, database: Path, form: str) -> None:
        """The whole file takes at most 1.3 times the bytes of the messages that differ."""
        draw = random.Random(4)
        messages: list[dict[str, Any]] = []
        with agent_scope("chat"):
            for number in range(200):
                messages.append({"role": "user", "content": prose(draw, draw.randrange(3_000, 9_000))})
                text = prose(draw, draw.randrange(1_500, 6_000))
                content: Any = [{"type": "text", "text": text}] if form == "blocks" else text
                message = {"role": "assistant", "content": content}
                answer = message if form == "message" else content
                with model_turn("gpt-4o", provider="openai", input=messages) as turn:
                    turn.set_output(answer, finish_reason="stop", response_id=f"r{number}")
                    turn.set_usage(input_tokens=100, output_tokens=10)
                agenttrace.flush()
                messages.append(message)
        unique = sum(len(json.dumps(message)) for message in messages)
        size = stored_bytes(database)
        print(f"{size} bytes for {unique}: {size / unique:.2f}")
        assert size <= 1.3 * unique
        inputs = said(database)
        assert [len(one) for one in inputs] == list(range(1, 400, 2))
        assert inputs[-1] == messages[:-1]
        assert inputs[57] == messages[:115]

    def test_is_recorded_once_in_whatever_agent_it_goes_on(self, database: Path) -> None:
        """A server that opens a scope for each request resends the same chat."""
        messages: list[Any] = []
        with conversation_scope("talk"):
            for number in range(20):
                messages.append({"role": "user", "content": f"{number} " + "question " * 100})
                with agent_scope("request"):
                    ask(messages)
        (total,) = query(
            database, "SELECT sum(length(payload)) FROM trajectory_events WHERE kind = 'model_call'"
        )[0]
        assert total < 1.3 * len(json.dumps(messages))
        assert said(database)[-1] == messages

    def test_moves_its_marks(self, database: Path) -> None:
        """A cache mark wanders to the newest message: the texts that lose it are not recorded again."""
        texts = [prose(random.Random(number), 1_000) for number in range(30)]
        sent: list[Any] = []
        with agent_scope("chat"):
            for count in range(1, len(texts) + 1):
                blocks = [{"type": "text", "text": text} for text in texts[:count]]
                for block in blocks[-2:]:
                    block["cache_control"] = {"type": "ephemeral"}  # type: ignore[assignment]
                sent.append([{"role": "user", "content": [block]} for block in blocks])
                ask(sent[-1])
        (total,) = query(
            database, "SELECT sum(length(payload)) FROM trajectory_events WHERE kind = 'model_call'"
        )[0]
        assert total < 1.8 * sum(map(len, texts)), "each text once, and places for two of each request"
        assert said(database) == sent

    def test_is_compacted(self, database: Path) -> None:
        """A summary in the place of the oldest messages: what stays has its texts by reference."""
        texts = [prose(random.Random(number), 2_000) for number in range(20)]
        whole = [{"role": "user", "content": text} for text in texts]
        compacted = [{"role": "user", "content": "Summary: nothing much."}, *whole[10:]]
        with agent_scope("chat"):
            ask(whole)
            ask(compacted)
        (_, second) = query(
            database, "SELECT length(payload) FROM trajectory_events WHERE kind = 'model_call' ORDER BY id"
        )
        assert second[0] < 2_000
        assert said(database) == [whole, compacted]

    def test_brings_its_tools_each_time(self, database: Path) -> None:
        """Tools and the system prompt are long, and the same in every request."""
        tools = [{"name": f"tool{number}", "description": "does things " * 20} for number in range(20)]
        params = {"tools": tools, "system": "You are helpful. " * 40, "temperature": 0.5}
        with agent_scope("chat"):
            for number in range(10):
                ask([{"role": "user", "content": str(number)}], params={**params, "seed": number})
        payloads = query(
            database, "SELECT payload FROM trajectory_events WHERE kind = 'model_call' ORDER BY id"
        )
        assert all(len(payload) < 500 for (payload,) in payloads[1:])
        assert said(database, name="params") == [{**params, "seed": number} for number in range(10)]


class TestAnyChat:
    @pytest.mark.parametrize("seed", range(12))
    def test_comes_back_as_it_was_sent(self, database: Path, seed: int) -> None:
        """Messages are appended, changed, dropped, moved, and chats take turns: nothing is mixed up."""
        print(f"seed {seed}")
        draw = random.Random(seed)
        chats: list[list[Any]] = [[] for _ in range(draw.randrange(1, 5))]
        sent: list[Any] = []
        outputs: list[Any] = []
        with conversation_scope(), agent_scope("root"):
            for _ in range(60):
                chat = draw.choice(chats)
                self.change(draw, chat, outputs)
                given = draw.choice([list, list, tuple])(chat)
                wrapped = {"messages": list(chat), "system": "be brief"} if draw.random() < 0.2 else given
                sent.append(json.loads(json.dumps(wrapped)))
                outputs.append(draw.choice([prose(draw, 400), [{"type": "text", "text": prose(draw, 300)}]]))
                if draw.random() < 0.2:
                    with agent_scope("child"):
                        ask(wrapped, outputs[-1])
                else:
                    ask(wrapped, outputs[-1])
                if draw.random() < 0.05:
                    agenttrace.shutdown()  # another record begins, which can name nothing of the first
        assert said(database) == sent
        assert said(database, "model_turn", "output") == outputs

    def change(self, draw: random.Random, chat: list[Any], outputs: list[Any]) -> None:
        """Do to a chat what programs do."""
        move = draw.random()
        if move < 0.05:
            chat.clear()
        elif move < 0.15 and len(chat) > 1:
            del chat[: draw.randrange(len(chat))]
        elif move < 0.25 and chat:
            draw.choice(chat)["mark"] = draw.random()
        elif move < 0.3:
            draw.shuffle(chat)
        for _ in range(draw.randrange(1, 4)):
            content: Any = prose(draw, draw.choice([5, 300, 900, 6_000]))
            if outputs and draw.random() < 0.4:
                content = draw.choice(outputs)
            chat.append({"role": draw.choice(["user", "assistant"]), "content": content, "n/o~te": content})


class TestWhatIsTooLong:
    @pytest.mark.parametrize("kept_bytes", [0, 65_536])
    def test_keeps_the_newest_messages(self, tmp_path: Path, kept_bytes: int) -> None:
        """Of more than there is room for, the oldest are missing, and a mark says how many."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=(), max_blob_bytes=kept_bytes)
        messages = [{"role": "user", "content": f"message {number} " + "x" * 700} for number in range(400)]
        with agent_scope("chat"):
            ask(messages)
            messages.append({"role": "user", "content": "and one more"})
            ask(messages)
        first, second = said(database)
        missing, *kept = first
        assert missing == {"$agenttrace": "cut", "items": 400 - len(kept)}
        assert kept[-1]["content"].startswith("message 399 ") or "message 399 " in json.dumps(kept[-1])
        assert len(json.dumps(kept)) > (kept_bytes or 4_096) / 3
        assert second[-1] == messages[-1], "the new one is there, and nothing was recorded twice"
        assert second[:-1] == first

    def test_leaves_the_question_readable_beside_a_huge_result(self, database: Path) -> None:
        """One message of a megabyte takes no more than half of the room."""
        messages = [
            {"role": "user", "content": "What is in it?"},
            {"role": "tool", "content": "noise " * 200_000},
        ]
        with agent_scope("chat"):
            ask(messages)
        ((question, result),) = said(database)
        assert question == messages[0]
        assert result["content"]["$agenttrace"] == "cut"
        assert result["content"]["head"].startswith("noise noise")

    def test_shows_the_newest_in_the_row(self, database: Path) -> None:
        """What lies beside its row has a head there, which is its end."""
        messages = [{"role": "user", "content": f"{number} " + "word " * 300} for number in range(40)]
        with agent_scope("chat"):
            ask(messages)
        ((payload,),) = query(database, "SELECT payload FROM trajectory_events WHERE kind = 'model_call'")
        shown = json.loads(payload)["input"]
        assert len(payload) <= 512
        assert "39 word" in json.dumps(shown[-1])
        assert said(database) == [messages]

    @pytest.mark.parametrize(("name", "limit"), [("_MESSAGES_LIMIT", 100), ("_TIME_LIMIT_S", -1.0)])
    def test_looks_at_the_newest_where_there_is_no_time_for_all(
        self, database: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: float
    ) -> None:
        """A list that is too long, or takes too long to look at, is recorded by its newest messages."""
        monkeypatch.setattr(history, name, limit)
        messages = [{"role": "user", "content": f"message {number} " * 50} for number in range(150)]
        with agent_scope("chat"):
            ask(messages)
            ask(messages)
        newest = [{"$agenttrace": "cut", "items": 134}, *messages[-16:]]
        assert said(database) == [newest, newest]


class TestSecrets:
    KEY = "sk-ant-api03-" + "Ab3" * 31 + "AA"

    def test_stay_out_of_what_is_named(self, database: Path) -> None:
        """A message with a key is redacted where it stands, and so wherever it is named."""
        messages: list[Any] = [{"role": "user", "content": f"use {self.KEY} " + "and so on " * 80}]
        with agent_scope("chat"):
            for number in range(3):
                ask(messages)
                messages.append({"role": "user", "content": f"{number}"})
        first, *rest = said(database)
        assert "[redacted:" in first[0]["content"]
        assert all(one[0] == first[0] for one in rest)
        assert self.KEY.encode() not in b"".join(
            file.read_bytes() for file in database.parent.glob("traces.db*")
        )

    def test_stay_out_of_what_lies_compressed(self, database: Path) -> None:
        """A body is redacted before it is compressed, where a look at the file would not find them."""
        with agent_scope("chat"):
            ask([{"role": "user", "content": f"use {self.KEY} " + "and so on " * 800}], f"{self.KEY} " * 200)
        agenttrace.shutdown()
        bodies = [unpack(bytes(body)) for (body,) in query(database, "SELECT body FROM payload_blobs")]
        assert len(bodies) == 2
        assert all(b"[redacted:" in body and self.KEY.encode() not in body for body in bodies)

    def test_patterns_leave_the_references_alone(self, tmp_path: Path) -> None:
        """A pattern of the user's that fits a span's id would cut a chat off from its beginning."""
        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=(), redact=[r"[0-9a-f]{16}"])
        messages: list[Any] = [{"role": "user", "content": "0123456789abcdef " + "word " * 200}]
        with agent_scope("chat"):
            for number in range(3):
                ask(messages)
                messages.append({"role": "user", "content": str(number)})
        assert [len(one) for one in said(database)] == [1, 2, 3]
        assert "0123456789abcdef" not in json.dumps(said(database))


class TestWhoeverStores:
    @pytest.mark.shared_ring
    def test_recovers_a_chat_of_a_killed_process(self, tmp_path: Path) -> None:
        """References are made where the program runs, so another process stores what they need."""
        database = tmp_path / "traces.db"
        code = """
import agenttrace, os, signal, sys
messages = []
with agenttrace.agent_scope("chat"):
    for number in range(30):
        messages.append({"role": "user", "content": f"{number} " + "word " * 200})
        with agenttrace.model_turn("m", input=messages) as turn:
            turn.set_output("answer " * 100 + str(number))
    os.kill(os.getpid(), signal.SIGKILL)
"""
        done = run_python(code, database, AGENTTRACE_FLUSH_INTERVAL_S="60")
        assert done.returncode == -9
        open_store(database).close()
        messages = [{"role": "user", "content": f"{number} " + "word " * 200} for number in range(30)]
        assert said(database) == [messages[: count + 1] for count in range(30)]

    def test_has_a_child_begin_anew(self, database: Path) -> None:
        """A forked child may outlive what its parent stores: its first request is whole."""
        messages: list[Any] = [{"role": "user", "content": "word " * 300}]
        with conversation_scope("talk"), agent_scope("chat"):
            ask(messages)
            child = os.fork()
            if child == 0:
                try:
                    messages.append({"role": "user", "content": "from the child"})
                    ask(messages)
                    agenttrace.shutdown()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            messages.append({"role": "user", "content": "from the parent"})
            ask(messages)
        by_text = {json.dumps(one[-1]): one for one in said(database)}
        assert len(by_text) == 3
        for one in by_text.values():
            assert one[0] == messages[0]
        rows = query(
            database,
            "SELECT instr(payload, '\"ref\"') > 0 FROM trajectory_events WHERE kind = 'model_call'"
            " AND instr(payload, 'from the') > 0 ORDER BY instr(payload, 'from the child') > 0",
        )
        assert rows == [(1,), (0,)]

    def test_begins_anew_where_the_database_was_removed(self, database: Path) -> None:
        """What named the file that went would lead nowhere."""
        messages: list[Any] = [{"role": "user", "content": "word " * 300}]
        with agent_scope("chat"):
            ask(messages, "answer " * 100)
            for file in database.parent.glob("traces.db*"):
                file.unlink()
            messages.append({"role": "user", "content": "meanwhile"})
            ask(messages)  # the writer finds the new file as it stores this
            messages.append({"role": "assistant", "content": "answer " * 100})
            ask(messages)
        assert said(database)[-1] == messages

    def test_names_nothing_that_was_dropped(self, tmp_path: Path) -> None:
        """An event for which the ring had no room is counted, and no later one builds on it."""
        from agenttrace.capture.context import PIPE

        database = tmp_path / "traces.db"
        agenttrace.configure(database, install=())
        messages: list[Any] = [{"role": "user", "content": "word " * 300}]
        with agent_scope("chat"):
            publish = PIPE.publish
            dropped: list[bytes] = []

            def lossy(body: bytes) -> Any:
                if b'"model_call"' in body and not dropped:
                    dropped.append(body)
                    return False
                return publish(body)

            PIPE.publish = lossy
            try:
                for number in range(3):
                    ask(messages)
                    messages.append({"role": "user", "content": str(number)})
            finally:
                PIPE.publish = publish
        assert dropped
        assert said(database) == [messages[:2], messages[:3]]


class TestForgetting:
    def test_keeps_the_older_turns_that_a_younger_one_names(self, database: Path) -> None:
        """By age everything else goes: what was said then was sent again later."""
        messages: list[Any] = []
        with conversation_scope("talk"):
            with agent_scope("chat"):
                for number in range(4):
                    messages.append(
                        {"role": "user", "content": f"{number} " + prose(random.Random(number), 900)}
                    )
                    answer = f"answer {number} " + prose(random.Random(50 + number), 400)
                    ask(messages, answer)
                    messages.append({"role": "assistant", "content": answer})
            with agent_scope("other"):
                ask([{"role": "user", "content": "nobody resends this " * 40}])
        agenttrace.shutdown()
        with closing(sqlite3.connect(database)) as connection:
            newest = "SELECT span_id FROM trajectory_events WHERE kind = 'model_call' AND agent_name = 'chat'"
            connection.execute(
                "UPDATE trajectory_events SET ts_ms = ts_ms - 864000000"
                f" WHERE span_id IS NOT ({newest} ORDER BY id DESC LIMIT 1)"
            )
            connection.execute("UPDATE agent_rollups SET first_ts_ms = first_ts_ms - 864000000")
            connection.commit()
        with TraceStore(database) as store:
            deleted = store.cleanup(retention_days=5)
        kinds = query(database, "SELECT kind, count(*) FROM trajectory_events GROUP BY 1 ORDER BY 1")
        assert deleted == 8, "two agents' starts, models and ends, and the turn that nobody names"
        assert kinds == [("model_call", 4), ("model_turn", 4)]
        assert said(database)[-1] == messages[:-1]

    def test_takes_a_conversation_with_all_that_it_named(self, database: Path) -> None:
        """References never lead out of a conversation, so nothing else depends on it."""
        for name in ("goes", "stays"):
            with conversation_scope(name), agent_scope("chat"):
                messages: list[Any] = []
                for number in range(5):
                    messages.append({"role": "user", "content": f"{number} " + "shared word " * 500})
                    ask(messages)
        agenttrace.shutdown()
        with TraceStore(database) as store:
            store.delete("goes")
            assert store.events("goes") == []
        assert said(database)[-1] == messages


class TestWhoWasTold:
    @pytest.mark.parametrize("is_told", [True, False])
    def test_is_found_in_what_is_new(self, database: Path, is_told: bool) -> None:
        """A failure's text in the next request tells of it, though most of the request is a reference."""
        messages: list[Any] = [{"role": "user", "content": "word " * 400}]

        @agenttrace.traced_tool
        def look() -> None:
            raise ValueError("the shelf labelled ocelot-17 is empty")

        with agent_scope("chat"):
            ask(messages)
            try:
                look()
            except ValueError as exc:
                text = str(exc) if is_told else "nothing to see"
                messages.append({"role": "tool", "content": f"Error: {text}"})
            messages.append({"role": "user", "content": "go on"})
            ask(messages)
        agenttrace.shutdown()
        ((payload,),) = query(
            database,
            "SELECT payload FROM trajectory_events WHERE kind = 'model_call' ORDER BY id DESC LIMIT 1",
        )
        assert '"ref"' in payload
        assert query(database, "SELECT fate FROM failures") == [("reported" if is_told else "swallowed",)]

    def test_is_not_found_in_what_was_there_before(self, database: Path) -> None:
        """A text that a reference brings along was sent before the failure."""
        text = "the shelf labelled ocelot-17 is empty"
        messages: list[Any] = [{"role": "user", "content": f"Error: ValueError: {text}. " + "word " * 400}]

        @agenttrace.traced_tool
        def look() -> None:
            raise ValueError(text)

        with agent_scope("chat"):
            ask(messages)
            try:
                look()
            except ValueError:
                messages.append({"role": "user", "content": "go on"})
            ask(messages)
        agenttrace.shutdown()
        assert query(database, "SELECT fate FROM failures") == [("swallowed",)]


class TestShowFull:
    def test_prints_the_whole_request(self, database: Path) -> None:
        """And says without --full that parts stand elsewhere."""
        messages: list[Any] = [{"role": "user", "content": "the very first question " * 40}]
        with agent_scope("chat"):
            ask(messages)
            messages.append({"role": "user", "content": "and another"})
            ask(messages)
        agenttrace.shutdown()
        (event_id,) = query(database, "SELECT max(id) FROM trajectory_events WHERE kind = 'model_call'")[0]
        shown = self.show(database, event_id)
        assert "the very first question" not in shown.stdout
        assert f"agenttrace show --event {event_id} --full" in shown.stderr
        whole = json.loads(self.show(database, event_id, "--full", "--json").stdout)
        assert whole["event"]["payload"]["input"] == messages
        assert "the very first question" in self.show(database, event_id, "--full").stdout

    def show(self, database: Path, event_id: int, *more: str) -> Any:
        """Run the command."""
        command = [
            sys.executable,
            "-m",
            "agenttrace",
            "show",
            "--event",
            str(event_id),
            "--db",
            str(database),
        ]
        return subprocess.run([*command, *more], capture_output=True, text=True, check=True)

    def test_finds_words_in_what_lies_compressed(self, database: Path) -> None:
        """A search looks through the bodies beside the rows."""
        with agent_scope("chat"):
            ask([{"role": "user", "content": "a needle in " + "hay " * 2_000}])
        agenttrace.shutdown()
        with TraceStore(database) as store:
            from agenttrace import TraceViewer

            found = TraceViewer(store).search("needle").items
        assert [event.kind for event in found] == ["model_call"]


class TestADamagedDatabase:
    def references(self, payloads: dict[str, Any]) -> References:
        """Store model calls with these payloads under these spans, and read them."""
        sink = EventSink(":memory:")
        store = TraceStore(sink)
        for span_id, payload in payloads.items():
            text = json.dumps(payload)
            store.record_many(
                [
                    {
                        "kind": "model_call",
                        "payload_json": text,
                        "conversation_id": "c",
                        "agent_id": "a",
                        "span_id": span_id,
                    }
                ]
            )
        return References(sink.database, "c")

    def test_a_reference_that_leads_nowhere_stays(self) -> None:
        """It is seen that something was there, and how much."""
        ref = {"$agenttrace": "ref", "span_id": "f" * 16, "pointer": "/input", "items": 3}
        value = {"$agenttrace": "ref", "span_id": "f" * 16, "pointer": "/params/tools"}
        payload = {"input": [ref, "new"], "params": {"tools": value}}
        assert self.references({}).read_whole(payload) == payload

    def test_what_is_missing_amid_a_chain_is_marked_where_it_was(self) -> None:
        """What can be read is read."""
        gone = {"$agenttrace": "ref", "span_id": "0" * 16, "pointer": "/input", "items": 2}
        middle = {"input": [gone, "third", "fourth"]}
        ref = {"$agenttrace": "ref", "span_id": "1" * 16, "pointer": "/input", "items": 3}
        found = self.references({"1" * 16: middle}).read_whole({"input": [ref, "new"]})
        assert found == {"input": [gone, "third", "new"]}

    @pytest.mark.parametrize("inner", [lambda ref: [ref, ref], lambda ref: [[ref], [ref]]])
    def test_circles_and_bombs_end(self, inner: Callable[[Any], Any]) -> None:
        """What names itself, or doubles with each step, is read within bounds."""
        payloads: dict[str, Any] = {}
        for number in range(60):
            ref = {
                "$agenttrace": "ref",
                "span_id": f"{(number - 1) % 60:016x}",
                "pointer": "/input",
                "items": 9,
            }
            payloads[f"{number:016x}"] = {"input": inner(ref)}
        references = self.references(payloads)
        assert isinstance(references.read_whole(payloads[f"{59:016x}"])["input"], list)

    @pytest.mark.parametrize(
        "mark",
        [
            {"span_id": 7, "pointer": "/input", "items": 1},
            {"span_id": "1" * 16, "pointer": 3, "items": 1},
            {"span_id": "1" * 16, "pointer": "/input/first", "items": 1},
            {"span_id": "1" * 16, "pointer": "/input/9", "items": 1},
            {"span_id": "1" * 16, "items": 1},
            {"span_id": "1" * 16, "pointer": "/input", "items": -1},
            {"span_id": "1" * 16, "pointer": "/input", "items": "all"},
            {"span_id": "1" * 16, "pointer": "/nothing"},
            {"span_id": "1" * 16, "pointer": "/input", "kind": ["model_call"]},
        ],
    )
    def test_nonsense_stays_as_it_is(self, mark: dict[str, Any]) -> None:
        """Whoever wrote it."""
        payload = {"input": [{"$agenttrace": "ref", **mark}, "new"]}
        assert self.references({"1" * 16: {"input": ["a"]}}).read_whole(payload)["input"][-1] == "new"

    def test_a_body_that_swells_is_not_unpacked(self) -> None:
        """More than a body may hold is none of ours."""
        import zlib

        bomb = zlib.compress(b"\0" * (65 * 1024 * 1024))
        assert unpack(bomb) == bomb
        assert unpack(b"\x78 no stream") == b"\x78 no stream"
        assert unpack(zlib.compress(b"{}")) == b"{}"
        assert unpack(b"{}") == b"{}"
