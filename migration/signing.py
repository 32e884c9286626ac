"""Signing as a provider does: for sending a webhook by hand, and for tests beside the providers' own libraries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class Signed(NamedTuple):
    """A request's body and headers, as the provider sends them."""

    body: bytes
    headers: dict[str, str]


def sign(provider: str, body: bytes, secret: str, at: datetime) -> Signed:
    """Sign a body as the provider does. Adyen's signatures are in the body, so it comes back changed."""
    return _SIGNERS[provider](body, secret, at)


def _stripe(body: bytes, secret: str, at: datetime) -> Signed:
    stamp = int(at.timestamp())
    tag = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return Signed(body, {"content-type": "application/json", "stripe-signature": f"t={stamp},v1={tag}"})


def _adyen(body: bytes, secret: str, at: datetime) -> Signed:  # noqa: ARG001 (Adyen signs no time)
    document = json.loads(body)
    for entry in document["notificationItems"]:
        item = entry["NotificationRequestItem"]
        amount = item.get("amount") or {}
        fields = [
            *(item.get(name) for name in ("pspReference", "originalReference", "merchantAccountCode")),
            item.get("merchantReference"),
            amount.get("value"),
            amount.get("currency"),
            item.get("eventCode"),
            item.get("success"),
        ]
        content = ":".join("" if field is None else str(field) for field in fields)
        tag = hmac.new(bytes.fromhex(secret), content.encode(), hashlib.sha256).digest()
        item.setdefault("additionalData", {})["hmacSignature"] = base64.b64encode(tag).decode()
    return Signed(json.dumps(document).encode(), {"content-type": "application/json"})


def _standard(body: bytes, secret: str, at: datetime) -> Signed:
    stamp = int(at.timestamp())
    # The same body is the same message, so that sending it again is a redelivery.
    message_id = f"msg_{hashlib.sha256(body).hexdigest()[:24]}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    tag = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return Signed(
        body,
        {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": f"v1,{base64.b64encode(tag).decode()}",
        },
    )


_SIGNERS: dict[str, Callable[[bytes, str, datetime], Signed]] = {
    "adyen": _adyen,
    "standard": _standard,
    "stripe": _stripe,
}
