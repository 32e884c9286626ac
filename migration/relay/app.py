"""The relay as ASGI applications: webhooks on one port, health and metrics on another, which is not for the internet.

The application for webhooks is written against ASGI itself: it has one route (docs/decisions/0010-relay.md).
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from handlers.http import ProblemError, problem_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from migration.relay.intake import Intake
    from migration.relay.settings import Listen
    from migration.relay.telemetry import Telemetry

Receive = Any
Send = Any

_PATH = "/webhooks/"
_LARGEST_RAW = 6_291_456
"""Bytes: what a function URL takes, before the compressed size is looked at."""
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")


class _GoneError(Exception):
    """A sender went away before its request was whole."""


class WebhookApp:
    """POST /webhooks/{provider}, and nothing else."""

    def __init__(self, intake: Intake, telemetry: Telemetry, limits: Listen) -> None:
        self._intake = intake
        self._telemetry = telemetry
        self._most_at_once = limits.most_at_once
        self._slowest_body_s = limits.slowest_body_s
        self._at_once = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.monotonic()
        name = scope["path"].removeprefix(_PATH) if scope["path"].startswith(_PATH) else ""
        self._at_once += 1
        try:
            status, head, body = await self._answer(name, scope, receive)
        except _GoneError:
            return
        finally:
            self._at_once -= 1
        # Only names that are known become a label: each value of a label is a series that is kept.
        known = name if status not in {404, 405} else ""
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
        self._telemetry.answer(known, status, time.monotonic() - began)

    async def _answer(
        self, name: str, scope: dict[str, Any], receive: Receive
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        try:
            self._check(name, scope["method"])
            headers = _headers(scope["headers"])
            body = await self._body(headers, receive)
            answer = await self._intake.take(name, headers, body)
        except ProblemError as error:
            extra = [(key.encode(), value.encode()) for key, value in error.headers.items()]
            # Nothing more is read of a request that was refused before its end.
            closing = [(b"connection", b"close")] if error.status in {408, 413} else []
            return error.status, [_PROBLEM, *extra, *closing], json.dumps(problem_document(error)).encode()
        return 200, [_JSON if answer.startswith(b"{") else (b"content-type", b"text/plain")], answer

    def _check(self, name: str, method: str) -> None:
        """Refuse what need not be read to know that it is not taken."""
        if not name or "/" in name:
            raise ProblemError(404, "Not found", f"webhooks go to {_PATH}{{provider}}")
        if method != "POST":
            raise ProblemError(405, "Method not allowed", "a webhook is a POST", {"allow": "POST"})
        if self._at_once > self._most_at_once:
            detail = f"{self._most_at_once} requests are under way; send it again"
            raise ProblemError(503, "Too busy", detail, {"retry-after": "1"})

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > _LARGEST_RAW:
            raise ProblemError(413, "Body too large", f"the body is over {_LARGEST_RAW} bytes")
        message = await self._within(receive, time.monotonic() + self._slowest_body_s)
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        chunks, length, deadline = [body], len(body), time.monotonic() + self._slowest_body_s
        while message.get("more_body"):
            message = await self._within(receive, deadline)
            chunks.append(message.get("body", b""))
            length += len(chunks[-1])
            if length > _LARGEST_RAW:
                raise ProblemError(413, "Body too large", f"the body is over {_LARGEST_RAW} bytes")
        return b"".join(chunks)

    async def _within(self, receive: Callable[[], Awaitable[dict[str, Any]]], deadline: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            detail = f"the body was not there within {self._slowest_body_s:g} s"
            raise ProblemError(408, "Too slow", detail) from None
        if message["type"] == "http.disconnect":
            raise _GoneError
        return message


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; one that came twice is joined by a comma, as a function URL does."""
    headers: dict[str, str] = {}
    for name_, value_ in raw:
        name, value = name_.decode("latin-1").lower(), value_.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers
