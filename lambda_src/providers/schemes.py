"""The ways in which providers sign. Each takes raw bytes and compares in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from providers.errors import NotAuthenticError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from providers.keys import Key

_TOLERANCE_S = 300
"""How far a signed time may be from the receipt, either way."""

_MOST_SIGNATURES = 16
"""More than any overlap of keys needs; a header with a thousand would have us compare them all."""


def required_header(headers: Mapping[str, str], name: str) -> str:
    """A header's value, or NotAuthenticError."""
    value = headers.get(name)
    if not value:
        raise NotAuthenticError(f"the header {name} is missing")
    if not value.isascii():
        raise NotAuthenticError(f"the header {name} is not ASCII")
    return value


def check_age(timestamp: str, received_at: datetime) -> None:
    """Hold a signed time in whole seconds against the receipt, or raise NotAuthenticError."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):  # noqa: PLR2004
        raise NotAuthenticError("the signature's time is not a number of seconds")
    if abs(received_at.timestamp() - int(timestamp)) > _TOLERANCE_S:
        raise NotAuthenticError(f"the signature's time is more than {_TOLERANCE_S} s from the receipt")


def sha256_signed_by(keys: Iterable[tuple[Key, bytes]], content: bytes, signatures: Iterable[bytes]) -> str:
    """The id of the first key whose HMAC-SHA256 of the content is among the signatures.

    Parameters
    ----------
    keys
        Each key with the bytes that it signs with.
    signatures
        Raw digests as sent; junk is no reason to overlook a good one beside it.

    Raises
    ------
    NotAuthenticError
        No key made any of them.
    """
    sent = list(signatures)[:_MOST_SIGNATURES]
    for key, secret in keys:
        expected = hmac.digest(secret, content, hashlib.sha256)
        matches = [hmac.compare_digest(expected, signature) for signature in sent]
        if any(matches):
            return key.id
    raise NotAuthenticError("no usable key made this signature")


def from_hex(text: str) -> bytes:
    """The bytes of lower-case hex digits; nothing for what is no hex."""
    try:
        return bytes.fromhex(text) if text.isascii() and text.isalnum() and text == text.lower() else b""
    except ValueError:
        return b""


def from_base64(text: str) -> bytes:
    """The bytes of strict, canonical base64; nothing for anything else."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return decoded if base64.b64encode(decoded).decode() == text else b""
