"""Plaid.

Signature: https://plaid.com/docs/api/webhooks/webhook-verification/
Events: https://plaid.com/docs/api/products/payment-initiation/#payment_status_update

Plaid's webhooks name no event and carry no amount: an event is known by what it says and when it was signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind
from providers.base import NO_ACCOUNT, Delivery, Signature, as_text, moment_or_none, text_or_none
from providers.errors import KeysUnavailableError, NotAuthenticError
from providers.fetched import Fetched
from providers.keys import InvalidKeysError, usable_keys
from providers.schemes import check_age, required_header

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "plaid"

_HEADER = "plaid-verification"
_published = Fetched()


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> Signature:
    """Verify the JWT in `Plaid-Verification`, ES256 by the key it names, and the body's SHA-256 in its claims.

    The key is one that the settings list under its id as a JWK, or it is fetched from Plaid.
    """
    head, claims, content, signature = _token(delivery.headers)
    if head.get("alg") != "ES256":
        raise NotAuthenticError("the token's algorithm is not ES256")
    key_id = head.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= 64 or not key_id.isprintable():  # noqa: PLR2004
        raise NotAuthenticError("the token names no key")
    jwk = _jwk(key_id, delivery, settings)
    from providers.asymmetric import check_es256, p256_key  # noqa: PLC0415 (only who needs it pays for it)

    try:
        key = p256_key(_base64url(jwk["x"]), _base64url(jwk["y"]))
    except (KeyError, TypeError, ValueError):
        raise InvalidKeysError("a key of plaid is not a JWK on P-256") from None
    check_es256(key, content, signature)
    check_age(str(claims.get("iat")), delivery.received_at)
    sha256 = claims.get("request_body_sha256")
    expected = hashlib.sha256(delivery.body).hexdigest()
    if not isinstance(sha256, str) or not hmac.compare_digest(sha256.encode("utf-8", "replace"), expected.encode()):
        raise NotAuthenticError("the token is about another body")
    return Signature("plaid-es256", key_id)


def _token(headers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """The head, the claims, what is signed and the signature of a JWT in compact form (RFC 7515, section 7.1)."""
    content, _, signature = required_header(headers, _HEADER).rpartition(".")
    try:
        head, claims = (json.loads(_base64url(each)) for each in content.split("."))
        decoded = _base64url(signature)
    except (ValueError, RecursionError):
        raise NotAuthenticError(f"the header {_HEADER} is not a JWT") from None
    if not isinstance(head, dict) or not isinstance(claims, dict):
        raise NotAuthenticError(f"the header {_HEADER} is not a JWT")
    return head, claims, content.encode(), decoded


def _base64url(text: str) -> bytes:
    """Strict base64url without padding, or ValueError."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != text:
        raise ValueError("not canonical")
    return decoded


def _jwk(key_id: str, delivery: Delivery, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in usable_keys({"keys": settings.get("keys", [])}, delivery.received_at):
        if key.id == key_id:
            return _object(key.secret, InvalidKeysError("a key of plaid is not a JWK in JSON"))
    client = {name: settings.get(name) for name in ("client_id", "secret")}
    if not all(client.values()):
        raise NotAuthenticError(
            "the token's key is not among those listed, and there are no credentials to ask Plaid"
        )
    # https://plaid.com/docs/api/webhooks/webhook-verification/#get-webhook-verification-key
    address = f"https://{settings.get('host', 'production.plaid.com')}/webhook_verification_key/get"
    answer = _published.get(address, json.dumps({**client, "key_id": key_id}).encode())
    jwk = _object(answer, KeysUnavailableError("Plaid answered with what is no key")).get("key")
    if not isinstance(jwk, dict):
        raise KeysUnavailableError("Plaid answered with what is no key")
    if jwk.get("expired_at"):
        raise NotAuthenticError("the token's key has expired")
    return jwk


def _object(text: str | bytes, otherwise: Exception) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise otherwise from None
    if not isinstance(value, dict):
        raise otherwise
    return value


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    kind_of, code = (
        as_text(body.get("webhook_type"), "webhook_type"),
        as_text(body.get("webhook_code"), "webhook_code"),
    )
    _, claims, _, _ = _token(delivery.headers)
    payment = text_or_none(body.get("payment_id"), "payment_id") if kind_of == "PAYMENT_INITIATION" else None
    known = payment and body.get("timestamp")
    said = f"{payment}:{body.get('new_payment_status')}:{body.get('timestamp')}".encode() if known else delivery.body
    signed_at = "" if known else f":{claims.get('iat')}"
    return [
        Event(
            provider=NAME,
            account=NO_ACCOUNT,
            id=f"{code}:{hashlib.sha256(said).hexdigest()}{signed_at}",
            type=f"{kind_of}.{code}",
            kind=_KINDS.get(str(body.get("new_payment_status")), Kind.OTHER) if payment else Kind.OTHER,
            payment=payment,
            occurred_at=moment_or_none(body.get("timestamp")) or moment_or_none(claims.get("iat")),
        )
    ]


_KINDS = {
    # https://plaid.com/docs/payment-initiation/payment-status/
    "PAYMENT_STATUS_INITIATED": Kind.AUTHORISED,
    "PAYMENT_STATUS_EXECUTED": Kind.CAPTURED,
    "PAYMENT_STATUS_SETTLED": Kind.SETTLED,
    "PAYMENT_STATUS_INSUFFICIENT_FUNDS": Kind.FAILED,
    "PAYMENT_STATUS_FAILED": Kind.FAILED,
    "PAYMENT_STATUS_BLOCKED": Kind.FAILED,
    "PAYMENT_STATUS_REJECTED": Kind.FAILED,
    "PAYMENT_STATUS_CANCELLED": Kind.CANCELLED,
}
