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
from payments.money import UnreadableAmountError, read_minor_units
from providers.base import Delivery, Item, as_text, moment_or_none, read_object, text_or_none
from providers.errors import MalformedDeliveryError
from providers.keys import InvalidKeysError, usable_keys
from providers.schemes import check_age, from_base64, required_header, sha256_signed_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "standard"
SCHEME = "standard-webhooks-v1"

_SECRET_PREFIX = "whsec_"  # noqa: S105


def open_delivery(delivery: Delivery, settings: Mapping[str, Any]) -> Sequence[Item]:
    """Verify `webhook-signature` over `{webhook-id}.{webhook-timestamp}.{body}`, then read the one event."""
    message_id = required_header(delivery.headers, "webhook-id")
    timestamp = required_header(delivery.headers, "webhook-timestamp")
    listed = required_header(delivery.headers, "webhook-signature").split(" ")
    check_age(timestamp, delivery.received_at)
    signatures = [from_base64(entry.removeprefix("v1,")) for entry in listed if entry.startswith("v1,")]
    keys = ((key, _secret_bytes(key.secret)) for key in usable_keys(settings, delivery.received_at))
    key_id = sha256_signed_by(keys, f"{message_id}.{timestamp}.".encode() + delivery.body, signatures)
    return [Item(_read(as_text(message_id, "webhook-id"), read_object(delivery.body)), key_id)]


def _secret_bytes(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKeysError("a secret of standard is not base64 after whsec_") from None


def _read(message_id: str, body: dict[str, Any]) -> Event:
    event_type = as_text(body.get("type"), "type")
    data = body.get("data")
    data = data if isinstance(data, dict) else {}
    kind = _KINDS.get(event_type, Kind.OTHER)
    payment = text_or_none(data.get("payment"), "data.payment") if kind is not Kind.PAYOUT else None
    movement, problem = None, None
    if payment and event_type in _MEASURES and "amount" in data:
        try:
            money = read_minor_units(data["amount"], data.get("currency"))
            movement_id = as_text(data.get("movement", message_id), "data.movement")
            movement = Movement(_MEASURES[event_type], movement_id, money)
        except (UnreadableAmountError, MalformedDeliveryError) as error:
            problem = str(error)
    return Event(
        provider=NAME,
        account=text_or_none(data.get("account"), "data.account") or "-",
        id=message_id,
        type=event_type,
        kind=kind,
        payment=payment,
        occurred_at=moment_or_none(body.get("timestamp")),
        movement=movement,
        problem=problem,
    )


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
