"""Paystack.

Signature: https://paystack.com/docs/payments/webhooks/#verify-event-origin
Events: https://paystack.com/docs/payments/webhooks/#types-of-events

There are no event ids: a kind of event happens to its subject once, and a reminder of a dispute says nothing new.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_minor_units
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    as_id,
    as_text,
    id_or_none,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.schemes import BodyHmac

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "paystack"
SIGNATURE = BodyHmac("x-paystack-signature", "sha512", "hex")

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("event"), "event")
    data = part(body, "data")
    subject = _subject(event_type, data)
    payment = _payment(event_type, data)
    movement, problem = movement_or_problem(lambda: _movement(event_type, data) if payment else None)
    return [
        Event(
            provider=NAME,
            account=NO_ACCOUNT,
            id=f"{event_type}:{subject or hashlib.sha256(delivery.body).hexdigest()}",
            type=event_type,
            kind=Kind.PAYOUT if event_type.startswith("transfer.") else _kind(event_type, data),
            payment=payment,
            occurred_at=_moment(data),
            movement=movement,
            problem=problem,
        )
    ]


def _subject(event_type: str, data: Mapping[str, Any]) -> str | None:
    if event_type.startswith("refund."):
        return _refund(data)
    return id_or_none(data.get("id"), "data.id")


def _refund(data: Mapping[str, Any]) -> str | None:
    return id_or_none(data.get("refund_reference") or data.get("id"), "refund_reference")


def _payment(event_type: str, data: Mapping[str, Any]) -> str | None:
    """The reference of the transaction, which refunds and disputes name too."""
    if event_type.startswith("charge.dispute."):
        return text_or_none(part(data, "transaction").get("reference"), "transaction.reference")
    if event_type.startswith("charge."):
        return text_or_none(data.get("reference"), "data.reference")
    if event_type.startswith("refund."):
        return text_or_none(data.get("transaction_reference"), "transaction_reference")
    return None


def _moment(data: Mapping[str, Any]) -> Any:
    moments = (
        moment_or_none(data.get(name)) for name in ("resolvedAt", "paid_at", "updatedAt", "created_at", "createdAt")
    )
    return next((moment for moment in moments if moment), None)


_KINDS = {
    "charge.success": Kind.CAPTURED,
    "charge.failed": Kind.FAILED,
    "refund.pending": Kind.REFUND_PENDING,
    "refund.processing": Kind.REFUND_PENDING,
    "refund.processed": Kind.REFUNDED,
    "refund.failed": Kind.REFUND_FAILED,
    "charge.dispute.create": Kind.DISPUTE_OPENED,
    "charge.dispute.remind": Kind.DISPUTE_OPENED,
}


def _kind(event_type: str, data: Mapping[str, Any]) -> Kind:
    if event_type == "charge.dispute.resolve":
        return Kind.DISPUTE_WON if _won(data) else Kind.DISPUTE_LOST
    return _KINDS.get(event_type, Kind.OTHER)


def _won(dispute: Mapping[str, Any]) -> bool:
    # https://paystack.com/docs/payments/manage-disputes/: a dispute that the merchant declined went his way.
    return dispute.get("resolution") == "declined"


def _movement(event_type: str, data: Mapping[str, Any]) -> Movement | None:
    """The money that this event carries."""
    match event_type:
        case "charge.success":
            return _moved(Measure.CAPTURED, data.get("id"), data, "amount")
        case "refund.processed":
            return _moved(Measure.REFUNDED, _refund(data), data, "amount")
        case "charge.dispute.create":
            return _moved(Measure.DISPUTED, data.get("id"), data, "refund_amount")
        case "charge.dispute.resolve" if _won(data):
            return _moved(Measure.DISPUTED, data.get("id"), data, "refund_amount").reversed()
        case _:
            return None


def _moved(measure: Measure, movement_id: Any, data: Mapping[str, Any], name: str) -> Movement:
    amount = data.get(name)
    # Refunds write their amount as a text of digits.
    if isinstance(amount, str) and amount.isascii() and amount.isdecimal() and len(amount) <= _LONGEST_AMOUNT:
        amount = int(amount)
    return Movement(
        measure, as_id(movement_id, "the id of what moved"), read_minor_units(amount, data.get("currency"))
    )


_LONGEST_AMOUNT = 30
