"""The functions as processes of the test's own: the same code, the role's own credentials, and AWS behind a proxy."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.conftest import ROOT

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from migration.deployment import Deployment
    from tests.e2e.client import System

_LOOP = """
import importlib, json, sys
class Context:
    aws_request_id = "process"
    @staticmethod
    def get_remaining_time_in_millis():
        return int(sys.argv[2])
handler = importlib.import_module(f"handlers.{sys.argv[1]}").handler
print(flush=True)
for line in sys.stdin:
    print(json.dumps({"answer": handler(json.loads(line), Context)}), flush=True)
"""


class EndedError(Exception):
    """The process ended before it answered."""


class Function:
    """One function's process; started again when it is asked for something after it was killed."""

    def __init__(self, name: str, environment: dict[str, str], time_ms: int) -> None:
        self.name = name
        self.lines: list[str] = []
        self._environment = environment
        self._time_ms = time_ms
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()

    def ask(self, event: dict[str, Any]) -> dict[str, Any]:
        """What the handler answers, or EndedError."""
        process = self._started()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(event) + "\n")
            process.stdin.flush()
        except OSError:
            process.wait(10)
            raise EndedError from None
        for line in process.stdout:
            told = json.loads(line)
            if "answer" in told:
                answer: dict[str, Any] = told["answer"]
                return answer
            self.lines.append(line)
        process.wait(10)
        raise EndedError

    def kill(self) -> None:
        """SIGKILL, at whatever step it is."""
        if self._process:
            self._process.kill()

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            for stream in (self._process.stdin, self._process.stdout):
                assert stream
                with contextlib.suppress(OSError):
                    stream.close()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        with self._starting:
            if self._process and self._process.poll() is not None:
                self.close()
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _LOOP, self.name, str(self._time_ms)],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                assert self._process.stdout
                self._process.stdout.readline()
            return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def function(system: System, name: str, endpoint: str, *, time_ms: int = 10_000, **variables: str) -> Function:
    """A function's process whose AWS is at an endpoint."""
    deployment: Deployment = system.deployment
    role = deployment.output("security", "role_arns")[name]
    granted = system.root("sts").assume_role(RoleArn=role, RoleSessionName="process")["Credentials"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "lambda_src"),
        "PYTHONPYCACHEPREFIX": str(ROOT / ".venv" / "pycache"),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": granted["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": granted["SecretAccessKey"],
        "AWS_SESSION_TOKEN": granted["SessionToken"],
        "AWS_ENDPOINT_URL": endpoint,
        "TABLE_NAME": deployment.output("data", "table_name"),
        "INDEX_SHARDS": str(deployment.output("data", "index_shards")),
        "BUFFER_URL": deployment.output("data", "buffer_url"),
        "DEAD_LETTERS_URL": deployment.output("data", "dead_letters_url"),
        "API_KEYS_SECRET": deployment.output("security", "api_keys_secret_arn"),
        "INGEST_MODE": "direct",
        "ENVIRONMENT": "test",
        "SPOOL_RETENTION_DAYS": "14",
        **variables,
    }
    return Function(name, environment, time_ms)


def url_event(provider: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """What the function URL hands to the webhook."""
    return {
        "rawPath": f"/webhooks/{provider}",
        "requestContext": {"http": {"method": "POST"}},
        "headers": headers,
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
