"""Rules are data, are built from what users give, and take out what they name."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from agenttrace.encode.redact import Rules
from agenttrace.errors import ConfigError
from agenttrace.events import MARK

_RULES = Rules.default()
_KEY = "gh" + "p_" + "A1b2" * 9
_HIDDEN = {MARK: "redacted", "rule": "password"}


def _redact(value: Any, rules: Rules = _RULES) -> Any:
    return orjson.loads(rules.redact_payload(orjson.dumps(value)))


class TestRedactPayload:
    def test_gives_back_what_holds_no_secret(self) -> None:
        """The same object, also when a look inside was needed."""
        for payload in (b'{"a":1}', b'{"password":null,"token":5}', b'{"a":"the token is here"}'):
            assert _RULES.redact_payload(payload) is payload

    def test_hides_the_whole_value_under_a_telling_name(self) -> None:
        """Texts go; numbers, booleans, null and empty texts stay."""
        assert _redact({"password": "x", "user": "bob"}) == {"password": _HIDDEN, "user": "bob"}
        assert _redact({"password": ["a", 1, None, ""]}) == {"password": [_HIDDEN, 1, None, ""]}
        assert _redact({"password": {"a": {"b": "c"}, "n": 1}}) == {"password": {"a": {"b": _HIDDEN}, "n": 1}}

    def test_hides_a_cut_value_under_a_telling_name(self) -> None:
        """The head of a value that was cut before goes too."""
        assert _redact({"password": {MARK: "cut", "bytes": 9, "head": "hun"}}) == {"password": _HIDDEN}

    def test_looks_into_the_head_of_a_mark(self) -> None:
        """A mark's head is a text like any other."""
        mark = {MARK: "cut", "bytes": 900, "head": f"use {_KEY} now"}
        assert _redact({"a": mark})["a"]["head"] == "use [redacted:github] now"

    def test_looks_at_the_users_keys_beside_a_mark(self) -> None:
        """A dict that was cut keeps keys of the user's own, whatever they are called."""
        value = {"type": _KEY, "rule": _KEY, "sha256": _KEY, "password": "x", MARK: "cut", "items": 7}
        redacted = _RULES.redact_payload(orjson.dumps({"a": value}))
        assert _KEY.encode() not in redacted
        assert orjson.loads(redacted)["a"]["password"] == _HIDDEN

    def test_keeps_a_json_schema(self) -> None:
        """A schema speaks about a password; only its default and examples may be one."""
        schema = {"type": "string", "description": "The password", "minLength": 12}
        assert _redact({"properties": {"password": schema}}) == {"properties": {"password": schema}}
        assert (
            _redact({"properties": {"password": {**schema, "default": "x"}}})["properties"]["password"][
                "default"
            ]
            == _HIDDEN
        )

    def test_redacts_keys_without_losing_entries(self) -> None:
        """Two secrets as keys stay two entries."""
        other = "gh" + "p_" + "B3c4" * 9
        assert _redact({_KEY: 1, other: 2}) == {"[redacted:github]": 1, "[redacted:github]~2": 2}

    @pytest.mark.parametrize(
        "value",
        [
            {"name": "DB_PASSWORD", "value": "x1"},
            {"value": "x1", "key": "api_key"},
            {"args": ["mysql", "--password", "x1"]},
            {"headers": [["Authorization", "Basic x1=="]]},
            {"headers": [["cookie", "sid=x1"]]},
            {"env": [["DB_PASSWORD", "x1x1x1"]]},
        ],
    )
    def test_knows_names_that_stand_beside_their_value(self, value: Any) -> None:
        """Pairs, options and name/value objects tell as well as keys do."""
        assert b"x1" not in _RULES.redact_payload(orjson.dumps(value))

    def test_follows_a_private_key_through_a_list_of_lines(self) -> None:
        """A file read as lines is one secret."""
        lines = ["-----BEGIN PRIVATE " + "KEY-----", "MIIEabc", "-----END PRIVATE " + "KEY-----", "done"]
        assert [type(line) for line in _redact({"lines": lines})["lines"]] == [dict, dict, dict, str]

    @pytest.mark.parametrize("payload", [b'{"password":', b'\xff{"token":"x"}', b'{"token": 01}', b"token="])
    def test_never_lets_through_what_it_cannot_read(self, payload: bytes) -> None:
        """A payload that is no JSON becomes a mark instead of leaking."""
        assert orjson.loads(_RULES.redact_payload(payload)) == {MARK: "redacted", "rule": "failure"}


class TestRedactText:
    def test_gives_back_what_holds_no_secret(self) -> None:
        """The same object."""
        text = "an ordinary agent name"
        assert _RULES.redact_text(text) is text

    def test_reads_an_argv_in_json(self) -> None:
        """The command line of a process is a JSON list in a text column."""
        argv = orjson.dumps(["run.py", "--api-key", "x7Kq2p", "--password=hunter2", _KEY]).decode()
        assert orjson.loads(_RULES.redact_text(argv)) == [
            "run.py",
            "--api-key",
            "[redacted:apikey]",
            "--password=[redacted:password]",
            "[redacted:github]",
        ]

    def test_survives_lone_surrogates(self) -> None:
        """A text that is no UTF-8 is looked through all the same."""
        assert _RULES.redact_text(f"\ud800 {_KEY}") == "\ud800 [redacted:github]"

    def test_takes_overlapping_matches_out_together(self) -> None:
        """One rule does not hide another's match: nothing of either stays."""
        rules = Rules.build({"patterns": ["password=hun", "er2 tail"]})
        assert "hunter2" not in rules.redact_text("x password=hunter2 tail y")
        assert "tail" not in rules.redact_text("x password=hunter2 tail y")


