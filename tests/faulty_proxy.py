"""A proxy before AWS that injects what the emulator never does: conflicts, throttles, errors and lost replies."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class FaultyProxy:
    """Forwards to an endpoint; before each call it takes the next fault of its plan, if one is left.

    Faults: "conflict" (TransactionConflict), "throttle", "internal" (500), "lost" (applied, but the reply is cut),
    "cut" (not applied, connection cut), "ok".
    """

    def __init__(self, endpoint: str) -> None:
        self.plan: deque[str] = deque()
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        upstream = urlsplit(endpoint)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                proxy.calls.append(self.headers["x-amz-target"].rpartition(".")[2])
                proxy.bodies.append(json.loads(body))
                fault = proxy.plan.popleft() if proxy.plan else "ok"
                if fault in _ANSWERS:
                    self._answer(*_ANSWERS[fault])
                elif fault == "cut":
                    self._cut()
                else:
                    connection = HTTPConnection(upstream.hostname or "", upstream.port, timeout=10)
                    connection.request("POST", self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    answer = response.read()
                    connection.close()
                    if fault == "lost":
                        self._cut()
                    else:
                        self._answer(response.status, answer)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.0")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _cut(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
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
}
