"""Adyen for Platforms (balance platform webhooks).

Signature: https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures?tab=platform
Events: https://docs.adyen.com/api-explorer/transfer-webhooks/latest/overview

A payment here is the PSP reference of the shopper's payment, and each transfer of it the share of one balance
account: captures of a split payment add up over its transfers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_minor_units
from providers.adyen import EXPONENTS
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    as_text,
    id_or_none,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.schemes import BodyHmac, hex_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "adyen-platforms"
SIGNATURE = BodyHmac("hmacsignature", "sha256", "base64", secret_bytes=hex_secret)

_TRANSFER = "balancePlatform.transfer."

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event]:
    """Read the one event. Adyen numbers the events of a transfer; other events are known by their content."""
    body = delivery.document()
    event_type = as_text(body.get("type"), "type")
    data = part(body, "data")
    transfer = data if event_type.startswith(_TRANSFER) else {}
    of_payment = transfer.get("category") == "platformPayment"
    status = transfer.get("status")
    sequence = id_or_none(transfer.get("sequenceNumber"), "data.sequenceNumber")
    transfer_id = text_or_none(transfer.get("id"), "data.id")
    numbered = f"{transfer_id}:{sequence}" if transfer_id and sequence else None
    payment = (
        text_or_none(part(transfer, "categoryData").get("pspPaymentReference"), "pspPaymentReference")
        if of_payment
        else None
    )
    movement, problem = movement_or_problem(lambda: _movement(transfer) if payment else None)
    return [
        Event(
            provider=NAME,
            account=text_or_none(data.get("balancePlatform"), "data.balancePlatform") or NO_ACCOUNT,
            id=f"{event_type}:{numbered or hashlib.sha256(delivery.body).hexdigest()}",
            type=event_type,
            kind=_kind(transfer, str(status)) if of_payment else _OTHER_CATEGORIES.get(_category(data), Kind.OTHER),
            payment=payment,
            occurred_at=moment_or_none(body.get("timestamp") or transfer.get("updatedAt")),
            movement=movement,
            problem=problem,
        )
    ]


def _category(data: Mapping[str, Any]) -> str:
    return str(data.get("category"))


# https://docs.adyen.com/api-explorer/transfer-webhooks/latest/post/balancePlatform.transfer.updated: data.category
_OTHER_CATEGORIES = {"bank": Kind.PAYOUT}

# The same page: data.status.
_KINDS = {
    "authorised": Kind.AUTHORISED,
    "captured": Kind.CAPTURED,
    "booked": Kind.SETTLED,
    "refused": Kind.FAILED,
    "rejected": Kind.FAILED,
    "failed": Kind.FAILED,
    "error": Kind.FAILED,
    "cancelled": Kind.CANCELLED,
    "expired": Kind.CANCELLED,
    "captureReversed": Kind.FAILED,
    "refundPending": Kind.REFUND_PENDING,
    "refunded": Kind.REFUNDED,
    "refundReversed": Kind.REFUND_FAILED,
    "chargebackPending": Kind.DISPUTE_OPENED,
    "chargeback": Kind.DISPUTE_OPENED,
    "chargebackReversed": Kind.DISPUTE_WON,
    "secondChargeback": Kind.DISPUTE_LOST,
}


def _kind(transfer: Mapping[str, Any], status: str) -> Kind:
    if transfer.get("type") == "refund" and status in {"failed", "error", "refused", "rejected"}:
        return Kind.REFUND_FAILED
    return _KINDS.get(status, Kind.OTHER)


_MOVEMENTS = {
    # status: measure, whether the money goes back
    "captured": (Measure.CAPTURED, False),
    "captureReversed": (Measure.CAPTURED, True),
    "refunded": (Measure.REFUNDED, False),
    "refundReversed": (Measure.REFUNDED, True),
    "chargeback": (Measure.DISPUTED, False),
    "chargebackReversed": (Measure.DISPUTED, True),
}


def _movement(transfer: Mapping[str, Any]) -> Movement | None:
    """The money that the transfer's status tells of: a transfer is captured, refunded or charged back once."""
    if transfer.get("status") not in _MOVEMENTS:
        return None
    measure, back = _MOVEMENTS[transfer["status"]]
    amount = part(transfer, "amount")
    money = read_minor_units(amount.get("value"), amount.get("currency"), EXPONENTS)
    movement = Movement(measure, as_text(transfer.get("id"), "data.id"), money)
    return movement.reversed() if back else movement
