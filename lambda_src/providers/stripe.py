"""Stripe.

Signature: https://docs.stripe.com/webhooks#verify-manually
Events: https://docs.stripe.com/api/events/types
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_minor_units
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    Signature,
    as_text,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.errors import NotAuthenticError
from providers.keys import usable_keys
from providers.schemes import check_age, from_hex, hmac_signed_by, required_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "stripe"

# https://docs.stripe.com/currencies#special-cases: amounts of these stay in hundredths.
_EXPONENTS = {"ISK": 2, "UGX": 2}


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> Signature:
    """Verify `Stripe-Signature: t=…,v1=…` over `{t}.{body}`."""
    timestamps, signatures = [], []
    for pair in required_header(delivery.headers, "stripe-signature").split(","):
        name, _, value = pair.strip().partition("=")
        if name == "t":
            timestamps.append(value)
        elif name == "v1":
            signatures.append(from_hex(value))
    if len(timestamps) != 1:
        raise NotAuthenticError("the header stripe-signature has not exactly one time")
    check_age(timestamps[0], delivery.received_at)
    keys = ((key, key.secret.encode()) for key in usable_keys(settings, delivery.received_at))
    key_id = hmac_signed_by(keys, f"{timestamps[0]}.".encode() + delivery.body, signatures)
    return Signature("stripe-v1", key_id)


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("type"), "the event's type")
    # A thin event has no object. It is authentic, so it is kept, without a payment.
    thing = part(body, "data", "object")
    payment = _payment(thing)
    movement, problem = movement_or_problem(lambda: _movement(event_type, thing))
    return [
        Event(
            provider=NAME,
            account=text_or_none(body.get("account"), "the event's account") or NO_ACCOUNT,
            id=as_text(body.get("id"), "the event's id"),
            type=event_type,
            kind=_kind(event_type, thing),
            payment=payment,
            occurred_at=moment_or_none(body.get("created")),
            movement=movement if payment else None,
            problem=problem,
        )
    ]


def _payment(thing: dict[str, Any]) -> str | None:
    """The payment intent where there is one, else the charge: one payment has the same in all its events."""
    match thing.get("object"):
        case "payment_intent":
            return as_text(thing.get("id"), "the payment intent's id")
        case "charge":
            return _reference(thing.get("payment_intent")) or as_text(thing.get("id"), "the charge's id")
        case "refund" | "dispute":
            return _reference(thing.get("payment_intent")) or _reference(thing.get("charge"))
        case _:
            return None


def _reference(value: Any) -> str | None:
    """An id, whether the object it names is expanded or not."""
    return text_or_none(value.get("id") if isinstance(value, dict) else value, "a reference")


def _kind(event_type: str, thing: dict[str, Any]) -> Kind:
    if event_type.startswith("payout."):
        return Kind.PAYOUT
    known = _KINDS.get(event_type)
    return known(thing) if callable(known) else known or Kind.OTHER


def _charge_kind(charge: dict[str, Any]) -> Kind:
    return Kind.CAPTURED if charge.get("captured") else Kind.AUTHORISED


def _refund_kind(refund: dict[str, Any]) -> Kind:
    return {
        "succeeded": Kind.REFUNDED,
        "failed": Kind.REFUND_FAILED,
        "canceled": Kind.REFUND_FAILED,
    }.get(str(refund.get("status")), Kind.REFUND_PENDING)


def _dispute_kind(dispute: dict[str, Any]) -> Kind:
    return {
        "won": Kind.DISPUTE_WON,
        "warning_closed": Kind.DISPUTE_WON,
        "prevented": Kind.DISPUTE_WON,
        "lost": Kind.DISPUTE_LOST,
    }.get(str(dispute.get("status")), Kind.DISPUTE_OPENED)


_KINDS: dict[str, Kind | Callable[[dict[str, Any]], Kind]] = {
    "payment_intent.amount_capturable_updated": Kind.AUTHORISED,
    "payment_intent.succeeded": Kind.CAPTURED,
    "payment_intent.payment_failed": Kind.FAILED,
    "payment_intent.canceled": Kind.CANCELLED,
    "charge.succeeded": _charge_kind,
    "charge.captured": Kind.CAPTURED,
    "charge.failed": Kind.FAILED,
    "charge.expired": Kind.CANCELLED,
    "charge.refunded": Kind.REFUNDED,
    "charge.refund.updated": _refund_kind,
    "refund.created": _refund_kind,
    "refund.updated": _refund_kind,
    "refund.failed": Kind.REFUND_FAILED,
    "charge.dispute.created": Kind.DISPUTE_OPENED,
    "charge.dispute.updated": _dispute_kind,
    "charge.dispute.funds_withdrawn": _dispute_kind,
    "charge.dispute.funds_reinstated": _dispute_kind,
    "charge.dispute.closed": _dispute_kind,
}


def _movement(event_type: str, thing: dict[str, Any]) -> Movement | None:
    """The money that this event carries, if it is the one type that does.

    A capture is told by the charge (charge.succeeded when it is captured at once, else charge.captured);
    payment_intent.succeeded tells of the same. A refund is told by refund.created, and taken back by the
    event of its failure or cancellation; charge.refunded only repeats the sum of all refunds so far.
    """
    match event_type:
        case "charge.succeeded" if not thing.get("captured"):
            return _moved(Measure.AUTHORISED, thing, "amount")
        case "charge.succeeded" | "charge.captured":
            return _moved(Measure.CAPTURED, thing, "amount_captured")
        case "refund.created":
            return _moved(Measure.REFUNDED, thing, "amount")
        case "refund.failed":
            return _moved(Measure.REFUNDED, thing, "amount").reversed()
        case "refund.updated" if thing.get("status") == "canceled":
            return _moved(Measure.REFUNDED, thing, "amount").reversed()
        case "charge.dispute.funds_withdrawn":
            return _moved(Measure.DISPUTED, thing, "amount")
        case "charge.dispute.funds_reinstated":
            return _moved(Measure.DISPUTED, thing, "amount").reversed()
        case _:
            return None


def _moved(measure: Measure, thing: dict[str, Any], amount: str) -> Movement:
    money = read_minor_units(thing.get(amount), thing.get("currency"), _EXPONENTS)
    return Movement(measure, as_text(thing.get("id"), "the id of what moved"), money)