class TestBuild:
    @pytest.mark.parametrize("extra", [None, True])
    def test_of_nothing_gives_the_default_rules(self, extra: Any) -> None:
        """Redaction is on unless it is switched off."""
        assert _redact({"password": "x"}, Rules.build(extra)) == {"password": _HIDDEN}

    def test_of_false_switches_off(self) -> None:
        """Nothing at all is touched."""
        payload = orjson.dumps({"password": "x", "a": _KEY})
        assert Rules.build(False).redact_payload(payload) is payload
        assert Rules.build(False).redact_text(_KEY) is _KEY

    def test_of_a_list_tells_names_from_patterns(self) -> None:
        """A word is a key name, anything else a regular expression; the default rules stay."""
        rules = Rules.build(["employee_id", r"ACME-\d{4}"])
        assert _redact({"employeeId": 17, "a": "see ACME-1234", "password": "x"}, rules) == {
            "employeeId": {MARK: "redacted", "rule": "employeeid"},
            "a": "see [redacted:custom-1]",
            "password": _HIDDEN,
        }

    def test_takes_numbers_under_a_name_of_the_users_own(self) -> None:
        """Whoever names a key wants its numbers gone too; true, false and null say nothing."""
        rules = Rules.build({"keys": ["ssn"]})
        assert _redact({"ssn": 123, "customerSsn": [4.5], "ssn_known": True}, rules) == {
            "ssn": {MARK: "redacted", "rule": "ssn"},
            "customerSsn": [{MARK: "redacted", "rule": "ssn"}],
            "ssn_known": True,
        }

    def test_can_leave_the_default_rules_out(self) -> None:
        """Only the user's own hold then."""
        rules = Rules.build({"keys": ["ssn"], "default": False})
        assert _redact({"password": "x", "ssn": "1"}, rules)["password"] == "x"

    def test_names_patterns_and_keeps_their_flags(self) -> None:
        """A compiled pattern and a named one are understood."""
        rules = Rules.build(
            {"patterns": [re.compile("acme-[0-9]+", re.IGNORECASE), {"name": "badge", "pattern": "B#[0-9]+"}]}
        )
        assert _redact({"a": "see ACME-1 and B#2"}, rules) == {
            "a": "see [redacted:custom-1] and [redacted:badge]"
        }

    @pytest.mark.parametrize(
        ("extra", "said"),
        [
            (["(unclosed"], re.escape("(unclosed")),
            ({"patterns": [5]}, "pattern 1"),
            ({"keys": [5]}, "keys"),
            ({"keyz": []}, "keyz"),
            (17, "int"),
            ({"patterns": "abc"}, "lists"),
        ],
    )
    def test_of_something_else_says_what_is_wrong(self, extra: Any, said: str) -> None:
        """A bad setting is named."""
        with pytest.raises(ConfigError, match=said):
            Rules.build(extra)

    @pytest.mark.parametrize("key", ["código", "пароль", "秘密", "x", "A.B c"])
    def test_finds_names_in_any_script(self, key: str) -> None:
        """A name beyond ASCII is found in any case."""
        rules = Rules.build({"keys": [key]})
        assert b"hunter2" not in rules.redact_payload(orjson.dumps({key.upper(): "hunter2"}))
        assert "hunter2" not in rules.redact_text(f"{key}: hunter2")


class TestToData:
    def test_comes_back_through_json(self) -> None:
        """The rules that stand in a ring's header are the rules that a recoverer uses."""
        rules = Rules.build({"keys": ["ssn"], "patterns": [re.compile("x-[0-9]+", re.IGNORECASE)]})
        again = Rules.from_data(orjson.loads(orjson.dumps(rules.to_data())))
        payload = orjson.dumps({"ssn": "1", "a": "X-17", "password": "x"})
        assert again.to_data() == rules.to_data()
        assert again.redact_payload(payload) == rules.redact_payload(payload)

    def test_of_rules_that_are_off_stays_off(self) -> None:
        """A recoverer does not redact more than the writer would have."""
        assert Rules.from_data(Rules.build(False).to_data()).enabled is False

    def test_refuses_something_else(self) -> None:
        """A recoverer that finds rubbish is told so, and can fall back to the default rules."""
        with pytest.raises(ConfigError):
            Rules.from_data(17)


class TestAUsersPattern:
    def test_is_found_wherever_it_stands_in_a_long_text(self) -> None:
        """Windows overlap, so that no match is lost between two."""
        rules = Rules.build([r"ACME-\d{4}"])
        for at in (0, 8_185, 8_190, 20_000):
            text = "." * at + "ACME-1234" + "." * 9_000
            assert "ACME-1234" not in rules.redact_text(text)

    def test_is_held_against_numbers_too(self) -> None:
        """A card number may be a number in JSON."""
        rules = Rules.build([r"\b4\d{15}\b"])
        assert _redact({"card": 4111111111111111, "n": 4, "f": 0.5}, rules) == {
            "card": {MARK: "redacted", "rule": "custom-1"},
            "n": 4,
            "f": 0.5,
        }

    def test_that_matches_nothing_takes_nothing(self) -> None:
        """An empty match is no match."""
        assert Rules.build(["q*"]).redact_text("some text") == "some text"
