"""A payload is cut so that its shape can still be read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agenttrace.encode.truncate import cut_payload, fit, truncate_utf8
from agenttrace.events import MARK

_SHA = "ab" * 32


def _cut(value: dict[str, Any], limit_bytes: int, sha256: str | None = None) -> dict[str, Any]:
    encoded = cut_payload(orjson.dumps(value), limit_bytes, sha256)
    assert len(encoded) <= limit_bytes
    result: dict[str, Any] = orjson.loads(encoded)
    return result


class TestCutPayload:
    def test_gives_back_what_fits(self) -> None:
        """The same object, untouched."""
        payload = b'{"a": 1}'
        assert cut_payload(payload, 256, _SHA) is payload

    def test_says_on_the_root_what_is_missing_and_where_it_is(self) -> None:
        """The root carries the whole length and the digest of the blob (S1.4)."""
        whole = {"arguments": {"path": "a.txt", "text": "word " * 2000}}
        root = _cut(whole, 600, _SHA)
        assert (root[MARK], root["bytes"], root["sha256"]) == ("cut", len(orjson.dumps(whole)), _SHA)
        assert root["arguments"]["path"] == "a.txt"
        assert root["arguments"]["text"]["bytes"] == 10_000

    def test_cuts_the_largest_first(self) -> None:
        """Small values stay whole beside a large one."""
        root = _cut({"small": list(range(20)), "large": "x " * 5000, "other": {"a": "b"}}, 700)
        assert root["small"] == list(range(20))
        assert root["other"] == {"a": "b"}
        assert len(root["large"]["head"]) > 300

    def test_keeps_the_keys_of_many_large_values(self) -> None:
        """Each key keeps at least a bare mark."""
        root = _cut({f"k{number}": "x" * 1000 for number in range(20)}, 2048)
        assert {f"k{number}" for number in range(20)} <= root.keys()

    def test_counts_keys_that_do_not_fit(self) -> None:
        """A dict with too many keys keeps the first and counts the rest."""
        root = _cut({"output": {f"key{number}": number for number in range(5000)}}, 1000)
        output = root["output"]
        assert output["key0"] == 0
        assert output["items"] + len(output) - 2 == 5000
        assert output[MARK] == "cut"

    def test_counts_items_that_do_not_fit(self) -> None:
        """A list keeps its first items and counts the rest in a last mark."""
        output = _cut({"output": [{"id": number, "text": "t" * 50} for number in range(500)]}, 1500)["output"]
        assert output[0] == {"id": 0, "text": "t" * 50}
        assert output[-1] == {MARK: "cut", "items": 500 - (len(output) - 1)}

    def test_adds_to_the_counts_of_an_earlier_cut(self) -> None:
        """Cut twice, the marks still say how much there was at first."""
        once = _cut({"output": ["x" * 20 for _ in range(1000)]}, 4000)
        twice = _cut(once, 1000)
        assert twice["output"][-1]["items"] + len(twice["output"]) - 1 == 1000
        text = _cut(_cut({"output": "word " * 2000}, 2000), 500)["output"]
        assert text["bytes"] == 10_000

    def test_keeps_the_users_own_items_key(self) -> None:
        """A key named like a field of the mark is not overwritten inside the payload."""
        output = _cut({"output": {"items": ["a"], **{f"k{n}": n for n in range(500)}}}, 600)["output"]
        assert output["items"] == ["a"]

    @pytest.mark.parametrize("limit_bytes", [2, 21, 40, 60, 120, 255])
    def test_degrades_to_a_bare_mark(self, limit_bytes: int) -> None:
        """Whatever the limit, the result is an object."""
        assert isinstance(_cut({"k" * 300: "v" * 3000}, limit_bytes, _SHA), dict)

    @pytest.mark.parametrize(
        "payload", [b"rubbish" * 100, b"[1" + b",2" * 500 + b"]", b'"' + b"x" * 999 + b'"']
    )
    def test_replaces_what_is_no_object(self, payload: bytes) -> None:
        """Anything but a JSON object becomes the bare mark."""
        assert orjson.loads(cut_payload(payload, 256, None)) == {MARK: "cut", "bytes": len(payload)}

    def test_cuts_deep_structures(self) -> None:
        """A long chain of containers ends in a mark within the limit."""
        value: Any = "x" * 1000
        for _ in range(90):
            value = {"a": [value]}
        assert _cut({"output": value}, 512)[MARK] == "cut"

    def test_counts_escapes_and_wide_characters(self) -> None:
        """Characters that take six bytes in JSON do not break the limit."""
        for text in ("\x00" * 2000, "é" * 2000, "🔑" * 2000, '"\\' * 1000):
            assert _cut({"output": text}, 400)["output"]["bytes"] == len(text.encode())


class TestFit:
    def test_leaves_half_a_token_only_when_told_to(self) -> None:
        """The edge is guarded on the caller's side, where nothing is redacted yet."""
        text = "see " + "A" * 500
        assert fit(text, 200, guard_edges=True)["head"] == "see "
        assert fit(text, 200, guard_edges=False)["head"].endswith("AAAA")


class TestTruncateUtf8:
    @pytest.mark.parametrize(
        ("text", "limit_bytes", "kept", "removed_bytes"),
        [
            ("abc", 3, "abc", 0),
            ("abc", 2, "ab", 1),
            ("abc", 0, "", 3),
            ("aé", 2, "a", 2),
            ("🔑x", 3, "", 5),
            ("🔑x", 4, "🔑", 1),
            ("\ud800x", 3, "\ud800", 1),
            ("", 0, "", 0),
        ],
    )
    def test_cuts_between_characters(
        self, text: str, limit_bytes: int, kept: str, removed_bytes: int
    ) -> None:
        """No character is cut in two, and the removed bytes are counted."""
        assert truncate_utf8(text, limit_bytes) == (kept, removed_bytes)
