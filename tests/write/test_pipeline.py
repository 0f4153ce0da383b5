"""From frame to row: redacted, cut, and never more than the limits allow."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttrace.encode.redact import Rules
from agenttrace.events import H_AGENT_NAME, H_CALL_ID, H_EXTRA, H_SPAN_ID, H_TOOL_NAME
from agenttrace.write.pipeline import Pipeline
from tests.write.factory import build_body

_SECRET = "sk-ant-api03-" + "Ab3" * 31 + "AA"


def _pipeline(
    max_payload_bytes: int = 4096, max_blob_bytes: int = 262_144, redact: object = None
) -> Pipeline:
    return Pipeline(Rules.build(redact), max_payload_bytes, max_blob_bytes)


class TestARow:
    def test_carries_what_the_frame_carried(self) -> None:
        """Columns and payload pass unchanged when there is nothing to redact or cut."""
        record = _pipeline().prepare(
            build_body(7, "plain", tool_name="search", span_id="0123456789abcdef"), "p-1"
        )
        assert json.loads(record.payload) == {"number": 7, "text": "plain"}
        assert (record.header[H_TOOL_NAME], record.header[H_SPAN_ID]) == ("search", "0123456789abcdef")
        assert (record.event_id, record.blob) == ("p-1", None)

    def test_is_redacted_in_payload_and_text_columns(self) -> None:
        """A secret is found wherever text stands, the first time and when it is seen again."""
        pipeline = _pipeline()
        for _ in range(2):
            record = pipeline.prepare(
                build_body(
                    1,
                    f"key {_SECRET}",
                    tool_name=f"tool {_SECRET}",
                    call_id=_SECRET,
                    agent_name=f"a {_SECRET}",
                    extra={"model": f"m {_SECRET}", "turn": 3},
                ),
                "p-1",
            )
            assert _SECRET not in json.dumps(record.header) + record.payload.decode()
            assert record.header[H_EXTRA]["turn"] == 3
            for column in (H_TOOL_NAME, H_CALL_ID, H_AGENT_NAME):
                assert "redacted" in record.header[column]

    def test_uses_the_rules_it_was_given(self) -> None:
        """A pattern of the user's own is redacted; without rules nothing is."""
        body = build_body(1, "badge ZX-1234-Q")
        assert b"ZX-1234-Q" not in _pipeline(redact=[r"ZX-\d+-Q"]).prepare(body, "p-1").payload
        assert _SECRET.encode() in _pipeline(redact=False).prepare(build_body(1, _SECRET), "p-1").payload

    @given(st.integers(0, 6000), st.sampled_from([512, 4096]), st.sampled_from([0, 1000, 5000, 100_000]))
    def test_stays_within_the_limits(self, size: int, max_payload_bytes: int, max_blob_bytes: int) -> None:
        """A payload is at most its limit; what it cuts is kept beside it, up to the limit of that."""
        record = _pipeline(max_payload_bytes, max_blob_bytes).prepare(build_body(1, "word " * size), "p-1")
        payload = json.loads(record.payload)
        assert len(record.payload) <= max_payload_bytes
        whole_bytes = len(json.dumps({"number": 1, "text": "word " * size}, separators=(",", ":")))
        if whole_bytes <= max_payload_bytes:
            assert record.blob is None
            return
        if max_blob_bytes == 0:
            assert record.blob is None
            assert "sha256" not in payload
            return
        assert record.blob is not None
        digest, kept = record.blob
        assert len(kept) <= max_blob_bytes
        assert payload["sha256"] == digest == hashlib.sha256(kept).hexdigest()
        if whole_bytes <= max_blob_bytes:
            assert json.loads(kept)["text"] == "word " * size

    def test_keeps_no_secret_beside_it_either(self) -> None:
        """What is kept whole is redacted as well."""
        record = _pipeline().prepare(build_body(1, "word " * 2000 + _SECRET + " end"), "p-1")
        assert record.blob is not None
        assert _SECRET.encode() not in record.blob[1]

    def test_forgets_old_texts(self) -> None:
        """Remembered texts are bounded, however many different ones come."""
        pipeline = _pipeline()
        for number in range(10_000):
            pipeline.prepare(build_body(1, "", tool_name=f"tool {number}"), "p-1")
        assert len(pipeline._redacted) <= 4096

    @pytest.mark.parametrize("body", [b"", b"[]", b"[]\n{}", b"x\ny", b'["note",1]\n{}', b"\xff\n{}"])
    def test_is_not_made_of_rubbish(self, body: bytes) -> None:
        """What is no frame body raises ValueError."""
        with pytest.raises(ValueError):
            _pipeline().prepare(body, "p-1")
