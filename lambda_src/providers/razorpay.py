"""Razorpay.

Signature: https://razorpay.com/docs/webhooks/validate-test/
Events: https://razorpay.com/docs/webhooks/payloads/

The event's id comes in a header that is not signed, so that an event is known by its signed content instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_minor_units
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    as_id,
    as_text,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.schemes import BodyHmac

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "razorpay"
SIGNATURE = BodyHmac("x-razorpay-signature", "sha256", "hex")

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("event"), "event")
    subject = "dispute" if event_type.startswith("payment.dispute.") else event_type.partition(".")[0]
    thing = part(body, "payload", subject, "entity")
    payment = _payment(subject, body, thing)
    movement, problem = movement_or_problem(lambda: _movement(event_type, thing) if payment else None)
    return [
        Event(
            provider=NAME,
            account=text_or_none(body.get("account_id"), "account_id") or NO_ACCOUNT,
            id=f"{event_type}:{as_text(thing.get('id'), 'the id')}:{as_id(body.get('created_at'), 'created_at')}",
            type=event_type,
            kind=Kind.PAYOUT if subject in _PAYOUTS else _KINDS.get(event_type, Kind.OTHER),
            payment=payment,
            occurred_at=moment_or_none(body.get("created_at")),
            movement=movement,
            problem=problem,
        )
    ]


_PAYOUTS = frozenset({"payout", "settlement"})


def _payment(subject: str, body: Mapping[str, Any], thing: Mapping[str, Any]) -> str | None:
    match subject:
        case "payment":
            return as_text(thing.get("id"), "the payment's id")
        case "refund" | "dispute":
            return text_or_none(thing.get("payment_id"), "payment_id")
        case "order" | "invoice" | "payment_link":
            return text_or_none(part(body, "payload", "payment", "entity").get("id"), "the payment's id")
        case _:
            return None


_KINDS = {
    "payment.authorized": Kind.AUTHORISED,
    "payment.captured": Kind.CAPTURED,
    "order.paid": Kind.CAPTURED,
    "payment.failed": Kind.FAILED,
    "refund.created": Kind.REFUND_PENDING,
    "refund.processed": Kind.REFUNDED,
    "refund.failed": Kind.REFUND_FAILED,
    "payment.dispute.created": Kind.DISPUTE_OPENED,
    "payment.dispute.action_required": Kind.DISPUTE_OPENED,
    "payment.dispute.under_review": Kind.DISPUTE_OPENED,
    "payment.dispute.won": Kind.DISPUTE_WON,
    "payment.dispute.lost": Kind.DISPUTE_LOST,
}


def _movement(event_type: str, thing: Mapping[str, Any]) -> Movement | None:
    """The money that this event carries; order.paid, invoice.paid and payment_link.paid repeat payment.captured."""
    match event_type:
        case "payment.authorized":
            return _moved(Measure.AUTHORISED, thing)
        case "payment.captured":
            return _moved(Measure.CAPTURED, thing)
        case "refund.processed":
            return _moved(Measure.REFUNDED, thing)
        case "payment.dispute.created":
            return _moved(Measure.DISPUTED, thing)
        case "payment.dispute.won":
            return _moved(Measure.DISPUTED, thing).reversed()
        case _:
            return None


def _moved(measure: Measure, thing: Mapping[str, Any]) -> Movement:
    money = read_minor_units(thing.get("amount"), thing.get("currency"))
    return Movement(measure, as_text(thing.get("id"), "the id of what moved"), money)
