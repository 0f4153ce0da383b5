"""
A collector that reads OTLP requests on the loopback address and throws them away.

Runs in a process of its own, so that its work is on nobody's account. Prints its
port on the first line; ends when its standard input does.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["port_scope", "serve_requests", "sink_scope"]


class _Discard(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@contextmanager
def port_scope(module: str) -> Iterator[int]:
    """Keep *module* running, whose ``__main__`` calls ``serve_requests``; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)


@contextmanager
def sink_scope() -> Iterator[str]:
    """Keep a collector running; yields the address for traces."""
    with port_scope("benchmarks.sink") as port:
        yield f"http://127.0.0.1:{port}/v1/traces"


def serve_requests(handler: type[BaseHTTPRequestHandler]) -> None:
    """Serve on a port of the loopback address that is printed first, until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve_requests(_Discard)
