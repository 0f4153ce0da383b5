"""The comparison with other recorders: what is counted, and what a table must not leave out."""

from __future__ import annotations

import gzip
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import Outcome, compare, render
from benchmarks.peers.collector import collector_scope, count_spans
from benchmarks.peers.environments import PEERS, Peer, PeerMissing, ensure_environment

MACHINE = {"processor": "a processor", "cores": 4, "system": "Linux", "python": "3.11.7"}


def field(number: int, body: bytes) -> bytes:
    """Encode one length-delimited protobuf field of less than 16 KiB."""
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + body


def request_of(*spans_of_scopes: int) -> bytes:
    """Build an OTLP request with the given number of spans in each scope."""
    scopes = b"".join(field(2, field(2, b"\x0a\x10" + b"i" * 16) * spans) for spans in spans_of_scopes)
    return field(1, field(1, b"\x0a\x03abc") + scopes + b"\x18\x07")


class TestCollector:
    """What has arrived is counted, not guessed from the number of requests."""

    @pytest.mark.parametrize("spans", [(), (1,), (3, 2), (0, 5)])
    def test_spans(self, spans: tuple[int, ...]) -> None:
        """Every span of every scope counts once; resources and scopes do not."""
        assert count_spans(request_of(*spans)) == sum(spans)

    @pytest.mark.slow
    def test_requests(self) -> None:
        """A compressed and a plain request over HTTP add up."""
        with collector_scope() as collector:
            for body, encoding in ((request_of(2), ""), (gzip.compress(request_of(3)), "gzip")):
                headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": encoding}
                urllib.request.urlopen(
                    urllib.request.Request(f"{collector.address}/v1/traces", body, headers), timeout=10
                ).close()
            assert collector.count() == 5


class TestPeers:
    """Nobody is dropped silently."""

    @pytest.mark.slow
    def test_missing_package(self, tmp_path: Path) -> None:
        """An environment that cannot be made says so with pip's own word."""
        peer = Peer("none", "none", (str(tmp_path / "there-is-no-such-package"),), "import json", "nowhere")
        with pytest.raises(PeerMissing, match="not installed"):
            ensure_environment(peer, tmp_path)

    def test_table(self) -> None:
        """A peer that did not run keeps its line, with the reason."""
        outcome = Outcome(PEERS[3], problem="not installed: no matching distribution")
        assert "no matching distribution" in render([outcome], MACHINE)

    @pytest.mark.parametrize(("logfire_us", "verdict"), [(160.0, "1/40 (1/40 to 1/40)"), (80.0, "NOT MET")])
    def test_budgets(self, logfire_us: float, verdict: str) -> None:
        """Each budget is printed as met or not, over the undecorated call."""
        by_name = {peer.name: peer for peer in PEERS}
        outcomes = [
            Outcome(by_name["bare"], wall_us=[0.5, 0.5], cpu_us=[0.5, 0.5], import_ms=[1.0]),
            Outcome(by_name["agenttrace"], wall_us=[4.5, 4.5], cpu_us=[30.0, 30.0], import_ms=[1.0]),
            Outcome(
                by_name["logfire"],
                wall_us=[logfire_us + 0.5] * 2,
                cpu_us=[200.0, 200.0],
                import_ms=[1.0],
            ),
            Outcome(by_name["langfuse"], problem="not installed"),
        ]
        (line,) = [line for line in render(outcomes, MACHINE).splitlines() if "budget" in line]
        assert verdict in line and "Logfire" in line
        assert ("budget 1/30: met." in line) is (logfire_us == 160.0)

    @pytest.mark.slow
    def test_undecorated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The comparison runs whole for the one that needs no package."""
        monkeypatch.setattr("benchmarks.peers.__main__.ensure_environment", lambda *_: Path(sys.executable))
        (outcome,) = compare(PEERS[:1], tmp_path, rounds=2, loops=500)
        assert outcome.problem == "" and len(outcome.wall_us) == 2 and outcome.wall_us[0] > 0
        assert "undecorated" in render([outcome], MACHINE)
