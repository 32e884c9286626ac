"""Shopify.

Signature: https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook
Events: https://shopify.dev/docs/api/webhooks

The topic and the shop come in headers that are not signed: TLS and IAM vouch for them. Money is read only from
what the body itself says it is.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_decimal
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    as_id,
    as_text,
    id_or_none,
    moment_or_none,
    movement_or_problem,
    text_or_none,
)
from providers.schemes import BodyHmac

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "shopify"
SIGNATURE = BodyHmac("x-shopify-hmac-sha256", "sha256", "base64")

verify = SIGNATURE.verify


def read(delivery: Delivery) -> list[Event]:
    """Read the one event, which is known by its topic and its body, for its id comes unsigned."""
    body = delivery.document()
    topic = as_text(delivery.headers.get("x-shopify-topic"), "x-shopify-topic")
    shop = text_or_none(delivery.headers.get("x-shopify-shop-domain"), "x-shopify-shop-domain")
    payment = _payment(topic, body)
    movement, problem = movement_or_problem(lambda: _movement(topic, body) if payment else None)
    moments = (moment_or_none(body.get(name)) for name in _MOMENTS)
    return [
        Event(
            provider=NAME,
            account=shop or NO_ACCOUNT,
            id=f"{topic}:{hashlib.sha256(delivery.body).hexdigest()}",
            type=topic,
            kind=_kind(topic, body),
            payment=payment,
            occurred_at=next((moment for moment in moments if moment), None),
            movement=movement,
            problem=problem,
            by_transport=("type", "account"),
        )
    ]


_MOMENTS = ("finalized_on", "processed_at", "updated_at", "initiated_at", "created_at")


def _payment(topic: str, body: Mapping[str, Any]) -> str | None:
    """The order."""
    if topic.startswith("orders/"):
        return id_or_none(body.get("id"), "id")
    if topic in ("order_transactions/create", "refunds/create", "disputes/create", "disputes/update"):
        return id_or_none(body.get("order_id"), "order_id")
    return None


_TOPICS = {
    "orders/paid": Kind.CAPTURED,
    "orders/cancelled": Kind.CANCELLED,
    "refunds/create": Kind.REFUNDED,
}

_TRANSACTIONS = {
    # https://shopify.dev/docs/api/admin-rest/latest/resources/transaction: kind
    "authorization": Kind.AUTHORISED,
    "capture": Kind.CAPTURED,
    "sale": Kind.CAPTURED,
    "void": Kind.CANCELLED,
    "refund": Kind.REFUNDED,
}

_DISPUTES = {
    # https://shopify.dev/docs/api/admin-rest/latest/resources/dispute: status
    "needs_response": Kind.DISPUTE_OPENED,
    "under_review": Kind.DISPUTE_OPENED,
    "won": Kind.DISPUTE_WON,
    "charge_refunded": Kind.DISPUTE_LOST,
    "accepted": Kind.DISPUTE_LOST,
    "lost": Kind.DISPUTE_LOST,
}


def _kind(topic: str, body: Mapping[str, Any]) -> Kind:
    if topic == "order_transactions/create":
        of, status = str(body.get("kind")), body.get("status")
        if status == "success":
            return _TRANSACTIONS.get(of, Kind.OTHER)
        if status == "pending" and of == "refund":
            return Kind.REFUND_PENDING
        if status in ("failure", "error"):
            return Kind.REFUND_FAILED if of == "refund" else Kind.FAILED
        return Kind.OTHER
    if topic.startswith("disputes/"):
        return _DISPUTES.get(str(body.get("status")), Kind.OTHER)
    return _TOPICS.get(topic, Kind.OTHER)


_MEASURES = {
    "authorization": Measure.AUTHORISED,
    "capture": Measure.CAPTURED,
    "sale": Measure.CAPTURED,
    "refund": Measure.REFUNDED,
}


def _movement(topic: str, body: Mapping[str, Any]) -> Movement | None:
    """The money that this event carries: a transaction's; orders and refunds repeat what their transactions tell."""
    if topic == "order_transactions/create" and body.get("status") == "success" and body.get("kind") in _MEASURES:
        return _moved(_MEASURES[body["kind"]], body)
    if topic == "disputes/create":
        return _moved(Measure.DISPUTED, body)
    if topic == "disputes/update" and body.get("status") == "won":
        return _moved(Measure.DISPUTED, body).reversed()
    return None


def _moved(measure: Measure, body: Mapping[str, Any]) -> Movement:
    money = read_decimal(body.get("amount"), body.get("currency"))
    return Movement(measure, as_id(body.get("id"), "id"), money)
