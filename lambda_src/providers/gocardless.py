"""GoCardless.

Signature: https://developer.gocardless.com/api-reference/#webhooks-signing-webhooks
Events: https://developer.gocardless.com/api-reference/#core-endpoints-events

Up to 250 events come in one call. They carry no amounts, so they move a payment's status and no money.
"""

from __future__ import annotations

from typing import Any

from payments.event import Event, Kind
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    as_object,
    as_text,
    each_on_its_own,
    moment_or_none,
    part,
    text_or_none,
)
from providers.errors import MalformedDeliveryError
from providers.schemes import BodyHmac

NAME = "gocardless"
SIGNATURE = BodyHmac("webhook-signature", "sha256", "hex")

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event | MalformedDeliveryError]:
    """Read every event on its own."""
    listed = delivery.document().get("events")
    if not isinstance(listed, list) or not listed:
        raise MalformedDeliveryError("the body has no list 'events'")
    return each_on_its_own(_read, listed)


def _read(entry: Any) -> Event:
    event = as_object(entry, "an event")
    resource, action = as_text(event.get("resource_type"), "resource_type"), as_text(event.get("action"), "action")
    links = part(event, "links")
    return Event(
        provider=NAME,
        account=text_or_none(links.get("organisation"), "links.organisation") or NO_ACCOUNT,
        id=as_text(event.get("id"), "id"),
        type=f"{resource}.{action}",
        kind=Kind.PAYOUT if resource == "payouts" else _KINDS.get(f"{resource}.{action}", Kind.OTHER),
        payment=text_or_none(links.get("payment"), "links.payment") if resource in _ABOUT_A_PAYMENT else None,
        occurred_at=moment_or_none(event.get("created_at")),
    )


_ABOUT_A_PAYMENT = frozenset({"payments", "refunds"})
"""A refund's event names its payment only where GoCardless links it; else it is kept without one."""

_KINDS = {
    # https://developer.gocardless.com/api-reference/#event-types-payment
    "payments.submitted": Kind.AUTHORISED,
    "payments.confirmed": Kind.CAPTURED,
    "payments.paid_out": Kind.SETTLED,
    "payments.failed": Kind.FAILED,
    "payments.late_failure_settled": Kind.FAILED,
    "payments.customer_approval_denied": Kind.FAILED,
    "payments.cancelled": Kind.CANCELLED,
    "payments.charged_back": Kind.DISPUTE_OPENED,
    "payments.chargeback_cancelled": Kind.DISPUTE_WON,
    "payments.chargeback_settled": Kind.DISPUTE_LOST,
    # https://developer.gocardless.com/api-reference/#event-types-refund
    "refunds.created": Kind.REFUND_PENDING,
    "refunds.paid": Kind.REFUNDED,
    "refunds.refund_settled": Kind.REFUNDED,
    "refunds.failed": Kind.REFUND_FAILED,
    "refunds.bounced": Kind.REFUND_FAILED,
    "refunds.funds_returned": Kind.REFUND_FAILED,
}
