"""PayPal.

Signature: https://developer.paypal.com/api/rest/webhooks/rest/#link-selfverificationmethod
Events: https://developer.paypal.com/api/rest/webhooks/event-names/

PayPal signs the transmission and only a CRC-32 of the body, which whoever holds one valid signature can meet with
another body. So TLS and IAM vouch for the body, and one transmission stands for one event; see docs/providers.md.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_decimal
from providers.base import (
    NO_ACCOUNT,
    Delivery,
    Signature,
    as_text,
    moment_or_none,
    movement_or_problem,
    part,
    text_or_none,
)
from providers.errors import KeysUnavailableError, NotAuthenticError
from providers.fetched import Fetched
from providers.keys import InvalidKeysError, usable_keys
from providers.schemes import from_base64, required_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

NAME = "paypal"

_certificates = Fetched()

_HOSTS = ("api.paypal.com", "api.sandbox.paypal.com")
_DOMAIN = ".paypal.com"

_ROOTS = frozenset(
    {
        # SHA-256 of the roots of PayPal's certification authority, DigiCert.
        # https://www.digicert.com/kb/digicert-root-certificates.htm
        "7431e5f4c3c1ce4690774f0b61e05440883ba9a01ed00ba6abd7806ed3b118cf",  # High Assurance EV Root CA
        "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f",  # Global Root G2
        "31ad6648f8104138c738f39ea4320133393e3a18cc02296ef97c2ac9ef6731d0",  # Global Root G3
    }
)


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> Signature:
    """Verify RSA-SHA256 over `{transmission id}|{time}|{webhook id}|{CRC-32 of the body}`.

    The certificate is one that the settings list under its id, or it is fetched from PayPal, and then its chain
    must lead to a root that is pinned.
    """
    headers = delivery.headers
    transmission, sent_at, signature, url, algorithm = (
        required_header(headers, f"paypal-{name}")
        for name in ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo")
    )
    if algorithm != "SHA256withRSA":
        raise NotAuthenticError("paypal-auth-algo is not SHA256withRSA")
    webhook_id = settings.get("webhook_id")
    if not isinstance(webhook_id, str) or not webhook_id:
        raise InvalidKeysError("the settings of paypal have no text 'webhook_id'")
    certificate_id, certificate = _certificate(url, delivery, settings)
    from providers.asymmetric import check_rsa_sha256  # noqa: PLC0415 (only who needs it pays for it)

    content = f"{transmission}|{sent_at}|{webhook_id}|{zlib.crc32(delivery.body)}".encode()
    check_rsa_sha256(certificate.public_key(), content, from_base64(signature))
    return Signature("paypal-rsa-sha256", certificate_id)


def _certificate(url: str, delivery: Delivery, settings: Mapping[str, Any]) -> tuple[str, x509.Certificate]:
    from cryptography import x509  # noqa: PLC0415

    try:
        address = urlsplit(url)
    except ValueError:
        raise NotAuthenticError("paypal-cert-url is no address") from None
    certificate_id = address.path.rpartition("/")[2][:64]
    hosts = settings.get("cert_hosts", _HOSTS)
    if address.scheme != "https" or address.netloc not in hosts or address.query or address.fragment:
        raise NotAuthenticError("paypal-cert-url is not an address of PayPal's")
    for key in usable_keys({"keys": settings.get("keys", [])}, delivery.received_at):
        if key.id == certificate_id:
            try:
                certificate = x509.load_pem_x509_certificate(key.secret.encode())
            except ValueError:
                raise InvalidKeysError(f"the certificate {key.id!r} of paypal is not one in PEM") from None
            if not certificate.not_valid_before_utc <= delivery.received_at <= certificate.not_valid_after_utc:
                raise NotAuthenticError("the certificate is not valid at the time of the receipt")
            return certificate_id, certificate
    try:
        chain = x509.load_pem_x509_certificates(_certificates.get(url))
    except ValueError:
        raise KeysUnavailableError("PayPal answered with what is no certificate") from None
    return certificate_id, _pinned(chain, delivery, settings)


def _pinned(chain: Sequence[x509.Certificate], delivery: Delivery, settings: Mapping[str, Any]) -> x509.Certificate:
    """The leaf of a chain that leads to a pinned root and names PayPal, or NotAuthenticError."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509 import verification  # noqa: PLC0415

    leaf, *between = chain
    try:
        named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [name for name in named.get_values_for_type(x509.DNSName) if name.endswith(_DOMAIN)]
        policy = verification.PolicyBuilder().store(verification.Store(_roots(settings))).time(delivery.received_at)
        policy.build_server_verifier(x509.DNSName(names[0])).verify(leaf, between)
    except (x509.ExtensionNotFound, IndexError, ValueError, verification.VerificationError):
        raise NotAuthenticError("the certificate is not PayPal's by a pinned root") from None
    return leaf


def _roots(settings: Mapping[str, Any]) -> list[x509.Certificate]:
    """The roots that count: those the settings list in PEM, else DigiCert's among the machine's own."""
    import hashlib  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    from cryptography import x509  # noqa: PLC0415

    listed = settings.get("roots")
    if listed:
        return [x509.load_pem_x509_certificate(root.encode()) for root in listed]
    known = ssl.create_default_context().get_ca_certs(binary_form=True)
    return [x509.load_der_x509_certificate(root) for root in known if hashlib.sha256(root).hexdigest() in _ROOTS]


