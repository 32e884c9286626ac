"""Events as the providers really send them, shaped after their documentation, with fresh ids.

Stripe: https://docs.stripe.com/api/events and the objects' pages.
Adyen: https://docs.adyen.com/development-resources/webhooks/webhook-types
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import Adyen.util
import stripe
from standardwebhooks import Webhook

CREATED = int(time.time()) - 60


def stripe_event(event_type: str, thing: dict[str, Any], *, created: int = CREATED, event_id: str = "") -> bytes:
    """A Stripe event around an object."""
    return json.dumps(
        {
            "id": event_id or f"evt_{secrets.token_hex(8)}",
            "object": "event",
            "api_version": "2026-09-30.clover",
            "created": created,
            "livemode": False,
            "pending_webhooks": 1,
            "type": event_type,
            "data": {"object": thing},
        }
    ).encode()


def stripe_payment_life(payment: str) -> list[bytes]:
    """Five events of one payment, all within two seconds, as Stripe sends them.

    Captured 50.00 EUR at once; the capture is told twice (charge.succeeded and payment_intent.succeeded). A refund
    of 20.00 is created and fails later; charge.refunded only repeats the sum so far.
    """
    charge = {
        "id": f"ch_{payment}",
        "object": "charge",
        "amount": 5000,
        "amount_captured": 5000,
        "amount_refunded": 0,
        "captured": True,
        "currency": "eur",
        "payment_intent": f"pi_{payment}",
        "status": "succeeded",
    }
    intent = {
        "id": f"pi_{payment}",
        "object": "payment_intent",
        "amount": 5000,
        "amount_received": 5000,
        "currency": "eur",
        "latest_charge": f"ch_{payment}",
        "status": "succeeded",
    }
    refund = {
        "id": f"re_{payment}",
        "object": "refund",
        "amount": 2000,
        "currency": "eur",
        "charge": f"ch_{payment}",
        "payment_intent": f"pi_{payment}",
        "status": "succeeded",
    }
    return [
        stripe_event("charge.succeeded", charge),
        stripe_event("payment_intent.succeeded", intent),
        stripe_event("refund.created", refund, created=CREATED + 1),
        stripe_event("charge.refunded", {**charge, "amount_refunded": 2000}, created=CREATED + 1),
        stripe_event("refund.failed", {**refund, "status": "failed"}, created=CREATED + 2),
    ]


def sign_stripe(body: bytes, secret: str, at: float | None = None) -> dict[str, str]:
    """Headers with a signature made by Stripe's own library."""
    stamp = int(time.time() if at is None else at)
    signed = stripe.WebhookSignature._compute_signature(f"{stamp}.{body.decode()}", secret)
    return {"content-type": "application/json", "stripe-signature": f"t={stamp},v1={signed}"}


def adyen_item(
    code: str, reference: str, *, original: str = "", success: str = "true", value: int = 4200
) -> dict[str, Any]:
    """One unsigned item of an Adyen notification."""
    return {
        "pspReference": reference,
        "originalReference": original,
        "merchantAccountCode": "ExampleMerchant",
        "merchantReference": "order-1",
        "amount": {"value": value, "currency": "EUR"},
        "eventCode": code,
        "eventDate": "2026-11-20T10:00:00+01:00",
        "success": success,
        "paymentMethod": "visa",
        "reason": "",
    }


def sign_adyen(items: list[dict[str, Any]], secret: str) -> bytes:
    """A notification whose items are signed by Adyen's own library."""
    for item in items:
        signature = Adyen.util.generate_notification_sig(item, secret)
        item["additionalData"] = {"hmacSignature": signature.decode()}
    listed = [{"NotificationRequestItem": item} for item in items]
    return json.dumps({"live": "false", "notificationItems": listed}).encode()


def sign_standard(body: bytes, secret: str, message_id: str, at: float | None = None) -> dict[str, str]:
    """Headers with a signature made by the Standard Webhooks reference library."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    signature = Webhook(secret).sign(message_id, moment, body.decode())
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }


def standard_event(event_type: str, data: dict[str, Any]) -> bytes:
    """A payload as the Standard Webhooks specification has it."""
    return json.dumps({"type": event_type, "timestamp": "2026-11-20T10:00:00Z", "data": data}).encode()
