"""Values become bounded bytes and frame bodies come apart again."""

from __future__ import annotations

import enum
import sys
from typing import Any

import orjson
import pytest

from agenttrace.encode.codec import decode, decode_body, encode, encode_header
from agenttrace.events import H_AGENT_NAME, H_EXTRA, H_KIND, MARK

pytestmark = pytest.mark.usefixtures("each_way")
_HEADER: list[Any] = ["note", 1, "c", "a", "agent", *[None] * 9, {"turn": 1}]


def _last_frame(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_name if traceback else ""


class TestEncode:
    def test_writes_plain_values_as_orjson_does(self) -> None:
        """The fast path changes nothing."""
        value = {"a": [1, 2.5, True, None, "ä"], "b": {"c": ("x", "y")}}
        assert encode(value, 4096) == orjson.dumps(value)

    def test_counts_a_string_that_is_too_long(self) -> None:
        """A long string becomes a mark with its whole length and a head; its key and the others stay."""
        result = decode(encode({"text": "word " * 2_000_000, "n": 1}, 1000))
        assert result["n"] == 1
        assert result["text"][MARK] == "cut"
        assert result["text"]["bytes"] == 10_000_000
        assert result["text"]["head"].startswith("word word")

    def test_shares_the_room_between_several_long_values(self) -> None:
        """The largest give way first, and all keep something."""
        result = decode(encode({"a": "a " * 50_000, "b": "b " * 50_000, "c": "short"}, 1000))
        assert result["c"] == "short"
        assert len(result["a"]["head"]) > 100
        assert len(result["b"]["head"]) > 100

    def test_keeps_the_first_entries_of_a_long_list(self) -> None:
        """What is left out is counted at the end."""
        result = decode(encode(list(range(1_000_000)), 500))
        assert result[:3] == [0, 1, 2]
        assert result[-1] == {MARK: "cut", "items": 1_000_000 - (len(result) - 1)}

    def test_does_not_let_orjson_see_an_enum(self) -> None:
        """orjson ends the process when an Enum's value raises; such a value never reaches it."""

        class Bad(enum.Enum):
            ONE = 1

            @property
            def value(self) -> Any:  # type: ignore[override]
                raise RuntimeError("no value")

        assert encode({"a": [Bad.ONE]}, 4096) == b'{"a":[1]}'

    def test_does_not_write_a_fragment_unchecked(self) -> None:
        """Bytes that claim to be JSON are no JSON."""
        assert decode(encode({"a": orjson.Fragment(b"{{")}, 4096))["a"][MARK] == "unencodable"

    @pytest.mark.parametrize("tail", ["sk" + "-ant-api03-" + "Ab1_" * 20, "A" * 90, "user@host/x=1.2"])
    def test_takes_the_run_that_touches_the_cut(self, tail: str) -> None:
        """Half a key is still a secret: the run of key characters at the cut goes with it."""
        for limit_bytes in range(80, 130):
            head = decode(encode("some words " + tail + " and more" * 50, limit_bytes)).get("head", "")
            assert head == "" or (head[-1] not in "_+/=.-" and not head[-1].isalnum())

    def test_takes_a_private_key_without_its_end(self) -> None:
        """A PEM block that touches the cut goes from its first dash."""
        text = "before\n-----BEGIN PRIVATE " + "KEY-----\n" + "Ab1+/\n" * 500
        assert decode(encode(text, 300))["head"] == "before\n"

    def test_survives_at_the_end_of_the_callers_recursion(self) -> None:
        """A tool called with little stack left is recorded all the same, in a marked form if need be."""
        value = {"a": [object(), {"b": {1, 2}}]}

        def descend(left: int) -> bytes:
            return encode(value, 4096) if left == 0 else descend(left - 1)

        limit = sys.getrecursionlimit()
        for frames in range(limit - 120, limit):
            try:
                encoded = descend(frames)
            except RecursionError as error:
                assert _last_frame(error) == "descend"
                return
            orjson.loads(encoded)

    def test_degrades_to_a_bare_mark(self) -> None:
        """64 bytes are always enough."""
        for value in ("x" * 1000, {"k" * 300: 1}, [["y" * 100]] * 100, object(), b"\xff" * 1000):
            assert len(encode(value, 64)) <= 64


class TestEncodeHeader:
    def test_comes_back(self) -> None:
        """A frame body is the header, a newline, the payload."""
        body = encode_header(_HEADER) + b"\n" + b'{"a":1}'
        assert decode_body(body) == (_HEADER, b'{"a":1}')

    def test_escapes_what_json_cannot_hold(self) -> None:
        """A lone surrogate in a name and a number beyond 64 bits still give a header of texts and numbers."""
        header = list(_HEADER)
        header[H_AGENT_NAME] = "a\ud800"
        header[H_EXTRA] = {"turn": 2**70}
        assert decode(encode_header(header))[H_AGENT_NAME] == "a\\ud800"
        assert decode(encode_header(header))[H_EXTRA] == {"turn": str(2**70)}

    def test_does_not_let_orjson_see_an_enum(self) -> None:
        """A name that is a member of an Enum is its value, and never ends the process."""

        class Bad(enum.Enum):
            ONE = "agent"

            @property
            def value(self) -> Any:  # type: ignore[override]
                raise RuntimeError("no value")

        assert decode(encode_header([*_HEADER[:4], Bad.ONE, *_HEADER[5:]]))[H_AGENT_NAME] == "agent"

    def test_keeps_overlong_names_apart(self) -> None:
        """Two names that differ beyond the cut stay two."""
        names = []
        for end in "ab":
            header = list(_HEADER)
            header[H_AGENT_NAME] = "n" * 50_000 + end
            names.append(decode(encode_header(header))[H_AGENT_NAME])
        assert names[0] != names[1]
        assert all(len(name) < 1000 for name in names)

    @pytest.mark.parametrize("body", [b"", b"\n", b"[]\n{}", b"{}\n{}", b'["a"]', b"\xff\n{}", b"[1]\n[]"])
    def test_of_rubbish_is_refused(self, body: bytes) -> None:
        """decode_body raises ValueError, nothing else."""
        with pytest.raises(ValueError, match=r".*"):
            decode_body(body)

    def test_without_its_payload_is_refused(self) -> None:
        """A header alone is no body."""
        with pytest.raises(ValueError, match="payload"):
            decode_body(encode_header(_HEADER))
        assert _HEADER[H_KIND] == "note"
