"""What providers' events mean, by what their documentation says of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import providers
from migration.signing import new_settings, sign
from payments.event import Event, Kind, Measure
from payments.money import Money
from providers.base import Delivery, open_delivery
from tests.provider_events import adyen_item, sign_adyen, standard_event, stripe_event

NOW = datetime.now(UTC).replace(microsecond=0)


def read(provider: str, body: bytes) -> Event:
    settings = new_settings(provider)
    signed = sign(provider, body, settings, NOW)
    item = open_delivery(providers.load(provider), Delivery(signed.headers, signed.body, NOW), settings)[0]
    assert item.event is not None, item.refusal
    return item.event


CHARGE = {
    "object": "charge",
    "id": "ch_1",
    "payment_intent": "pi_1",
    "currency": "eur",
    "amount": 500,
    "amount_captured": 300,
}
REFUND = {
    "object": "refund",
    "id": "re_1",
    "payment_intent": "pi_1",
    "charge": "ch_1",
    "currency": "eur",
    "amount": 200,
}
DISPUTE = {
    "object": "dispute",
    "id": "dp_1",
    "charge": "ch_1",
    "payment_intent": None,
    "currency": "eur",
    "amount": 300,
}


@pytest.mark.parametrize(
    ("event_type", "thing", "kind", "moved"),
    [
        ("charge.succeeded", {**CHARGE, "captured": False}, Kind.AUTHORISED, ("authorised", "ch_1", 500)),
        ("charge.succeeded", {**CHARGE, "captured": True}, Kind.CAPTURED, ("captured", "ch_1", 300)),
        ("charge.captured", CHARGE, Kind.CAPTURED, ("captured", "ch_1", 300)),
        ("charge.failed", CHARGE, Kind.FAILED, None),
        ("charge.expired", CHARGE, Kind.CANCELLED, None),
        ("charge.refunded", CHARGE, Kind.REFUNDED, None),
        ("charge.updated", CHARGE, Kind.OTHER, None),
        ("payment_intent.succeeded", {"object": "payment_intent", "id": "pi_1"}, Kind.CAPTURED, None),
        ("payment_intent.canceled", {"object": "payment_intent", "id": "pi_1"}, Kind.CANCELLED, None),
        ("payment_intent.payment_failed", {"object": "payment_intent", "id": "pi_1"}, Kind.FAILED, None),
        ("refund.created", {**REFUND, "status": "pending"}, Kind.REFUND_PENDING, ("refunded", "re_1", 200)),
        ("refund.created", {**REFUND, "status": "succeeded"}, Kind.REFUNDED, ("refunded", "re_1", 200)),
        ("refund.updated", {**REFUND, "status": "succeeded"}, Kind.REFUNDED, None),
        ("refund.updated", {**REFUND, "status": "canceled"}, Kind.REFUND_FAILED, ("refunded", "re_1:reversed", -200)),
        ("refund.failed", {**REFUND, "status": "failed"}, Kind.REFUND_FAILED, ("refunded", "re_1:reversed", -200)),
        ("charge.dispute.created", {**DISPUTE, "status": "needs_response"}, Kind.DISPUTE_OPENED, None),
        ("charge.dispute.funds_withdrawn", DISPUTE, Kind.DISPUTE_OPENED, ("disputed", "dp_1", 300)),
        ("charge.dispute.funds_reinstated", {**DISPUTE, "status": "won"}, Kind.DISPUTE_WON, ("disputed", "dp_1:reversed", -300)),
        ("charge.dispute.closed", {**DISPUTE, "status": "lost"}, Kind.DISPUTE_LOST, None),
        ("payout.paid", {"object": "payout", "id": "po_1", "amount": 1, "currency": "eur"}, Kind.PAYOUT, None),
        ("no.such.type", {"object": "widget", "id": "w_1"}, Kind.OTHER, None),
    ],
)  # fmt: skip
def test_stripe(event_type: str, thing: dict[str, Any], kind: Kind, moved: tuple[str, str, int] | None) -> None:
    event = read("stripe", stripe_event(event_type, thing))
    assert event.kind is kind
    assert event.type == event_type
    if moved is None:
        assert event.movement is None
    else:
        assert event.movement == (Measure(moved[0]), moved[1], Money(moved[2], "EUR"))
    expected = {"dispute": "ch_1", "payout": None, "widget": None}.get(thing["object"], "pi_1")
    assert event.payment == expected


def test_a_stripe_reference_may_be_expanded() -> None:
    event = read("stripe", stripe_event("charge.captured", {**CHARGE, "payment_intent": {"id": "pi_9"}}))
    assert event.payment == "pi_9"


def test_a_connected_account_is_the_events_account() -> None:
    body = json.dumps({**json.loads(stripe_event("charge.captured", CHARGE)), "account": "acct_1"}).encode()
    assert read("stripe", body).account == "acct_1"


def test_a_thin_stripe_event_is_kept_without_a_payment() -> None:
    body = b'{"id": "evt_1", "object": "v2.core.event", "type": "v1.billing.meter.no_meter", "created": "2026-01-01T00:00:00Z"}'
    event = read("stripe", body)
    assert (event.kind, event.payment) == (Kind.OTHER, None)
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_unreadable_amount_costs_the_movement_and_not_the_event() -> None:
    event = read("stripe", stripe_event("charge.captured", {**CHARGE, "amount_captured": "300"}))
    assert event.movement is None
    assert event.kind is Kind.CAPTURED
    assert event.problem == "the amount is str, not a whole number of minor units"


@pytest.mark.parametrize(
    ("code", "success", "kind", "moved"),
    [
        ("AUTHORISATION", "true", Kind.AUTHORISED, ("authorised", "PSP", 4200)),
        ("AUTHORISATION", "false", Kind.FAILED, None),
        ("CAPTURE", "true", Kind.CAPTURED, ("captured", "PSP", 4200)),
        ("CAPTURE_FAILED", "true", Kind.FAILED, ("captured", "PSP:CAPTURE_FAILED", -4200)),
        ("REFUND", "true", Kind.REFUNDED, ("refunded", "PSP", 4200)),
        ("REFUND", "false", Kind.REFUND_FAILED, None),
        ("REFUND_FAILED", "true", Kind.REFUND_FAILED, ("refunded", "PSP:REFUND_FAILED", -4200)),
        ("CANCELLATION", "true", Kind.CANCELLED, None),
        ("NOTIFICATION_OF_CHARGEBACK", "true", Kind.DISPUTE_OPENED, None),
        ("CHARGEBACK", "true", Kind.DISPUTE_OPENED, ("disputed", "PSP", 4200)),
        ("CHARGEBACK_REVERSED", "true", Kind.DISPUTE_WON, ("disputed", "PSP:CHARGEBACK_REVERSED", -4200)),
        ("SECOND_CHARGEBACK", "true", Kind.DISPUTE_LOST, ("disputed", "PSP:SECOND_CHARGEBACK", 4200)),
        ("REPORT_AVAILABLE", "true", Kind.OTHER, None),
        ("SOMETHING_NEW", "true", Kind.OTHER, None),
    ],
)
def test_adyen(code: str, success: str, kind: Kind, moved: tuple[str, str, int] | None) -> None:
    event = read("adyen", sign_adyen([adyen_item(code, "PSP", original="ORIGINAL", success=success)], "00" * 16))
    assert event.id == f"{code}:PSP:{success}"
    assert event.kind is kind
    assert (event.movement and event.movement[:2]) == (moved and (Measure(moved[0]), moved[1]))
    assert event.movement is None or event.movement.money == Money(moved[2] if moved else 0, "EUR")
    assert event.payment == (None if code == "REPORT_AVAILABLE" else "ORIGINAL")
    assert event.by_transport == ("occurred_at",)


@pytest.mark.parametrize(
    ("currency", "sent", "money"),
    [
        ("CLP", 1000, Money(10, "CLP")),
        ("CVE", 7, Money(700, "CVE")),
        ("ISK", 500, Money(5, "ISK")),
        ("BHD", 5, Money(5, "BHD")),
    ],
)
def test_adyens_own_exponents_become_iso_minor_units(currency: str, sent: int, money: Money) -> None:
    item = adyen_item("CAPTURE", "PSP")
    item["amount"] = {"value": sent, "currency": currency}
    movement = read("adyen", sign_adyen([item], "00" * 16)).movement
    assert movement and movement.money == money


def test_an_adyen_time_that_anybody_could_change_is_no_part_of_the_digest() -> None:
    item = adyen_item("CAPTURE", "PSP")
    first = read("adyen", sign_adyen([dict(item)], "00" * 16))
    second = read("adyen", sign_adyen([{**item, "eventDate": "2027-01-01T00:00:00+00:00"}], "00" * 16))
    assert first.occurred_at != second.occurred_at
    assert first.digest() == second.digest()


def test_standard() -> None:
    data = {"payment": "p", "account": "shop", "movement": "c1", "amount": 900, "currency": "jpy"}
    event = read("standard", standard_event("payment.captured", data))
    assert (event.kind, event.payment, event.account) == (Kind.CAPTURED, "p", "shop")
    assert event.movement == (Measure.CAPTURED, "c1", Money(900, "JPY"))
    assert read("standard", standard_event("invoice.sent", {})).kind is Kind.OTHER
