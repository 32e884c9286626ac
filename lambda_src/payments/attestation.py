"""What the relay vouches for beside the provider's request: when it came, how it was routed, its trace.

The wire form is in docs/relay-headers.md. IAM says who calls us, never when a provider called the relay.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RECEIVED_AT = "x-envmig-received-at"
ROUTING = "x-envmig-routing"
TRACE = "x-envmig-trace"
AUTHORIZATION = "x-envmig-authorization"
ATTESTATION = "x-envmig-attestation"

_ATTESTED = (RECEIVED_AT, ROUTING, TRACE, AUTHORIZATION)
_VERSION = "v1"


class AttestationKey(NamedTuple):
    """A key that the relay and the Lambda share."""

    id: str
    secret: bytes


def attest(headers: Mapping[str, str], body: bytes, provider: str, key: AttestationKey) -> str:
    """The value of x-envmig-attestation over the relay's headers, the provider's name and the body."""
    return f"{_VERSION},{key.id},{_tag(headers, body, provider, key).hex()}"


def is_attested(headers: Mapping[str, str], body: bytes, provider: str, keys: Iterable[AttestationKey]) -> bool:
    """Whether one of the keys made the attestation in the headers."""
    version, _, rest = headers.get(ATTESTATION, "").partition(",")
    key_id, _, sent = rest.rpartition(",")
    if version != _VERSION or not sent.isascii():
        return False
    return any(
        hmac.compare_digest(_tag(headers, body, provider, key).hex().encode(), sent.encode())
        for key in keys
        if key.id == key_id
    )


def _tag(headers: Mapping[str, str], body: bytes, provider: str, key: AttestationKey) -> bytes:
    lines = [_VERSION, provider, *(f"{name}:{headers.get(name, '')}" for name in _ATTESTED)]
    content = "\n".join([*lines, hashlib.sha256(body).hexdigest()])
    return hmac.digest(key.secret, content.encode("utf-8", "surrogatepass"), hashlib.sha256)
