"""Adyen payments (standard webhooks).

Signature: https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures
Events: https://docs.adyen.com/development-resources/webhooks/webhook-types
Fields: https://docs.adyen.com/api-explorer/Webhooks/latest/overview

Adyen signs each item by eight fields, not by the body. It does not sign eventDate, reason or paymentMethod, and
a colon moved between merchantAccountCode and merchantReference gives the same signature; see docs/providers.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_minor_units
from providers.base import (
    Delivery,
    Signature,
    as_object,
    as_text,
    each_on_its_own,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.errors import MalformedDeliveryError, NotAuthenticError
from providers.keys import usable_keys
from providers.schemes import from_base64, hex_secret, hmac_signed_by

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "adyen"

# https://docs.adyen.com/development-resources/currency-codes
EXPONENTS = {"CLP": 2, "CVE": 0, "ISK": 2}


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> list[Signature | NotAuthenticError]:
    """Verify every item on its own; the body as a whole is not signed."""
    keys = [(key, hex_secret(key.secret)) for key in usable_keys(settings, delivery.received_at)]

    def verdict(entry: Any) -> Signature | NotAuthenticError:
        item = part(entry, "NotificationRequestItem")
        signature = part(item, "additionalData").get("hmacSignature")
        if not isinstance(signature, str):
            return NotAuthenticError("the item has no additionalData.hmacSignature")
        try:
            key_id = hmac_signed_by(keys, _signed_content(item), [from_base64(signature)])
        except NotAuthenticError as refusal:
            return refusal
        return Signature("adyen-hmac", key_id)

    return [verdict(entry) for entry in _entries(delivery)]


def read(delivery: Delivery) -> list[Event | MalformedDeliveryError]:
    """Read every item on its own."""
    return each_on_its_own(_read, _entries(delivery))


def _entries(delivery: Delivery) -> list[Any]:
    listed = delivery.document().get("notificationItems")
    if not isinstance(listed, list) or not listed:
        raise MalformedDeliveryError("the body has no list 'notificationItems'")
    return listed


def _signed_content(item: dict[str, Any]) -> bytes:
    amount = part(item, "amount")
    fields = [
        item.get("pspReference"),
        item.get("originalReference"),
        item.get("merchantAccountCode"),
        item.get("merchantReference"),
        amount.get("value"),
        amount.get("currency"),
        item.get("eventCode"),
        item.get("success"),
    ]
    return ":".join(_plain(field) for field in fields).encode("utf-8", "surrogatepass")


def _plain(field: Any) -> str:
    """A field as Adyen signs it: nothing escaped, nothing for what is missing."""
    if field is None:
        return ""
    if isinstance(field, bool):
        return "true" if field else "false"
    return str(field)


def _read(entry: Any) -> Event:
    item = as_object(as_object(entry, "an item").get("NotificationRequestItem"), "NotificationRequestItem")
    code = as_text(item.get("eventCode"), "eventCode")
    reference = as_text(item.get("pspReference"), "pspReference")
    succeeded = _plain(item.get("success"))
    original = text_or_none(item.get("originalReference") or None, "originalReference")
    kind = _kind(code, succeeded == "true", item)
    about_payment = kind is not Kind.PAYOUT and code not in _NOT_ABOUT_A_PAYMENT
    movement, problem = movement_or_problem(
        lambda: _movement(code, succeeded == "true", reference, item) if about_payment else None
    )
    return Event(
        provider=NAME,
        account=as_text(item.get("merchantAccountCode"), "merchantAccountCode"),
        id=f"{code}:{reference}:{succeeded}",
        type=code,
        kind=kind,
        payment=(original or reference) if about_payment else None,
        occurred_at=moment_or_none(item.get("eventDate")),
        movement=movement,
        problem=problem,
        by_transport=("occurred_at",),
    )


_NOT_ABOUT_A_PAYMENT = frozenset({"REPORT_AVAILABLE"})

_KINDS = {
    # event code: (when it succeeded, when it did not)
    "AUTHORISATION": (Kind.AUTHORISED, Kind.FAILED),
    "AUTHORISATION_ADJUSTMENT": (Kind.AUTHORISED, Kind.OTHER),
    "CANCELLATION": (Kind.CANCELLED, Kind.OTHER),
    "TECHNICAL_CANCEL": (Kind.CANCELLED, Kind.OTHER),
    "EXPIRE": (Kind.CANCELLED, Kind.OTHER),
    "OFFER_CLOSED": (Kind.FAILED, Kind.OTHER),
    "CAPTURE": (Kind.CAPTURED, Kind.FAILED),
    "CAPTURE_FAILED": (Kind.FAILED, Kind.FAILED),
    "REFUND": (Kind.REFUNDED, Kind.REFUND_FAILED),
    "REFUND_FAILED": (Kind.REFUND_FAILED, Kind.REFUND_FAILED),
    "REFUNDED_REVERSED": (Kind.REFUND_FAILED, Kind.OTHER),
    "NOTIFICATION_OF_CHARGEBACK": (Kind.DISPUTE_OPENED, Kind.OTHER),
    "CHARGEBACK": (Kind.DISPUTE_OPENED, Kind.OTHER),
    "CHARGEBACK_REVERSED": (Kind.DISPUTE_WON, Kind.OTHER),
    "SECOND_CHARGEBACK": (Kind.DISPUTE_LOST, Kind.OTHER),
    "PREARBITRATION_WON": (Kind.DISPUTE_WON, Kind.OTHER),
    "PREARBITRATION_LOST": (Kind.DISPUTE_LOST, Kind.OTHER),
    "PAYOUT_THIRDPARTY": (Kind.PAYOUT, Kind.PAYOUT),
    "PAYOUT_DECLINE": (Kind.PAYOUT, Kind.PAYOUT),
    "PAYOUT_EXPIRE": (Kind.PAYOUT, Kind.PAYOUT),
    "PAIDOUT_REVERSED": (Kind.PAYOUT, Kind.PAYOUT),
}


def _kind(code: str, succeeded: bool, item: dict[str, Any]) -> Kind:  # noqa: FBT001
    if code == "CANCEL_OR_REFUND":
        code = "CANCELLATION" if part(item, "additionalData").get("modification.action") == "cancel" else "REFUND"
    when_succeeded, when_failed = _KINDS.get(code, (Kind.OTHER, Kind.OTHER))
    return when_succeeded if succeeded else when_failed


_MOVEMENTS = {
    # event code: measure, whether the money goes back
    "AUTHORISATION": (Measure.AUTHORISED, False),
    "CAPTURE": (Measure.CAPTURED, False),
    "CAPTURE_FAILED": (Measure.CAPTURED, True),
    "REFUND": (Measure.REFUNDED, False),
    "REFUND_FAILED": (Measure.REFUNDED, True),
    "REFUNDED_REVERSED": (Measure.REFUNDED, True),
    "CHARGEBACK": (Measure.DISPUTED, False),
    "SECOND_CHARGEBACK": (Measure.DISPUTED, False),
    "CHARGEBACK_REVERSED": (Measure.DISPUTED, True),
}


def _movement(code: str, succeeded: bool, reference: str, item: dict[str, Any]) -> Movement | None:  # noqa: FBT001
    """The money that this event carries; each of Adyen's modifications has a reference of its own.

    A modification's failure comes under the modification's reference, so that each pair adds up to nothing.
    """
    if not succeeded or code not in _MOVEMENTS:
        return None
    measure, back = _MOVEMENTS[code]
    amount = as_object(item.get("amount"), "amount")
    money = read_minor_units(amount.get("value"), amount.get("currency"), EXPONENTS)
    if back:
        return Movement(measure, f"{reference}:{code}", money._replace(minor_units=-money.minor_units))
    return Movement(measure, reference if code != "SECOND_CHARGEBACK" else f"{reference}:{code}", money)
