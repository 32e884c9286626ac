"""Standard Webhooks, for providers and in-house systems that follow the specification.

Signature: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
Payload: `{"type", "timestamp", "data"}` as the specification has it. It leaves the types and the data to the
sender; ours are in docs/providers.md: `payment.captured` with
`{"payment", "account", "movement", "amount", "currency"}`, and so on.
"""

from __future__ import annotations

import base64
import binascii
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
from providers.keys import InvalidKeysError, Key, usable_keys
from providers.schemes import check_age, from_base64, hmac_signed_by, required_header

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "standard"

_SECRET_PREFIX = "whsec_"  # noqa: S105
_PUBLIC_KEY_PREFIX = "whpk_"


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> Signature:
    """Verify `webhook-signature` over `{webhook-id}.{webhook-timestamp}.{body}`: v1 (HMAC) or v1a (Ed25519).

    Which of the two counts is the key's to say, so that neither can stand in for the other.
    """
    message_id = required_header(delivery.headers, "webhook-id")
    timestamp = required_header(delivery.headers, "webhook-timestamp")
    listed = required_header(delivery.headers, "webhook-signature").split(" ")
    check_age(timestamp, delivery.received_at)
    content = f"{message_id}.{timestamp}.".encode() + delivery.body
    secret: list[Key] = []
    public: list[Key] = []
    for key in usable_keys(settings, delivery.received_at):
        (public if key.secret.startswith(_PUBLIC_KEY_PREFIX) else secret).append(key)
    symmetric = [from_base64(entry.removeprefix("v1,")) for entry in listed if entry.startswith("v1,")]
    try:
        key_id = hmac_signed_by(((key, _bytes(key, _SECRET_PREFIX)) for key in secret), content, symmetric)
        return Signature("standard-webhooks-v1", key_id)
    except NotAuthenticError:
        if not public:
            raise
    from providers.asymmetric import ed25519_signed_by  # noqa: PLC0415 (only who needs it pays for it)

    asymmetric = [from_base64(entry.removeprefix("v1a,")) for entry in listed if entry.startswith("v1a,")]
    key_id = ed25519_signed_by(((key, _bytes(key, _PUBLIC_KEY_PREFIX)) for key in public), content, asymmetric)
    return Signature("standard-webhooks-v1a", key_id)


def _bytes(key: Key, prefix: str) -> bytes:
    try:
        return base64.b64decode(key.secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKeysError(f"a secret of standard is not base64 after {prefix}") from None


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    message_id = as_text(delivery.headers.get("webhook-id"), "webhook-id")
    body = delivery.document()
    event_type = as_text(body.get("type"), "type")
    data = part(body, "data")
    kind = _KINDS.get(event_type, Kind.OTHER)
    payment = text_or_none(data.get("payment"), "data.payment") if kind is not Kind.PAYOUT else None

    def moved() -> Movement | None:
        if not payment or event_type not in _MEASURES or "amount" not in data:
            return None
        money = read_minor_units(data["amount"], data.get("currency"))
        return Movement(_MEASURES[event_type], as_text(data.get("movement", message_id), "data.movement"), money)

    movement, problem = movement_or_problem(moved)
    return [
        Event(
            provider=NAME,
            account=text_or_none(data.get("account"), "data.account") or NO_ACCOUNT,
            id=message_id,
            type=event_type,
            kind=kind,
            payment=payment,
            occurred_at=moment_or_none(body.get("timestamp")),
            movement=movement,
            problem=problem,
        )
    ]


_KINDS = {
    "payment.authorised": Kind.AUTHORISED,
    "payment.captured": Kind.CAPTURED,
    "payment.settled": Kind.SETTLED,
    "payment.failed": Kind.FAILED,
    "payment.cancelled": Kind.CANCELLED,
    "refund.pending": Kind.REFUND_PENDING,
    "refund.succeeded": Kind.REFUNDED,
    "refund.failed": Kind.REFUND_FAILED,
    "dispute.opened": Kind.DISPUTE_OPENED,
    "dispute.won": Kind.DISPUTE_WON,
    "dispute.lost": Kind.DISPUTE_LOST,
    "payout.paid": Kind.PAYOUT,
    "payout.failed": Kind.PAYOUT,
}

_MEASURES = {
    "payment.authorised": Measure.AUTHORISED,
    "payment.captured": Measure.CAPTURED,
    "refund.succeeded": Measure.REFUNDED,
    "dispute.opened": Measure.DISPUTED,
    "dispute.won": Measure.DISPUTED,
}
