"""The message of the buffer and of the dead letters, one a delivery; its form is in docs/envelope.md."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import datetime
from typing import Any

from payments.routing import parse_routing
from providers.base import Signature
from providers.verified import VerifiedDelivery

VERSION = 1


class UnreadableEnvelopeError(ValueError):
    """A message is not an envelope of a version that is known."""


def encode(verified: VerifiedDelivery) -> str:
    """Write a verified delivery as one JSON object."""
    signatures = verified.signatures
    return json.dumps(
        {
            "v": VERSION,
            "provider": verified.provider,
            "headers": dict(verified.headers),
            "body": base64.b64encode(zlib.compress(verified.body)).decode(),
            "received_at": verified.received_at.isoformat(),
            "routing": str(verified.routing) if verified.routing else None,
            "trace": verified.trace,
            "verification": {
                "at": verified.verified_at.isoformat(),
                "body_sha256": verified.body_sha256,
                "whole": list(signatures) if isinstance(signatures, Signature) else None,
                "items": None if isinstance(signatures, Signature) else [each and list(each) for each in signatures],
            },
        },
        separators=(",", ":"),
    )


def decode(message: str) -> VerifiedDelivery:
    """Read an envelope back, or raise UnreadableEnvelopeError."""
    try:
        told = json.loads(message)
        if told["v"] != VERSION:
            raise UnreadableEnvelopeError(f"the envelope has version {told['v']!r}, not {VERSION}")
        verified = _read(told)
        sha256 = told["verification"]["body_sha256"]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, zlib.error) as error:
        if isinstance(error, UnreadableEnvelopeError):
            raise
        raise UnreadableEnvelopeError(f"the message is no envelope: {type(error).__name__}: {error}") from error
    if verified.body_sha256 != sha256:
        raise UnreadableEnvelopeError("the envelope's body is not the one that was verified")
    return verified


def _read(told: dict[str, Any]) -> VerifiedDelivery:
    verification = told["verification"]
    whole, items = verification["whole"], verification["items"]
    return VerifiedDelivery(
        provider=told["provider"],
        headers={str(name): str(value) for name, value in told["headers"].items()},
        body=zlib.decompress(base64.b64decode(told["body"], validate=True)),
        received_at=datetime.fromisoformat(told["received_at"]),
        routing=parse_routing(told["routing"]) if told["routing"] else None,
        trace=str(told["trace"]),
        verified_at=datetime.fromisoformat(verification["at"]),
        signatures=Signature(*whole) if whole else [Signature(*each) if each else None for each in items],
    )
