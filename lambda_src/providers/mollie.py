"""Mollie.

Signature: https://docs.mollie.com/reference/webhooks-new#verifying-signatures
Events: https://docs.mollie.com/reference/webhooks-new#event-types

These are the webhooks that Mollie signs and fills with the entity, not the older ones that only name an id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_decimal
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

NAME = "mollie"
SIGNATURE = BodyHmac("x-mollie-signature", "sha256", "hex", prefix="sha256=")

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("type"), "type")
    entity = part(body, "_embedded", "entity")
    subject, _, _ = event_type.partition(".")
    payment = _payment(subject, body, entity)
    movement, problem = movement_or_problem(lambda: _movement(event_type, entity) if payment else None)
    return [
        Event(
            provider=NAME,
            account=NO_ACCOUNT,
            id=as_text(body.get("id"), "id"),
            type=event_type,
            kind=Kind.PAYOUT if subject == "payout" else _KINDS.get(event_type, Kind.OTHER),
            payment=payment,
            occurred_at=moment_or_none(body.get("createdAt")),
            movement=movement,
            problem=problem,
        )
    ]


def _payment(subject: str, body: Mapping[str, Any], entity: Mapping[str, Any]) -> str | None:
    if subject == "payment":
        return text_or_none(body.get("entityId"), "entityId")
    if subject in ("refund", "chargeback", "capture"):
        return text_or_none(entity.get("paymentId"), "paymentId")
    return None


_KINDS = {
    "payment.authorized": Kind.AUTHORISED,
    "payment.paid": Kind.CAPTURED,
    "payment.failed": Kind.FAILED,
    "payment.canceled": Kind.CANCELLED,
    "payment.expired": Kind.CANCELLED,
    "capture.succeeded": Kind.CAPTURED,
    "refund.queued": Kind.REFUND_PENDING,
    "refund.pending": Kind.REFUND_PENDING,
    "refund.processing": Kind.REFUND_PENDING,
    "refund.refunded": Kind.REFUNDED,
    "refund.failed": Kind.REFUND_FAILED,
    "refund.canceled": Kind.REFUND_FAILED,
    "chargeback.received": Kind.DISPUTE_OPENED,
    "chargeback.reversed": Kind.DISPUTE_WON,
}


def _movement(event_type: str, entity: Mapping[str, Any]) -> Movement | None:
    """The money that this event carries. What was authorised first is told by its captures, else payment.paid does.

    payment-link.paid tells of what payment.paid tells.
    """
    match event_type:
        case "payment.authorized":
            return _moved(Measure.AUTHORISED, entity)
        case "payment.paid" if not entity.get("authorizedAt"):
            return _moved(Measure.CAPTURED, entity)
        case "capture.succeeded":
            return _moved(Measure.CAPTURED, entity)
        case "refund.refunded":
            return _moved(Measure.REFUNDED, entity)
        case "chargeback.received":
            return _moved(Measure.DISPUTED, entity)
        case "chargeback.reversed":
            return _moved(Measure.DISPUTED, entity).reversed()
        case _:
            return None


def _moved(measure: Measure, entity: Mapping[str, Any]) -> Movement:
    amount = part(entity, "amount")
    money = read_decimal(amount.get("value"), amount.get("currency"))
    return Movement(measure, as_text(entity.get("id"), "the entity's id"), money)
