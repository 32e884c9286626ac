"""Square.

Signature: https://developer.squareup.com/docs/webhooks/step3validate
Events: https://developer.squareup.com/reference/square/webhooks
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
from providers.keys import InvalidKeysError
from providers.schemes import BodyHmac

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "square"
SIGNATURE = BodyHmac("x-square-hmacsha256-signature", "sha256", "base64")


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> Signature:
    """Verify the HMAC over the notification URL, as it is configured at Square, and the body."""
    return SIGNATURE.verify(delivery, settings, before=notification_url(settings))


def notification_url(settings: Mapping[str, Any]) -> bytes:
    """The public URL at which Square calls, or InvalidKeysError."""
    url = settings.get("notification_url")
    if not isinstance(url, str) or not url:
        raise InvalidKeysError("the settings of square have no text 'notification_url'")
    return url.encode()


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("type"), "type")
    subject, _, _ = event_type.partition(".")
    thing = part(body, "data", "object", subject)
    payment = _payment(subject, thing)
    movement, problem = movement_or_problem(lambda: _movement(event_type, thing) if payment else None)
    return [
        Event(
            provider=NAME,
            account=text_or_none(body.get("merchant_id"), "merchant_id") or NO_ACCOUNT,
            id=as_text(body.get("event_id"), "event_id"),
            type=event_type,
            kind=Kind.PAYOUT if subject == "payout" else _KINDS.get((subject, _state(thing)), Kind.OTHER),
            payment=payment,
            occurred_at=moment_or_none(body.get("created_at")),
            movement=movement,
            problem=problem,
        )
    ]


def _payment(subject: str, thing: Mapping[str, Any]) -> str | None:
    match subject:
        case "payment":
            return as_text(thing.get("id"), "the payment's id")
        case "refund":
            return text_or_none(thing.get("payment_id"), "the refund's payment_id")
        case "dispute":
            return text_or_none(part(thing, "disputed_payment").get("payment_id"), "disputed_payment.payment_id")
        case _:
            return None


def _state(thing: Mapping[str, Any]) -> str:
    return str(thing.get("status") or thing.get("state"))


_KINDS = {
    # https://developer.squareup.com/reference/square/objects/Payment#definition__property-status
    ("payment", "APPROVED"): Kind.AUTHORISED,
    ("payment", "COMPLETED"): Kind.CAPTURED,
    ("payment", "CANCELED"): Kind.CANCELLED,
    ("payment", "FAILED"): Kind.FAILED,
    # https://developer.squareup.com/reference/square/objects/PaymentRefund#definition__property-status
    ("refund", "PENDING"): Kind.REFUND_PENDING,
    ("refund", "COMPLETED"): Kind.REFUNDED,
    ("refund", "REJECTED"): Kind.REFUND_FAILED,
    ("refund", "FAILED"): Kind.REFUND_FAILED,
    # https://developer.squareup.com/reference/square/enums/DisputeState
    ("dispute", "INQUIRY_EVIDENCE_REQUIRED"): Kind.DISPUTE_OPENED,
    ("dispute", "INQUIRY_PROCESSING"): Kind.DISPUTE_OPENED,
    ("dispute", "EVIDENCE_REQUIRED"): Kind.DISPUTE_OPENED,
    ("dispute", "PROCESSING"): Kind.DISPUTE_OPENED,
    ("dispute", "INQUIRY_CLOSED"): Kind.DISPUTE_WON,
    ("dispute", "WON"): Kind.DISPUTE_WON,
    ("dispute", "LOST"): Kind.DISPUTE_LOST,
    ("dispute", "ACCEPTED"): Kind.DISPUTE_LOST,
}


def _movement(event_type: str, thing: Mapping[str, Any]) -> Movement | None:
    """The money that the object's status tells of.

    payment.updated comes again and again with the same object; the payment's id makes its capture one movement.
    """
    subject, _, _ = event_type.partition(".")
    match subject, _state(thing):
        case "payment", "APPROVED":
            return _moved(Measure.AUTHORISED, thing, "total_money")
        case "payment", "COMPLETED":
            return _moved(Measure.CAPTURED, thing, "total_money")
        case "refund", "COMPLETED":
            return _moved(Measure.REFUNDED, thing, "amount_money")
        case "dispute", _ if event_type == "dispute.created":
            return _moved(Measure.DISPUTED, thing, "amount_money")
        case "dispute", "WON" | "INQUIRY_CLOSED":
            return _moved(Measure.DISPUTED, thing, "amount_money").reversed()
        case _:
            return None


def _moved(measure: Measure, thing: Mapping[str, Any], name: str) -> Movement:
    amount = part(thing, name)
    money = read_minor_units(amount.get("amount"), amount.get("currency"))
    return Movement(measure, as_text(thing.get("id") or thing.get("dispute_id"), "the id of what moved"), money)
