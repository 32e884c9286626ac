"""Checkout.com.

Signature: https://www.checkout.com/docs/developer-resources/webhooks/webhook-signature
Events: https://www.checkout.com/docs/developer-resources/webhooks/webhook-event-types
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_minor_units
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    as_text,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.schemes import BodyHmac

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "checkout"
SIGNATURE = BodyHmac("cko-signature", "sha256", "hex")

# https://www.checkout.com/docs/developer-resources/calculating-the-value: CLP in hundredths, CLF in full.
_EXPONENTS = {"CLP": 2, "CLF": 0}

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("type"), "type")
    data = part(body, "data")
    payment = _payment(event_type, data)
    movement, problem = movement_or_problem(lambda: _movement(event_type, data) if payment else None)
    return [
        Event(
            provider=NAME,
            account=NO_ACCOUNT,
            id=as_text(body.get("id"), "id"),
            type=event_type,
            kind=_KINDS.get(event_type, Kind.OTHER),
            payment=payment,
            occurred_at=moment_or_none(body.get("created_on")),
            movement=movement,
            problem=problem,
        )
    ]


def _payment(event_type: str, data: Mapping[str, Any]) -> str | None:
    if event_type.startswith("payment_"):
        return text_or_none(data.get("id"), "data.id")
    if event_type.startswith("dispute_"):
        return text_or_none(data.get("payment_id"), "data.payment_id")
    return None


_KINDS = {
    "payment_approved": Kind.AUTHORISED,
    "payment_declined": Kind.FAILED,
    "payment_expired": Kind.CANCELLED,
    "payment_canceled": Kind.CANCELLED,
    "payment_voided": Kind.CANCELLED,
    "payment_captured": Kind.CAPTURED,
    "payment_refund_pending": Kind.REFUND_PENDING,
    "payment_refunded": Kind.REFUNDED,
    "payment_refund_declined": Kind.REFUND_FAILED,
    "dispute_received": Kind.DISPUTE_OPENED,
    "dispute_evidence_required": Kind.DISPUTE_OPENED,
    "dispute_evidence_submitted": Kind.DISPUTE_OPENED,
    "dispute_won": Kind.DISPUTE_WON,
    "dispute_canceled": Kind.DISPUTE_WON,
    "dispute_resolved": Kind.DISPUTE_WON,
    "dispute_lost": Kind.DISPUTE_LOST,
    "dispute_accepted": Kind.DISPUTE_LOST,
    "dispute_expired": Kind.DISPUTE_LOST,
}


def _movement(event_type: str, data: Mapping[str, Any]) -> Movement | None:
    """The money that this event carries, under the id of its action; a dispute's under the dispute's own."""
    match event_type:
        case "payment_approved":
            return _moved(Measure.AUTHORISED, data, "action_id")
        case "payment_captured":
            return _moved(Measure.CAPTURED, data, "action_id")
        case "payment_refunded":
            return _moved(Measure.REFUNDED, data, "action_id")
        case "dispute_received" | "dispute_evidence_required":
            return _moved(Measure.DISPUTED, data, "id")
        case "dispute_won" | "dispute_canceled" | "dispute_resolved":
            return _moved(Measure.DISPUTED, data, "id").reversed()
        case _:
            return None


def _moved(measure: Measure, data: Mapping[str, Any], name: str) -> Movement:
    money = read_minor_units(data.get("amount"), data.get("currency"), _EXPONENTS)
    return Movement(measure, as_text(data.get(name), f"data.{name}"), money)
