"""A relay as a process, a legacy system before which it stands, and providers that send to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from migration.relay.seal import Seal, new_key
from migration.relay.spool import Spool
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from tests.e2e.client import System


@dataclass
class Taken:
    """One request that legacy took."""

    provider: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Legacy:
    """A legacy system's endpoint; `answers` decides the status by provider and body."""

    answers: Callable[[str, bytes], int] = lambda _provider, _body: 200
    taken: list[Taken] = field(default_factory=list)

    def __enter__(self) -> Self:
        legacy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                provider = self.path.rpartition("/")[2]
                status = legacy.answers(provider, body)
                if status == 200:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    legacy.taken.append(Taken(provider, headers, body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/webhooks"

    def bodies(self) -> list[bytes]:
        return [each.body for each in self.taken]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Relay:
    """One relay's process, with its settings and its spool in a folder."""

    def __init__(self, system: System, folder: Path, legacy_url: str, **more: Any) -> None:
        self.folder = folder
        self.port, self.status_port = free_port(), free_port()
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._key = folder / "spool.key"
        if not self._key.exists():
            new_key(self._key)
        (folder / "keys.json").write_text(json.dumps(system.keys))
        local = system.deployment.outputs["local"]
        tables: dict[str, dict[str, Any]] = {
            "spool": {"file": "spool.db", "key_file": "spool.key"},
            "keys": {"file": "keys.json"},
            "legacy": {"url": legacy_url, "longest_wait_s": 0.5},
            "aws": {
                "function": system.deployment.output("compute", "webhook_function_name"),
                "region": local["region"], "endpoint": local["endpoint"], "longest_wait_s": 0.5,
            },
            "listen": {"port": self.port, "status_port": self.status_port},
        }  # fmt: skip
        for name, value in more.items():
            table, _, setting = name.partition("__")
            tables.setdefault(table, {})[setting] = value
        lines = [f'name = "host-1"\nenvironment = "{system.deployment.suffix}"\nsalt = "test"']
        for table, values in tables.items():
            lines.append(f"[{table}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.config = folder / "relay.toml"
        self.config.write_text("\n".join(lines))
        run = "from migration.cli import app; app()"
        self._command = [sys.executable, "-c", run, "relay", "--config", str(self.config)]
        keys = local["invoker"]
        self._environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": keys["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
            "AWS_SESSION_TOKEN": keys["session_token"],
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it listens."""
        with (self.folder / "relay.log").open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        deadline = time.monotonic() + 60
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise AssertionError((self.folder / "relay.log").read_text())
            time.sleep(0.05)

    def _listens(self) -> bool:
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def kill(self) -> None:
        """SIGKILL."""
        self.stop(signal.SIGKILL)

    def command(self, *arguments: str, expect: int = 0) -> str:
        """Run `envmig relay ...` beside it; what it printed."""
        ran = subprocess.run(
            [*self._command, *arguments], cwd=ROOT, capture_output=True, text=True, env=self._environment
        )
        assert ran.returncode == expect, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def mode(self, *arguments: str) -> None:
        """Change the routing, and wait until the relay has taken it."""
        told = self.command("mode", *arguments)
        epoch = int(told.partition("epoch ")[2].partition(":")[0])
        deadline = time.monotonic() + 30
        while json.loads(self.get("/readyz")[1])["epoch"] < epoch:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, str]:
        """What the status port answers."""
        connection = HTTPConnection("127.0.0.1", self.status_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def post(self, provider: str, body: bytes, headers: dict[str, str], timeout: float = 30) -> tuple[int, bytes]:
        """What a provider is answered."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", f"/webhooks/{provider}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def spool(self) -> Spool:
        """The spool, to look into; close it."""
        return Spool(self.folder / "spool.db", Seal.load(self._key))
