"""A server that speaks the AWS JSON protocol, for what the emulator cannot be told to do: hang up, hold a secret back."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class FakeAws:
    """Echoes every operation; GetSecretValue gives the secret, or a 503 when it is None."""

    def __init__(self) -> None:
        self.secret: str | None = "{}"
        self.calls: list[str] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake.connections += 1
                fake._open.append(self.connection)

            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
                operation = self.headers["x-amz-target"].rpartition(".")[2]
                fake.calls.append(operation)
                if operation != "GetSecretValue":
                    self._answer(200, {"operation": operation, "payload": payload})
                elif fake.secret is None:
                    self._answer(400, {"__type": "AccessDeniedException"})
                else:
                    self._answer(200, {"SecretString": fake.secret})

            def _answer(self, status: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def hang_up(self) -> None:
        """Close every open connection, as AWS does with idle ones."""
        for connection in self._open:
            connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
