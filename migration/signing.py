"""Signing as a provider does, and keys to sign with: for sending a webhook by hand, and for tests.

A provider whose scheme is an HMAC over the body needs nothing here: its module's row says all that there is to say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

import providers
from providers.schemes import BodyHmac, hex_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Settings = dict[str, Any]
"""A provider's part of the API keys' secret."""


class Signed(NamedTuple):
    """A request's body and headers, as the provider sends them."""

    body: bytes
    headers: dict[str, str]


class CannotSignError(LookupError):
    """The settings hold nothing to sign with; the message says why."""


def sign(provider: str, body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:
    """Sign a body with the provider's first key, as the provider does.

    Where the signature is in the body (Adyen, Braintree), the body comes back changed.

    Raises
    ------
    CannotSignError
        The settings hold no key, or only the public half of one.
    """
    if not settings.get("keys"):
        raise CannotSignError(f"there is no key of {provider}")
    if row := _row(provider):
        return _body_hmac(row, body, settings)
    return _SIGNERS[provider](body, settings, at)


def new_settings(provider: str) -> Settings:
    """Fresh keys in the provider's form, with the private half where it has one."""
    if provider in _MAKERS:
        return _MAKERS[provider]()
    row = _row(provider)
    in_hex = provider == "adyen" or (row and row.secret_bytes is hex_secret)
    return _keyed(secrets.token_hex(32) if in_hex else secrets.token_urlsafe(32))


def _row(provider: str) -> BodyHmac | None:
    found = getattr(providers.load(provider), "SIGNATURE", None)
    return found if isinstance(found, BodyHmac) and provider != "square" else None


def _keyed(secret: str, key_id: str = "local", **more: Any) -> Settings:
    return {**more, "keys": [{"id": key_id, "secret": secret}]}


def _secret(settings: Mapping[str, Any]) -> str:
    return str(settings["keys"][0]["secret"])


def _private(settings: Mapping[str, Any], provider: str) -> Any:
    pem = settings["keys"][0].get("private_key")
    if pem is None:
        raise CannotSignError(f"only {provider} has the private half of its keys: what it signs cannot be made here")
    return serialization.load_pem_private_key(pem.encode(), None)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _body_hmac(row: BodyHmac, body: bytes, settings: Mapping[str, Any], before: bytes = b"") -> Signed:
    tag = hmac.new(row.secret_bytes(_secret(settings)), before + body, row.algorithm).digest()
    text = tag.hex() if row.encoding == "hex" else base64.b64encode(tag).decode()
    return Signed(body, {"content-type": "application/json", row.header: row.prefix + text})


def _square(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:  # noqa: ARG001 (no time is signed)
    from providers import square  # noqa: PLC0415

    return _body_hmac(square.SIGNATURE, body, settings, before=square.notification_url(settings))


def _stripe(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:
    stamp = int(at.timestamp())
    tag = hmac.new(_secret(settings).encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return Signed(body, {"content-type": "application/json", "stripe-signature": f"t={stamp},v1={tag}"})


def _adyen(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:  # noqa: ARG001 (no time is signed)
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
        tag = hmac.new(bytes.fromhex(_secret(settings)), content.encode(), hashlib.sha256).digest()
        item.setdefault("additionalData", {})["hmacSignature"] = base64.b64encode(tag).decode()
    return Signed(json.dumps(document).encode(), {"content-type": "application/json"})


def _braintree(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:  # noqa: ARG001 (no time is signed)
    payload = base64.encodebytes(body)
    key = hashlib.sha1(_secret(settings).encode(), usedforsecurity=False).digest()
    tag = hmac.new(key, payload, hashlib.sha1).hexdigest()
    form = urlencode({"bt_signature": f"{settings['keys'][0]['id']}|{tag}", "bt_payload": payload.decode()})
    return Signed(form.encode(), {"content-type": "application/x-www-form-urlencoded"})


def _standard(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:
    stamp = int(at.timestamp())
    # The same body is the same message, so that sending it again is a redelivery.
    message_id = f"msg_{hashlib.sha256(body).hexdigest()[:24]}"
    key = base64.b64decode(_secret(settings).removeprefix("whsec_"))
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


def _paypal(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:
    # The same body is the same transmission, so that sending it again is a redelivery.
    transmission = hashlib.sha256(body).hexdigest()[:36]
    sent_at = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    content = f"{transmission}|{sent_at}|{settings['webhook_id']}|{zlib.crc32(body)}"
    key = _private(settings, "PayPal")
    tag = key.sign(content.encode(), padding.PKCS1v15(), SHA256())
    return Signed(
        body,
        {
            "content-type": "application/json",
            "paypal-transmission-id": transmission,
            "paypal-transmission-time": sent_at,
            "paypal-transmission-sig": base64.b64encode(tag).decode(),
            "paypal-cert-url": f"https://api.paypal.com/v1/notifications/certs/{settings['keys'][0]['id']}",
            "paypal-auth-algo": "SHA256withRSA",
        },
    )


def _plaid(body: bytes, settings: Mapping[str, Any], at: datetime) -> Signed:
    head = {"alg": "ES256", "kid": settings["keys"][0]["id"], "typ": "JWT"}
    claims = {"iat": int(at.timestamp()), "request_body_sha256": hashlib.sha256(body).hexdigest()}
    content = ".".join(_base64url(json.dumps(each).encode()) for each in (head, claims))
    key = _private(settings, "Plaid")
    r, s = utils.decode_dss_signature(key.sign(content.encode(), ec.ECDSA(SHA256())))
    token = f"{content}.{_base64url(r.to_bytes(32) + s.to_bytes(32))}"
    return Signed(body, {"content-type": "application/json", "plaid-verification": token})


def _base64url(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode().translate(str.maketrans("+/", "-_", "="))


_SIGNERS: dict[str, Callable[[bytes, Mapping[str, Any], datetime], Signed]] = {
    "adyen": _adyen,
    "braintree": _braintree,
    "paypal": _paypal,
    "plaid": _plaid,
    "square": _square,
    "standard": _standard,
    "stripe": _stripe,
}


def _new_whsec() -> Settings:
    return _keyed(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}")


def _new_paypal() -> Settings:
    key = rsa.generate_private_key(65537, 2048)
    certificate = self_signed(key, "messageverificationcerts.paypal.com")
    public = certificate.public_bytes(serialization.Encoding.PEM).decode()
    settings = _keyed(public, f"CERT-local-{secrets.token_hex(4)}", webhook_id=f"WH-{secrets.token_hex(8)}")
    settings["keys"][0]["private_key"] = _pem(key)
    return settings


def self_signed(key: rsa.RSAPrivateKey, name: str) -> x509.Certificate:
    """A certificate of ten years for a key of our own."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, SHA256())
    )


def _new_plaid() -> Settings:
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()
    key_id = secrets.token_hex(8)
    x, y = (_base64url(number.to_bytes(32)) for number in (point.x, point.y))
    jwk = {"alg": "ES256", "crv": "P-256", "kid": key_id, "kty": "EC", "use": "sig", "x": x, "y": y}
    settings = _keyed(json.dumps(jwk), key_id)
    settings["keys"][0]["private_key"] = _pem(key)
    return settings


_MAKERS: dict[str, Callable[[], Settings]] = {
    "paypal": _new_paypal,
    "plaid": _new_plaid,
    "square": lambda: _keyed(secrets.token_urlsafe(32), notification_url="https://pay.example.com/webhooks/square"),
    "standard": _new_whsec,
    "stripe": lambda: _keyed(f"whsec_{secrets.token_urlsafe(24)}"),
}
