"""A payment event in canonical form, whoever sent it.

These are NamedTuples, not dataclasses: they are as typed and as frozen, and do not import `inspect`, which a
cold start would pay for.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from payments.money import Money


class Kind(StrEnum):
    """What happened to a payment, in the words that all providers share."""

    AUTHORISED = "authorised"
    CAPTURED = "captured"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUND_PENDING = "refund_pending"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    PAYOUT = "payout"
    OTHER = "other"


class Measure(StrEnum):
    """What a movement of money adds to."""

    AUTHORISED = "authorised"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


class Movement(NamedTuple):
    """Money that moved once: the same movement told twice changes nothing."""

    measure: Measure
    id: str
    """The provider's id of the movement, the same in every event that tells of it."""
    money: Money

    def reversed(self) -> Movement:
        """The movement that takes this one back."""
        return Movement(self.measure, f"{self.id}:reversed", self.money._replace(minor_units=-self.money.minor_units))


class Event(NamedTuple):
    """One event as a provider tells it."""

    provider: str
    account: str
    """The merchant account at the provider; "-" where the provider names none."""
    id: str
    """The provider's own id of the event, by which it is known to be the same again."""
    type: str
    """The provider's own name for what happened."""
    kind: Kind
    payment: str | None
    """The provider's id of the payment; None for an event about no payment."""
    occurred_at: datetime | None
    """When it happened according to the provider, in UTC."""
    movement: Movement | None = None
    problem: str | None = None
    """What could not be read, for people; the event is kept all the same."""
    by_transport: tuple[str, ...] = ()
    """The fields that the provider's signature does not cover: TLS and IAM alone vouch for them."""
    transmission: str | None = None
    """The id of the signed transmission, where the signature binds the event less firmly than this id."""

    @property
    def moves_status(self) -> bool:
        """Whether the event tells how far its payment has come."""
        return self.payment is not None and self.kind not in (Kind.PAYOUT, Kind.OTHER)

    def digest(self) -> str:
        """SHA-256 over what the event says, without its envelope.

        The same id with another digest is another event under a used id. A time that the provider does not sign
        stays out, for resends may carry another.
        """
        movement = self.movement
        time_is_signed = "occurred_at" not in self.by_transport
        said = [
            self.provider,
            self.account,
            self.id,
            self.type,
            self.payment,
            self.occurred_at.isoformat() if self.occurred_at and time_is_signed else None,
            [movement.measure, movement.id, *movement.money] if movement else None,
        ]
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
