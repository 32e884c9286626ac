"""A delivery that was verified once: whoever has it later trusts what was recorded then, never the keys of now."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import providers
from providers.base import Delivery, Signature, join

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from payments.routing import Routing
    from providers.base import Item

_OF_THE_TRANSPORT = (
    "accept", "authorization", "connection", "content-length", "cookie", "host", "te", "transfer-encoding",
    "user-agent", "via", "x-amz-", "x-amzn-", "x-envmig-", "x-forwarded-",
)  # fmt: skip
"""How the names of headers begin that say nothing of the event."""


class VerifiedDelivery(NamedTuple):
    """What came, when, how it was routed, and what vouches for it."""

    provider: str
    headers: Mapping[str, str]
    """The provider's own, by lower-case name."""
    body: bytes
    """As sent, byte for byte."""
    received_at: datetime
    routing: Routing | None
    """The relay's, when it is attested."""
    trace: str
    verified_at: datetime
    signatures: Signature | Sequence[Signature | None]
    """One for the whole delivery, or one for each item; None for an item that was refused."""

    @property
    def body_sha256(self) -> str:
        """The SHA-256 of the body as sent, in hex."""
        return hashlib.sha256(self.body).hexdigest()

    def items(self) -> list[Item]:
        """Read the delivery's items, or raise MalformedDeliveryError or UnknownProviderError."""
        delivery = Delivery(self.headers, self.body, self.received_at)
        return join(self.signatures, providers.load(self.provider).read(delivery))


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The provider's headers, without those of the transport."""
    return {name: value for name, value in headers.items() if not name.startswith(_OF_THE_TRANSPORT)}
