"""A small client of AWS's JSON protocol: one service, one kept-alive connection, retries of what passes.

https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from adapters.sigv4 import Credentials, signed_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

_ATTEMPT_S = 2.0
"""The longest that one attempt waits for its connection, and for its answer."""

_LONGEST_LINE = 65_536
"""Bytes of an answer's header line: the standard library's own limit."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

# What AWS itself calls retryable: botocore's standard mode, and DynamoDB's list.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_RETRYABLE = frozenset(
    {
        "InternalServerError",
        "InternalServiceError",
        "InternalFailure",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


class AwsError(Exception):
    """AWS refused a call, or could not be reached."""

    def __init__(
        self,
        operation: str,
        code: str,
        message: str,
        *,
        status: int = 0,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.code = code
        self.status = status
        self.details = details or {}

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status == 0 or self.status >= 500 or self.code in _RETRYABLE  # noqa: PLR2004


class Service(NamedTuple):
    """How a service is addressed."""

    name: str
    target: str
    """The prefix of X-Amz-Target."""
    json_version: str


DYNAMODB = Service("dynamodb", "DynamoDB_20120810", "1.0")
SECRETS_MANAGER = Service("secretsmanager", "secretsmanager", "1.1")
SQS = Service("sqs", "AmazonSQS", "1.0")


class _Response(http.client.HTTPResponse):
    """An answer whose header is read without the e-mail parser, which takes a sixth of a warm request's own time."""

    def begin(self) -> None:
        """Read the status and the header; `read` then knows where the body ends."""
        line = self._line()
        if not line:
            raise http.client.RemoteDisconnected("the connection ended without an answer")
        version, _, rest = line.partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not status.isdecimal():
            raise http.client.BadStatusLine(line)
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = headers.get("content-length", "")
        self.status = self.code = int(status)
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        closes = version == "HTTP/1.0" or "close" in headers.get("connection", "").lower()
        self.will_close = closes or (self.length is None and not self.chunked)

    def _line(self) -> str:
        line = self.fp.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        return line.decode("iso-8859-1").rstrip("\r\n")


class Client:
    """One service in the region and with the credentials that the Lambda runtime puts into the environment."""

    def __init__(self, service: Service, environment: Mapping[str, str] = os.environ) -> None:
        self._service = service
        self._region = environment["AWS_REGION"]
        self._credentials = Credentials(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            environment.get("AWS_SESSION_TOKEN"),
        )
        name = service.name.upper()
        endpoint = (
            environment.get(f"AWS_ENDPOINT_URL_{name}")
            or environment.get("AWS_ENDPOINT_URL")
            or f"https://{service.name}.{self._region}.amazonaws.com"
        )
        self._url = urlsplit(endpoint)
        self._connection: http.client.HTTPConnection | None = None

    def call(self, operation: str, payload: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Call an operation, and again while AWS says that it may pass and the deadline allows.

        Parameters
        ----------
        deadline
            On the monotonic clock, in seconds.

        Raises
        ------
        AwsError
            AWS refused for good, or was still refusing or out of reach at the deadline.
        """
        body = json.dumps(payload, separators=(",", ":")).encode()
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return self._attempt(operation, body, deadline)
            except AwsError as error:
                # Full jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
                wait = random.uniform(0, pause)  # noqa: S311
                if not error.retryable or time.monotonic() + wait >= deadline:
                    raise
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _attempt(self, operation: str, body: bytes, deadline: float) -> dict[str, Any]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise AwsError(operation, "DeadlineExceeded", "no time was left to call")
        kept_alive = self._connection is not None
        try:
            status, answer = self._exchange(operation, body, min(left, _ATTEMPT_S))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept_alive and isinstance(error, (ConnectionError, http.client.BadStatusLine)):
                # AWS closed an idle connection, or a frozen environment lost it: that says nothing of the service.
                return self._attempt(operation, body, deadline)
            raise AwsError(operation, type(error).__name__, str(error) or "no answer") from error
        return _read(operation, status, answer)

    def _exchange(self, operation: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        headers = signed_headers(
            {
                "host": self._url.netloc,
                "content-type": f"application/x-amz-json-{self._service.json_version}",
                "x-amz-target": f"{self._service.target}.{operation}",
            },
            body,
            service=self._service.name,
            region=self._region,
            credentials=self._credentials,
            at=datetime.now(UTC),
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection = self._connect(timeout)
        # Head and body in one write: http.client's own request makes two, and two packets of it.
        connection.sock.sendall(f"POST / HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        with _Response(connection.sock, method="POST") as response:
            response.begin()
            answer = response.read()
            if response.will_close:
                self.close()
            return response.status, answer

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is None:
            kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
            connection = kind(self._url.hostname or "", self._url.port, timeout=timeout)
            connection.connect()
            self._connection = connection
        connection.sock.settimeout(timeout)
        return connection

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read(operation: str, status: int, answer: bytes) -> dict[str, Any]:
    try:
        value = json.loads(answer) if answer else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AwsError(operation, "UnreadableAnswer", f"status {status}, no JSON object", status=max(status, 500))
    if status == 200:  # noqa: PLR2004
        return value
    code = str(value.get("__type") or value.get("code") or "Unknown").rpartition("#")[2].partition(":")[0]
    message = str(value.get("message") or value.get("Message") or "")
    raise AwsError(operation, code, message, status=status, details=value)
