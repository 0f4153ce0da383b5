"""
The HTTP side of the fake provider: connections, status lines, chunks, and how they end too early.

Invariant: whatever the other side does, a connection's thread ends, at the latest when the server stops.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import select
import socket
import sys
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

from tests.clients import provider_chat, provider_messages, provider_responses
from tests.clients.provider_wire import Answer

__all__ = ["Decide", "Server"]

Decide = Callable[[str, dict[str, str], dict[str, Any]], tuple[Any, Answer]]
"""Path, headers and body to the request, which has an event ``gone``, and its answer."""

_WIRES: dict[str, ModuleType] = {
    "messages": provider_messages,
    "chat": provider_chat,
    "responses": provider_responses,
}
_GZIP = 31
"""What zlib calls the format with gzip's own head and tail."""
_LOOK_S = 0.005
"""How often a connection that waits looks whether its client has left."""


class _Handler(BaseHTTPRequestHandler):
    """One connection; it may bring several requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, answer = self.server.decide(self.path.partition("?")[0], headers, body)
        wire = _WIRES.get(request.api)
        try:
            if answer.reply.status == 0:
                self._break_off()
            elif wire is None or answer.reply.status != 200:
                self._send_error(wire or provider_messages, answer)
            elif answer.reply.raw is not None:
                self._send_data(answer, 200, answer.reply.raw.encode(), None)
            elif body.get("stream"):
                self._send_stream(wire, request, answer)
            else:
                self._send_plain(wire, request, answer)
        except OSError:
            request.gone.set()
            self.close_connection = True

    def do_GET(self) -> None:
        self.do_POST()

    def _break_off(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _begin(self, answer: Answer, status: int, content_type: str | None) -> None:
        self.send_response(status)
        if content_type is not None:
            self.send_header("Content-Type", content_type)
        if answer.reply.is_zipped:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("request-id", answer.request_id)
        self.send_header("x-request-id", answer.request_id)
        for name, value in answer.reply.headers:
            self.send_header(name, value)

    def _send_body(self, answer: Answer, status: int, value: Any, *, sent: float = 1.0) -> None:
        self._send_data(answer, status, json.dumps(value).encode(), "application/json", sent=sent)

    def _send_data(
        self, answer: Answer, status: int, data: bytes, content_type: str | None, *, sent: float = 1.0
    ) -> None:
        data = gzip.compress(data) if answer.reply.is_zipped else data
        self._begin(answer, status, content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: int(len(data) * sent)])
        if sent < 1:
            self._break_off()

    def _send_error(self, wire: ModuleType, answer: Answer) -> None:
        self._send_body(answer, answer.reply.status, wire.build_error(answer.reply, answer.request_id))

    def _send_plain(self, wire: ModuleType, request: Any, answer: Answer) -> None:
        if answer.reply.then == "wait" and not self._wait(request, answer):
            return
        sent = 0.5 if answer.reply.then == "break" else 1.0
        self._send_body(answer, 200, wire.build_plain(answer), sent=sent)

    def _send_stream(self, wire: ModuleType, request: Any, answer: Answer) -> None:
        self._begin(answer, 200, "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        reply, deltas, has_waited = answer.reply, 0, False
        self._zip = zlib.compressobj(wbits=_GZIP) if reply.is_zipped else None
        for number, frame in enumerate(wire.iter_frames(answer)):
            is_there = reply.then and not has_waited and deltas == reply.after
            # What comes before the first delta is sent in any case.
            if is_there and (frame.is_delta or deltas > 0):
                if reply.then == "break":
                    self._break_off()
                    return
                if reply.then == "error":
                    self._send_chunk(wire.build_error_frame(answer, number))
                    break
                if not self._wait(request, answer):
                    return
                has_waited = True
            self._send_chunk(frame.data)
            deltas += frame.is_delta
        if self._zip is not None:
            data = self._zip.flush()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def _send_chunk(self, data: bytes) -> None:
        if self._zip is not None:
            data = self._zip.compress(data) + self._zip.flush(zlib.Z_SYNC_FLUSH)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _wait(self, request: Any, answer: Answer) -> bool:
        """Wait till the reply is released; False: the client has left, or the server stops."""
        until = answer.reply.until or threading.Event()
        while not until.wait(_LOOK_S):
            readable, _, _ = select.select([self.connection], [], [], 0)
            if self.server.is_stopping.is_set() or (readable and not self._peek()):
                request.gone.set()
                self._break_off()
                return False
        return True

    def _peek(self) -> bytes:
        try:
            return self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return b""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Listens on a free port of loopback."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, decide: Decide) -> None:
        """Take a port; ``start`` begins to answer."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.decide = decide
        self.is_stopping = threading.Event()
        self._lock = threading.Lock()  # the connections
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="fake-provider")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and wait for its thread."""
        self.is_stopping.set()
        self.shutdown()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that it can be ended."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the other side has cut is no news; anything else is a fault of this server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
