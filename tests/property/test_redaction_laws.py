"""Laws of redaction: no secret survives anywhere, nothing innocent is touched."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttrace.encode.codec import encode
from agenttrace.encode.redact import Rules
from agenttrace.encode.redact_gate import Gate
from agenttrace.encode.redact_names import Names
from agenttrace.encode.redact_text import TextRedactor
from agenttrace.encode.redact_walk import redact_value
from agenttrace.encode.truncate import cut_payload
from tests.property.innocent_values import INNOCENT
from tests.property.secret_formats import BARE_FORMATS, CONTEXT_FORMATS, Secret, make_secret

_RULES = Rules.default()
_NAMES = Names()
_TEXT = TextRedactor(_NAMES, (), default=True)
_GATE = Gate(_NAMES, (), default=True)
_ALL = [*BARE_FORMATS, *CONTEXT_FORMATS]

secrets = st.builds(make_secret, st.sampled_from(_ALL), st.integers(0, 10**9))

PLACES: dict[str, Callable[[str], Any]] = {
    "value": lambda s: {"output": s},
    "key": lambda s: {"arguments": {s: 1}},
    "deep": lambda s: {"arguments": {"a": [{"b": [[{"c": s}]]}]}},
    "prose": lambda s: {"output": f"I found this: {s} and went on."},
    "lines": lambda s: {"output": f"first\n{s}\nlast"},
    "bracketed": lambda s: {"output": f"({s})"},
    "JSON in JSON": lambda s: {"output": orjson.dumps({"x": [s]}).decode()},
    "JSON in JSON in JSON": lambda s: {"output": orjson.dumps({"x": orjson.dumps([s]).decode()}).decode()},
    "escaped lines": lambda s: {"output": orjson.dumps(f"first\n{s}\nlast").decode()},
    "error": lambda s: {"error": {"type": "ValueError", "message": f"bad value {s}", "frames": [s]}},
    "bytes": lambda s: {"output": s.encode()},
    "exception": lambda s: {"output": RuntimeError(f"failed with {s}")},
    "object": lambda s: {"output": _Holder(s)},
    "beyond ASCII": lambda s: {"output": f"żółć 秘密 🔑 {s} łódź"},
    "twice": lambda s: {"output": f"{s} {s}", "again": s},
}


class _Holder:
    def __init__(self, text: str) -> None:
        self.text = text
        self.password = text


class TestASecret:
    @given(secrets, st.sampled_from(sorted(PLACES)))
    @settings(max_examples=1500, deadline=None)
    @pytest.mark.slow
    def test_survives_nowhere(self, secret: Secret, place: str) -> None:
        """No format of secret is left in a payload, wherever it stands (S0.6)."""
        redacted = _RULES.redact_payload(encode(PLACES[place](secret.text), 100_000))
        orjson.loads(redacted)
        assert not secret.left_in(redacted)

    @pytest.mark.parametrize("name", _ALL)
    def test_of_each_format_is_taken_from_a_text_column(self, name: str) -> None:
        """redact_text finds what redact_payload finds."""
        for seed in range(20):
            secret = make_secret(name, seed)
            assert not secret.left_in(_RULES.redact_text(f"see {secret.text} there").encode())

    @given(secrets, st.integers(0, 300), st.integers(0, 400), st.booleans())
    @settings(max_examples=1500, deadline=None)
    @pytest.mark.slow
    def test_does_not_survive_the_callers_cut(
        self, secret: Secret, before: int, room: int, nested: bool
    ) -> None:
        """A cut through a secret leaves no half of it: the whole run goes, the rest is redacted."""
        text = "word " * (before // 5) + "x" * (before % 5) + " " + secret.text + " tail" * 200
        value = {"output": orjson.dumps({"x": text}).decode() if nested else text, "n": 1}
        redacted = _RULES.redact_payload(encode(value, 80 + before + room))
        orjson.loads(redacted)
        assert not secret.left_in(redacted)

    @given(secrets, st.integers(256, 700))
    @settings(max_examples=300, deadline=None)
    def test_does_not_survive_the_row_cut(self, secret: Secret, limit_bytes: int) -> None:
        """Redacting first and cutting to the row afterwards leaves nothing either."""
        payload = _RULES.redact_payload(
            encode({"output": [" ".join([secret.text] * 3), "pad " * 300]}, 100_000)
        )
        assert not secret.left_in(cut_payload(payload, limit_bytes, None))

    @given(st.integers(0, 10**6), st.sampled_from(sorted(PLACES)))
    @settings(max_examples=300, deadline=None)
    def test_of_the_users_own_pattern_goes_too(self, number: int, place: str) -> None:
        """A custom rule holds wherever the default ones do, and through its data."""
        rules = Rules.from_data(orjson.loads(orjson.dumps(Rules.build([r"EMP-\d{7}-[A-Z]{3}"]).to_data())))
        secret = f"EMP-{number:07d}-XYZ"
        redacted = rules.redact_payload(encode(PLACES[place](secret), 100_000))
        assert secret.encode() not in redacted

    @given(secrets)
    @settings(max_examples=300, deadline=None)
    def test_is_not_quoted_by_its_mark(self, secret: Secret) -> None:
        """What stands in its place says the rule and nothing else; a second pass changes nothing."""
        once = _RULES.redact_payload(encode({"output": secret.text}, 100_000))
        assert b"redacted" in once
        assert _RULES.redact_payload(once) == once


class TestAnInnocentValue:
    @pytest.mark.parametrize("value", INNOCENT, ids=lambda value: repr(value)[:40])
    def test_comes_through_byte_by_byte(self, value: Any) -> None:
        """Counts, ids, digests, prose, program text and places are no secrets."""
        for wrapped in (
            {"output": value},
            {"arguments": {"value": value}},
            {"output": [value, value]},
            {"is_error": False, "output": {"items": [{"x": value}]}},
        ):
            payload = encode(wrapped, 1_000_000)
            assert _RULES.redact_payload(payload) is payload

    def test_is_one_of_many(self) -> None:
        """The table above is a real sample."""
        assert len(INNOCENT) >= 200

    @given(st.lists(st.sampled_from(INNOCENT), min_size=2, max_size=6))
    @settings(deadline=None)
    def test_stays_innocent_in_company(self, values: list[Any]) -> None:
        """Values do not become secrets by standing beside each other."""
        payload = encode({"output": values}, 1_000_000)
        assert _RULES.redact_payload(payload) is payload


_pieces = st.one_of(
    st.sampled_from(
        [
            *(
                "password",
                "token",
                "api_key",
                "apiKey",
                "secret",
                "Authorization",
                "Cookie",
                "pwd",
                "key",
                " ",
            ),
            *(
                "=",
                ":",
                ": ",
                '"',
                "'",
                '\\"',
                "\n",
                "\\n",
                "--",
                "://",
                "@",
                "Bearer ",
                "Basic ",
                "-u ",
                "curl ",
            ),
            *("sk-", "ghp_", "AKIA", "eyJ", ".", "-", "_", "hunter2", "x7Kq2pLm", "A1b2" * 10, "0" * 40, "/"),
            *(
                "-----BEGIN PRIVATE KEY-----",
                "%3D",
                "{",
                "}",
                "[",
                "]",
                "<",
                ">",
                ",",
                "é",
                "秘密",
                "hooks.slack.com",
            ),
        ]
    ),
    st.text(max_size=6),
)
_texts = st.lists(_pieces, max_size=14).map("".join)


_name_words = st.sampled_from(
    [
        *(
            "api",
            "Api",
            "access",
            "secret",
            "Secret",
            "token",
            "Token",
            "tokens",
            "key",
            "Key",
            "KEY",
            "pass",
            "Pass",
        ),
        *(
            "password",
            "Password",
            "PASSWORD",
            "db",
            "smtp",
            "pw",
            "pwd",
            "cookie",
            "set",
            "connection",
            "String",
        ),
        *(
            "string",
            "value",
            "array",
            "info",
            "id",
            "max",
            "2",
            "x",
            "client",
            "credentials",
            "auth",
            "authorization",
        ),
    ]
)
_names = st.lists(
    st.tuples(
        _name_words, st.sampled_from(["", "", "_", "-", ".", " ", "__", ":", "/", "@", "\n", '"', "é", "---"])
    ),
    min_size=1,
    max_size=5,
).map(lambda parts: "".join(word + gap for word, gap in parts))


class TestTheGate:
    @given(_names)
    @settings(max_examples=2000, deadline=None)
    @pytest.mark.slow
    def test_opens_for_every_telling_name(self, name: str) -> None:
        """A key that tells is seen in the raw bytes, however it is written."""
        if _NAMES.match(name):
            assert _GATE.opens(orjson.dumps({name: "x"}))

    @given(_texts)
    @settings(max_examples=2000, deadline=None)
    @pytest.mark.slow
    def test_opens_for_whatever_would_be_redacted(self, text: str) -> None:
        """The look at the raw bytes never hides what the parsed payload shows."""
        value = {"output": text, "nested": {text: [text]}}
        payload = encode(value, 1_000_000)
        parsed = orjson.loads(payload)
        if redact_value(parsed, _TEXT) is not parsed:
            assert _GATE.opens(payload)

    @given(_texts)
    @settings(max_examples=500, deadline=None)
    def test_and_the_rules_never_raise(self, text: str) -> None:
        """Any text comes back as text, and any payload as valid JSON, without the failure mark."""
        assert "[redacted:failure]" not in _RULES.redact_text(text)
        redacted = _RULES.redact_payload(encode({"output": text}, 1_000_000))
        assert b'"failure"' not in redacted
        orjson.loads(redacted)


class TestADigest:
    def test_of_random_hex_and_base64_is_innocent(self) -> None:
        """No rule takes bare random text: ten thousand digests and blobs pass."""
        draw = random.Random(17)
        for _ in range(2_000):
            blob = draw.randbytes(draw.randrange(8, 60))
            for text in (blob.hex(), blob.hex().upper(), re.sub(r"\W", "", str(blob))[:8]):
                payload = orjson.dumps({"output": text})
                assert _RULES.redact_payload(payload) is payload
