"""Requests and answers of a function URL. Errors are application/problem+json (RFC 9457)."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


LARGEST_BODY = 350 * 1024
"""Bytes, compressed: with its other attributes an item stays under DynamoDB's 400 KB."""


class Request(NamedTuple):
    """One request to the function URL."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name; a header that came twice is joined by a comma."""
    body: bytes


class ProblemError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers or {}


def read_request(event: Mapping[str, Any]) -> Request:
    """Read payload format 2.0.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """
    http = event.get("requestContext", {}).get("http", {})
    body = event.get("body") or ""
    headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
    if not event.get("isBase64Encoded"):
        return Request(http.get("method", ""), event.get("rawPath", ""), headers, body.encode("utf-8", "replace"))
    try:
        raw = base64.b64decode(body)
    except (binascii.Error, ValueError):
        raise ProblemError(400, "Malformed request", "the body is not the base64 that it is said to be") from None
    return Request(http.get("method", ""), event.get("rawPath", ""), headers, raw)


def answer(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A JSON answer."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **(headers or {})},
        "body": json.dumps(content),
    }


def problem(error: ProblemError, trace: str) -> dict[str, Any]:
    """The answer that tells a problem; its trace finds the log line."""
    content = {**problem_document(error), "instance": trace}
    return answer(error.status, content, {**error.headers, "content-type": "application/problem+json"})


def problem_document(error: ProblemError) -> dict[str, Any]:
    """A problem as RFC 9457 writes it."""
    return {"type": "about:blank", "title": error.title, "status": error.status, "detail": error.detail}


def check_size(body: bytes) -> None:
    """Refuse a body that the table cannot take, with a ProblemError."""
    # What is under the limit as it is needs no compressing to know it.
    if len(body) > LARGEST_BODY and len(zlib.compress(body)) > LARGEST_BODY:
        raise ProblemError(413, "Body too large", f"the body is over {LARGEST_BODY} bytes, compressed")
