"""Braintree.

Signature and payload: https://developer.paypal.com/braintree/docs/guides/webhooks/parse
Events: https://developer.paypal.com/braintree/docs/reference/general/webhooks/overview

A delivery is a form of two fields; the payload is XML in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from payments.event import Event, Kind, Measure, Movement
from payments.money import read_decimal
from providers.base import NO_ACCOUNT, Delivery, Signature, as_text, moment_or_none, movement_or_problem
from providers.errors import MalformedDeliveryError, NotAuthenticError
from providers.keys import usable_keys
from providers.schemes import from_hex

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "braintree"

_MOST_PAIRS = 16


def verify(delivery: Delivery, settings: Mapping[str, Any]) -> Signature:
    """Verify `bt_signature`, pairs of public key and HMAC-SHA1, over `bt_payload`; the private key's SHA-1 signs."""
    fields = _fields(delivery.body)
    payload = fields["bt_payload"]
    pairs = [pair.partition("|") for pair in fields["bt_signature"].split("&")[:_MOST_PAIRS]]
    for key in usable_keys(settings, delivery.received_at):
        secret = hashlib.sha1(key.secret.encode(), usedforsecurity=False).digest()
        # Braintree's own libraries take a signature over the payload with a line's end that the form has lost.
        expected = [hmac.digest(secret, content.encode(), "sha1") for content in (payload, f"{payload}\n")]
        sent = [from_hex(signature) for public_key, _, signature in pairs if public_key == key.id]
        matches = [hmac.compare_digest(wanted, each) for wanted in expected for each in sent]
        if any(matches):
            return Signature("braintree-hmac-sha1", key.id)
    raise NotAuthenticError("no usable key made this signature")


def _fields(body: bytes) -> dict[str, str]:
    """Both fields of the form, each there once and in ASCII, or NotAuthenticError."""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=8, strict_parsing=True)
    except ValueError:
        raise NotAuthenticError("the body is not a form of bt_signature and bt_payload") from None
    fields = {name: "".join(values) for name, values in form.items() if len(values) == 1}
    if not {"bt_signature", "bt_payload"} <= fields.keys() or not all(map(str.isascii, fields.values())):
        raise NotAuthenticError("the body is not a form of bt_signature and bt_payload")
    return fields


def read(delivery: Delivery) -> list[Event]:
    """Read the one event. Braintree has no event ids: a kind happens to its subject once."""
    payload = _fields(delivery.body)["bt_payload"]
    notification = _notification(payload)
    kind_name = as_text(_text(notification, "kind"), "kind")
    subject = notification.find("subject")
    thing = next(iter(subject), None) if subject is not None else None
    name = thing.tag if thing is not None else ""
    thing_id = _text(thing, "id")
    once = name in _SUBJECTS and thing_id
    payment = _payment(name, thing)
    movement, problem = movement_or_problem(lambda: _movement(kind_name, name, thing) if payment else None)
    return [
        Event(
            provider=NAME,
            account=NO_ACCOUNT,
            id=f"{kind_name}:{as_text(thing_id, 'id') if once else hashlib.sha256(payload.encode()).hexdigest()}",
            type=kind_name,
            kind=_kind(kind_name, name, thing),
            payment=payment,
            occurred_at=moment_or_none(_text(notification, "timestamp")),
            movement=movement,
            problem=problem,
        )
    ]


_SUBJECTS = frozenset({"transaction", "dispute", "disbursement"})


def _notification(payload: str) -> ET.Element:
    try:
        document = base64.b64decode(payload)
        if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
            raise MalformedDeliveryError("the payload has a document type")
        root = ET.fromstring(document)  # noqa: S314 (authentic, and without a document type there are no entities)
    except (ValueError, ET.ParseError):
        raise MalformedDeliveryError("bt_payload is not XML in base64") from None
    if root.tag != "notification":
        raise MalformedDeliveryError("the payload is not a notification")
    return root


def _text(parent: ET.Element | None, path: str) -> str | None:
    return (parent.findtext(path) or "").strip() or None if parent is not None else None


def _is_credit(thing: ET.Element | None) -> bool:
    return _text(thing, "type") == "credit"


def _payment(name: str, thing: ET.Element | None) -> str | None:
    """The transaction that was paid, which a refund and a dispute name."""
    if name == "transaction":
        found = _text(thing, "refunded-transaction-id") if _is_credit(thing) else _text(thing, "id")
    elif name == "dispute":
        found = _text(thing, "transaction/id")
    else:
        found = None
    return as_text(found, "the transaction's id") if found else None


_KINDS = {
    "transaction_settled": Kind.SETTLED,
    "transaction_settlement_declined": Kind.FAILED,
    "transaction_disbursed": Kind.SETTLED,
    "refund_failed": Kind.REFUND_FAILED,
    "dispute_opened": Kind.DISPUTE_OPENED,
    "dispute_under_review": Kind.DISPUTE_OPENED,
    "dispute_disputed": Kind.DISPUTE_OPENED,
    "dispute_won": Kind.DISPUTE_WON,
    "dispute_lost": Kind.DISPUTE_LOST,
    "dispute_accepted": Kind.DISPUTE_LOST,
    "dispute_auto_accepted": Kind.DISPUTE_LOST,
    "dispute_expired": Kind.DISPUTE_LOST,
    "disbursement": Kind.PAYOUT,
    "disbursement_exception": Kind.PAYOUT,
}


def _kind(kind_name: str, name: str, thing: ET.Element | None) -> Kind:
    kind = _KINDS.get(kind_name, Kind.OTHER)
    if name == "transaction" and _is_credit(thing):
        return {Kind.SETTLED: Kind.REFUNDED, Kind.FAILED: Kind.REFUND_FAILED}.get(kind, kind)
    return kind


def _movement(kind_name: str, name: str, thing: ET.Element | None) -> Movement | None:
    """The money that this event carries: transaction_disbursed tells of what transaction_settled has told."""
    match kind_name:
        case "transaction_settled":
            return _moved(Measure.REFUNDED if _is_credit(thing) else Measure.CAPTURED, thing)
        case "refund_failed" if name == "transaction":
            return _moved(Measure.REFUNDED, thing).reversed()
        case "dispute_opened":
            return _moved(Measure.DISPUTED, thing)
        case "dispute_won":
            return _moved(Measure.DISPUTED, thing).reversed()
        case _:
            return None


def _moved(measure: Measure, thing: ET.Element | None) -> Movement:
    amount: Any = _text(thing, "amount") or _text(thing, "amount-disputed")
    money = read_decimal(amount, _text(thing, "currency-iso-code"))
    return Movement(measure, as_text(_text(thing, "id"), "the id of what moved"), money)
