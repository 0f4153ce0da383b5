"""
A collector that counts what arrives: OTLP spans, and the runs or calls of JSON services.

Runs in a process of its own on the loopback address and keeps nothing but numbers.
Prints its port on the first line; ``GET /count`` gives the number of finished
operations so far; ends when its standard input does.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from benchmarks.sink import port_scope, serve_requests

__all__ = ["Collector", "collector_scope", "count_spans"]

_FINISHED_RUN = re.compile(rb'name="(?:post|patch)\.[0-9a-f-]+\.outputs"')
"""The part of a LangSmith upload that a run's end brings."""

_SPAN_PATH = (1, 2, 2)
"""ExportTraceServiceRequest.resource_spans, ResourceSpans.scope_spans, ScopeSpans.spans."""


_SERVER_INFORMATION = {
    "version": "0.12.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 16,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
}
"""What a LangSmith server says of itself, with its defaults."""


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def count_spans(body: bytes, path: tuple[int, ...] = _SPAN_PATH) -> int:
    """
    Count the spans of an OTLP request.

    Args:
        body: Protobuf, not compressed.
        path: Field numbers from the outermost message inwards.

    Raises:
        IndexError: The message ends in the middle of a field.

    Source: opentelemetry/proto/collector/trace/v1/trace_service.proto.
    """
    at = found = 0
    while at < len(body):
        tag, at = _read_varint(body, at)
        kind = tag & 7
        if kind == 2:
            size, at = _read_varint(body, at)
            if tag >> 3 == path[0]:
                found += 1 if len(path) == 1 else count_spans(body[at : at + size], path[1:])
            at += size
        elif kind == 0:
            _, at = _read_varint(body, at)
        else:
            at += 8 if kind == 1 else 4
    return found


def _unpack(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


class _Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    found = 0
    lock = threading.Lock()

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if body else "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/count":
            self._answer(str(type(self).found))
        else:  # what a client asks for before it sends: LangSmith's server information, say
            self._answer(json.dumps(_SERVER_INFORMATION))

    def do_POST(self) -> None:
        body = self._body()
        encoding = self.headers.get("Content-Encoding", "")
        if self.headers.get("Content-Type", "").startswith("application/x-protobuf"):
            found = count_spans(_unpack(body, encoding))
        elif encoding == "zstd":
            found = 0  # no decoder in the standard library; the peers' children switch compression off
        else:
            found = len(_FINISHED_RUN.findall(_unpack(body, encoding)))
        with self.lock:
            type(self).found += found
        self._answer("" if self.path.endswith("/v1/traces") else "{}")

    do_PATCH = do_PUT = do_POST

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


class Collector:
    """A running collector."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def count(self) -> int:
        """Ask how many operations have arrived."""
        with urllib.request.urlopen(f"{self.address}/count", timeout=10) as answer:
            return int(answer.read())


@contextmanager
def collector_scope() -> Iterator[Collector]:
    """Keep a collector running."""
    with port_scope("benchmarks.peers.collector") as port:
        yield Collector(port)


if __name__ == "__main__":
    serve_requests(_Counting)