def read(delivery: Delivery) -> list[Event]:
    """Read the one event."""
    body = delivery.document()
    event_type = as_text(body.get("event_type"), "event_type")
    resource = part(body, "resource")
    kind = _kind(event_type, resource)
    payment = None if kind is Kind.PAYOUT else _payment(event_type, resource)
    movement, problem = movement_or_problem(lambda: _movement(event_type, resource) if payment else None)
    return [
        Event(
            provider=NAME,
            account=NO_ACCOUNT,
            id=as_text(body.get("id"), "id"),
            type=event_type,
            kind=kind,
            payment=payment,
            occurred_at=moment_or_none(body.get("create_time")),
            movement=movement,
            problem=problem,
            by_transport=("body",),
            transmission=text_or_none(delivery.headers.get("paypal-transmission-id"), "paypal-transmission-id"),
        )
    ]


def _payment(event_type: str, resource: dict[str, Any]) -> str | None:
    """The capture, which refunds and disputes name too; an authorisation is a payment of its own."""
    if event_type.startswith(("PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED", "PAYMENT.REFUND.")):
        return _linked(resource, "up")
    if event_type.startswith(("PAYMENT.CAPTURE.", "PAYMENT.AUTHORIZATION.")):
        return text_or_none(resource.get("id"), "resource.id")
    if event_type.startswith("CUSTOMER.DISPUTE."):
        disputed = resource.get("disputed_transactions")
        first = disputed[0] if isinstance(disputed, list) and disputed else None
        return text_or_none(part(first).get("seller_transaction_id"), "seller_transaction_id")
    return None


def _linked(resource: dict[str, Any], relation: str) -> str | None:
    links = resource.get("links")
    for link in links if isinstance(links, list) else []:
        if part(link).get("rel") == relation and isinstance(link.get("href"), str):
            return as_text(link["href"].rpartition("/")[2], f"the link {relation!r}")
    return None


_KINDS = {
    "PAYMENT.AUTHORIZATION.CREATED": Kind.AUTHORISED,
    "PAYMENT.AUTHORIZATION.VOIDED": Kind.CANCELLED,
    "PAYMENT.CAPTURE.COMPLETED": Kind.CAPTURED,
    "PAYMENT.CAPTURE.DENIED": Kind.FAILED,
    "PAYMENT.CAPTURE.DECLINED": Kind.FAILED,
    "PAYMENT.CAPTURE.REFUNDED": Kind.REFUNDED,
    "PAYMENT.CAPTURE.REVERSED": Kind.REFUNDED,
    "PAYMENT.REFUND.PENDING": Kind.REFUND_PENDING,
    "PAYMENT.REFUND.FAILED": Kind.REFUND_FAILED,
    "CUSTOMER.DISPUTE.CREATED": Kind.DISPUTE_OPENED,
    "CUSTOMER.DISPUTE.UPDATED": Kind.DISPUTE_OPENED,
}


def _kind(event_type: str, resource: dict[str, Any]) -> Kind:
    if event_type.startswith(("PAYMENT.PAYOUTSBATCH.", "PAYMENT.PAYOUTS-ITEM.")):
        return Kind.PAYOUT
    if event_type == "CUSTOMER.DISPUTE.RESOLVED":
        return Kind.DISPUTE_WON if _won(resource) else Kind.DISPUTE_LOST
    return _KINDS.get(event_type, Kind.OTHER)


def _won(dispute: dict[str, Any]) -> bool:
    # https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_get: dispute_outcome.outcome_code
    favourable = ("RESOLVED_SELLER_FAVOUR", "CANCELED_BY_BUYER", "DENIED")
    return part(dispute, "dispute_outcome").get("outcome_code") in favourable


def _movement(event_type: str, resource: dict[str, Any]) -> Movement | None:
    """The money that this event carries. A refund's event comes once, whole or in part, with the refund's own id."""
    match event_type:
        case "PAYMENT.AUTHORIZATION.CREATED":
            return _moved(Measure.AUTHORISED, resource, "id", "amount")
        case "PAYMENT.CAPTURE.COMPLETED":
            return _moved(Measure.CAPTURED, resource, "id", "amount")
        case "PAYMENT.CAPTURE.REFUNDED" | "PAYMENT.CAPTURE.REVERSED":
            return _moved(Measure.REFUNDED, resource, "id", "amount")
        case "CUSTOMER.DISPUTE.CREATED":
            return _moved(Measure.DISPUTED, resource, "dispute_id", "dispute_amount")
        case "CUSTOMER.DISPUTE.RESOLVED" if _won(resource):
            return _moved(Measure.DISPUTED, resource, "dispute_id", "dispute_amount").reversed()
        case _:
            return None


def _moved(measure: Measure, resource: dict[str, Any], name: str, amount: str) -> Movement:
    told = part(resource, amount)
    money = read_decimal(told.get("value"), told.get("currency_code"))
    return Movement(measure, as_text(resource.get(name), f"resource.{name}"), money)
