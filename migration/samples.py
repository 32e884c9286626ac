"""One believable event of each provider, with ids of its own every time."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def sample(provider: str, at: datetime) -> bytes:
    """The body of an event by which 42.00 EUR were captured."""
    unique = secrets.token_hex(8)
    samples = {
        "stripe": {
            "id": f"evt_{unique}",
            "object": "event",
            "type": "charge.succeeded",
            "created": int(at.timestamp()),
            "livemode": False,
            "data": {
                "object": {
                    "id": f"ch_{unique}",
                    "object": "charge",
                    "amount": 4200,
                    "amount_captured": 4200,
                    "captured": True,
                    "currency": "eur",
                    "payment_intent": f"pi_{unique}",
                }
            },
        },
        "adyen": {
            "live": "false",
            "notificationItems": [
                {
                    "NotificationRequestItem": {
                        "pspReference": unique.upper(),
                        "originalReference": f"PAY{unique.upper()}",
                        "merchantAccountCode": "ExampleMerchant",
                        "merchantReference": f"order-{unique}",
                        "amount": {"value": 4200, "currency": "EUR"},
                        "eventCode": "CAPTURE",
                        "eventDate": at.isoformat(timespec="seconds"),
                        "success": "true",
                    }
                }
            ],
        },
        "standard": {
            "type": "payment.captured",
            "timestamp": at.isoformat(),
            "data": {
                "payment": f"pay_{unique}",
                "account": "example",
                "movement": f"cap_{unique}",
                "amount": 4200,
                "currency": "EUR",
            },
        },
    }
    return json.dumps(samples[provider]).encode()
