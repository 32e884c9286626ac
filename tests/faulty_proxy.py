"""A proxy before AWS that injects what the emulator never does: conflicts, throttles, errors, lost replies, silence."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

SILENCE_S = 2.5
"""Longer than the client waits for one answer."""


class FaultyProxy:
    """Forwards to an endpoint; before each call it takes a fault.

    The next of its plan, if one is left; else what `choose` says of the operation and its payload; else none.

    Faults: "conflict" (TransactionConflict), "throttle", "throughput", "internal" (500), "validation" (refused for
    good), "denied", "lost" (applied, but the reply is cut), "half" (applied, and the reply is cut half way), "cut"
    (not applied, connection cut), "silence" (not applied, and no answer in time), "ok".
    """

    def __init__(self, endpoint: str) -> None:
        self.plan: deque[str] = deque()
        self.choose: Callable[[str, dict[str, Any]], str] = lambda _operation, _payload: "ok"
        self.after: Callable[[str], None] = lambda _operation: None
        """Called when a call was forwarded, before its answer goes back."""
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.faults: dict[str, int] = {}
        upstream = urlsplit(endpoint)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._upstream = HTTPConnection(upstream.hostname or "", upstream.port, timeout=10)

            def finish(self) -> None:
                self._upstream.close()
                with contextlib.suppress(OSError):
                    super().finish()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                payload = json.loads(body)
                operation = self.headers["x-amz-target"].rpartition(".")[2]
                proxy.calls.append(operation)
                proxy.bodies.append(payload)
                fault = proxy.plan.popleft() if proxy.plan else proxy.choose(operation, payload)
                proxy.faults[fault] = proxy.faults.get(fault, 0) + 1
                if fault in _ANSWERS:
                    self._answer(*_ANSWERS[fault])
                elif fault == "cut":
                    self._cut()
                elif fault == "silence":
                    time.sleep(SILENCE_S)
                    self._cut()
                else:
                    self._upstream.request("POST", self.path, body, dict(self.headers))
                    response = self._upstream.getresponse()
                    answer = response.read()
                    proxy.after(operation)
                    if fault == "lost":
                        self._cut()
                    elif fault == "half":
                        self._answer(response.status, answer[: len(answer) // 2], len(answer) + 1)
                        self._cut()
                    else:
                        self._answer(response.status, answer)

            def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/x-amz-json-1.0")
                    self.send_header("content-length", str(len(body) if length is None else length))
                    self.end_headers()
                    self.wfile.write(body)
                    self.wfile.flush()
                except OSError:
                    # Who called was killed.
                    self.close_connection = True

            def _cut(self) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A caller that was killed leaves a broken connection, which is the point."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _error(code: str, **details: object) -> bytes:
    return json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code, **details}).encode()


_ANSWERS = {
    "conflict": (
        400,
        _error(
            "TransactionCanceledException",
            CancellationReasons=[{"Code": "None"}, {"Code": "TransactionConflict", "Message": "busy"}],
        ),
    ),
    "throttle": (400, _error("ThrottlingException")),
    "throughput": (
        400,
        _error(
            "TransactionCanceledException",
            CancellationReasons=[{"Code": "ThrottlingError"}, {"Code": "None"}],
        ),
    ),
    "internal": (500, _error("InternalServerError")),
    "validation": (400, _error("ValidationException")),
    "denied": (400, _error("AccessDeniedException")),
}
