"""Which of the two systems owns a payment, and acts on it outwardly, while both run side by side."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NamedTuple

_BUCKETS = 10_000


class Owner(StrEnum):
    """The system that acts on an event."""

    LEGACY = "legacy"
    AWS = "aws"


class Mode(StrEnum):
    """How the relay routes."""

    LEGACY = "legacy"
    PARALLEL = "parallel"
    CANARY = "canary"
    AWS = "aws"


class Routing(NamedTuple):
    """The relay's routing when it received an event."""

    mode: Mode
    hundredths: int
    """The canary's share in hundredths of a per cent, 0 to 10,000."""
    salt: str
    epoch: int
    """Counts the changes of the routing."""

    def owner(self, payment: str) -> Owner:
        """The owner of a payment's event. A payment that AWS owns at N % is AWS's at every greater N."""
        match self.mode:
            case Mode.AWS:
                return Owner.AWS
            case Mode.CANARY if bucket(self.salt, payment) < self.hundredths:
                return Owner.AWS
            case _:
                return Owner.LEGACY

    def __str__(self) -> str:
        return f"mode={self.mode};hundredths={self.hundredths};salt={self.salt};epoch={self.epoch}"


class MalformedRoutingError(ValueError):
    """A routing header is not in the form that Routing writes."""


def parse_routing(text: str) -> Routing:
    """Read the routing as Routing writes it, or raise MalformedRoutingError."""
    fields = dict(part.partition("=")[::2] for part in text.split(";"))
    try:
        hundredths, epoch = int(fields["hundredths"]), int(fields["epoch"])
        routing = Routing(Mode(fields["mode"]), hundredths, fields["salt"], epoch)
    except (KeyError, ValueError) as error:
        raise MalformedRoutingError(f"not a routing: {error}") from None
    if not 0 <= hundredths <= _BUCKETS:
        raise MalformedRoutingError("the share is not between 0 and 10000 hundredths of a per cent")
    return routing


def bucket(salt: str, payment: str) -> int:
    """The bucket of a payment, 0 to 9,999."""
    return int.from_bytes(hashlib.sha256(f"{salt}|{payment}".encode()).digest()[:8]) % _BUCKETS
