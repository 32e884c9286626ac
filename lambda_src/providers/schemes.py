"""The ways in which providers sign. Each takes raw bytes and compares in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING, Any, NamedTuple

from providers.base import Signature
from providers.errors import NotAuthenticError
from providers.keys import InvalidKeysError, usable_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from providers.base import Delivery
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


def hmac_signed_by(
    keys: Iterable[tuple[Key, bytes]], content: bytes, signatures: Iterable[bytes], algorithm: str = "sha256"
) -> str:
    """The id of the first key whose HMAC of the content is among the signatures.

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
        expected = hmac.digest(secret, content, algorithm)
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


def hex_secret(secret: str) -> bytes:
    """The bytes of a secret that is written in hex, or InvalidKeysError."""
    try:
        return bytes.fromhex(secret)
    except ValueError:
        raise InvalidKeysError("a secret that has to be hexadecimal is not") from None


class BodyHmac(NamedTuple):
    """An HMAC over the whole body in one header: the scheme of most providers, a row of this for each."""

    header: str
    """The header's name in lower case."""
    algorithm: str
    """As hashlib names it."""
    encoding: str
    """How the header writes the digest: hex or base64."""
    secret_bytes: Callable[[str], bytes] = str.encode
    """What of the secret is the key."""
    prefix: str = ""
    """What may stand before the digest."""

    @property
    def scheme(self) -> str:
        """The name under which the verification is recorded."""
        return f"hmac-{self.algorithm}-{self.encoding}"

    def verify(self, delivery: Delivery, settings: Mapping[str, Any], *, before: bytes = b"") -> Signature:
        """Verify the body, with what the provider signs before it, or raise NotAuthenticError."""
        sent = required_header(delivery.headers, self.header).removeprefix(self.prefix)
        decode = from_hex if self.encoding == "hex" else from_base64
        keys = ((key, self.secret_bytes(key.secret)) for key in usable_keys(settings, delivery.received_at))
        return Signature(self.scheme, hmac_signed_by(keys, before + delivery.body, [decode(sent)], self.algorithm))
