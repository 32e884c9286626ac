"""Whether a delivery is authentic in the eyes of code that the project did not write: the providers' libraries, openssl."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import Adyen.util
import braintree
import gocardless_pro.errors
import gocardless_pro.webhooks
import jwt
import razorpay
import stripe
from braintree.exceptions.invalid_signature_error import InvalidSignatureError
from square.utils.webhooks_helper import verify_signature
from standardwebhooks import Webhook, WebhookVerificationError

from migration.signing import Signed

if TYPE_CHECKING:
    from collections.abc import Callable

Settings = dict[str, Any]


def accepts(provider: str, signed: Signed, settings: Settings) -> bool:
    """Whether the independent check takes the delivery, by its first key."""
    return _CHECKS[provider](signed, settings)


def openssl_hmac(algorithm: str, key: bytes, content: bytes) -> bytes:
    """An HMAC by the openssl command."""
    command = ["openssl", "dgst", f"-{algorithm}", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout


def openssl_verifies(public_key: str, content: bytes, signature: bytes) -> bool:
    """Whether the openssl command finds an RSA signature with SHA-256 to be the key's."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "key.pem").write_text(public_key)
        (Path(folder) / "signature").write_bytes(signature)
        command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature"]
        return subprocess.run(command, input=content, cwd=folder, capture_output=True, check=False).returncode == 0


def _secret(settings: Settings) -> str:
    return str(settings["keys"][0]["secret"])


def _stripe(signed: Signed, settings: Settings) -> bool:
    try:
        return bool(
            stripe.WebhookSignature.verify_header(
                signed.body.decode(), signed.headers["stripe-signature"], _secret(settings), 300
            )
        )
    except stripe.SignatureVerificationError:
        return False


def _adyen(signed: Signed, settings: Settings) -> bool:
    # The library looks at the first item only, so it gets each alone.
    return all(
        Adyen.util.is_valid_hmac_notification({"notificationItems": [entry]}, _secret(settings))
        for entry in json.loads(signed.body)["notificationItems"]
    )


def _adyen_platforms(signed: Signed, settings: Settings) -> bool:
    return bool(Adyen.util.is_valid_hmac_payload(signed.headers["hmacsignature"], _secret(settings), signed.body))


def _square(signed: Signed, settings: Settings) -> bool:
    return verify_signature(
        request_body=signed.body.decode(),
        signature_header=signed.headers["x-square-hmacsha256-signature"],
        signature_key=_secret(settings),
        notification_url=settings["notification_url"],
    )


def _paypal(signed: Signed, settings: Settings) -> bool:
    headers = signed.headers
    content = "|".join(
        [
            headers["paypal-transmission-id"],
            headers["paypal-transmission-time"],
            settings["webhook_id"],
            str(zlib.crc32(signed.body)),
        ]
    )
    certificate = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout"], input=_secret(settings), capture_output=True, text=True, check=True
    )
    return openssl_verifies(
        certificate.stdout, content.encode(), base64.b64decode(headers["paypal-transmission-sig"])
    )


def _braintree(signed: Signed, settings: Settings) -> bool:
    form = parse_qs(signed.body.decode())
    key = settings["keys"][0]
    gateway = braintree.BraintreeGateway(
        braintree.Configuration(
            environment=braintree.Environment.Sandbox,
            merchant_id="merchant",
            public_key=key["id"],
            private_key=key["secret"],
        )
    )
    try:
        gateway.webhook_notification.parse(form["bt_signature"][0], form["bt_payload"][0])
    except InvalidSignatureError:
        return False
    return True


def _gocardless(signed: Signed, settings: Settings) -> bool:
    try:
        gocardless_pro.webhooks.parse(signed.body, _secret(settings), signed.headers["webhook-signature"])
    except gocardless_pro.errors.InvalidSignatureError:
        return False
    return True


def _razorpay(signed: Signed, settings: Settings) -> bool:
    client = razorpay.Client(auth=("key", "secret"))
    try:
        client.utility.verify_webhook_signature(
            signed.body.decode(), signed.headers["x-razorpay-signature"], _secret(settings)
        )
    except razorpay.errors.SignatureVerificationError:
        return False
    return True


def _plaid(signed: Signed, settings: Settings) -> bool:
    key = jwt.PyJWK(json.loads(_secret(settings)), algorithm="ES256")
    try:
        claims = jwt.decode(signed.headers["plaid-verification"], key, algorithms=["ES256"])
    except jwt.InvalidTokenError:
        return False
    return bool(claims["request_body_sha256"] == hashlib.sha256(signed.body).hexdigest())


def _standard(signed: Signed, settings: Settings) -> bool:
    try:
        Webhook(_secret(settings)).verify(signed.body, signed.headers)
    except WebhookVerificationError:
        return False
    return True


def _by_openssl(header: str, algorithm: str, written: Callable[[bytes], str]) -> Callable[[Signed, Settings], bool]:
    def check(signed: Signed, settings: Settings) -> bool:
        made = openssl_hmac(algorithm, _secret(settings).encode(), signed.body)
        return written(made) == signed.headers[header].removeprefix("sha256=")

    return check


_CHECKS: dict[str, Callable[[Signed, Settings], bool]] = {
    "adyen": _adyen,
    "adyen-platforms": _adyen_platforms,
    "braintree": _braintree,
    "checkout": _by_openssl("cko-signature", "sha256", bytes.hex),
    "gocardless": _gocardless,
    "mollie": _by_openssl("x-mollie-signature", "sha256", bytes.hex),
    "paypal": _paypal,
    "paystack": _by_openssl("x-paystack-signature", "sha512", bytes.hex),
    "plaid": _plaid,
    "razorpay": _razorpay,
    "shopify": _by_openssl("x-shopify-hmac-sha256", "sha256", lambda made: base64.b64encode(made).decode()),
    "square": _square,
    "standard": _standard,
    "stripe": _stripe,
}
