"""The domain's rules: states, versions, money, routing, attestation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import attestation
from payments.attestation import AttestationKey
from payments.event import Event, Kind, Measure, Movement
from payments.money import Money, UnreadableAmountError, read_minor_units
from payments.routing import MalformedRoutingError, Mode, Owner, Routing, bucket, parse_routing
from payments.state import RANKS, fold, totals, version

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

_EVENTS = st.builds(
    lambda place, kind, minutes, movement: Event(
        "p", "-", f"e{place}", "t", kind, "pay", NOW + timedelta(minutes=minutes),
        Movement(Measure.CAPTURED, f"m{movement}", Money(movement, "EUR")) if movement else None,
    ),
    st.integers(0, 1000), st.sampled_from(Kind), st.integers(-60, 60), st.integers(0, 4),
)  # fmt: skip


@given(st.lists(_EVENTS, max_size=8, unique_by=lambda event: event.id), st.randoms(), st.integers(0, 3))
def test_any_order_and_repetition_folds_to_the_same_state(events: list[Event], chance: object, repeats: int) -> None:
    told = [(event, NOW) for event in events]
    shuffled = told * (repeats + 1)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(told) == fold(shuffled)


def test_every_kind_has_a_rank() -> None:
    assert set(RANKS) == set(Kind)


def event(kind: Kind, at: datetime | None) -> Event:
    return Event("p", "-", "e", "t", kind, "pay", at)


def test_within_one_second_the_later_kind_is_the_later_event() -> None:
    order = [
        Kind.FAILED,
        Kind.AUTHORISED,
        Kind.CAPTURED,
        Kind.REFUNDED,
        Kind.DISPUTE_OPENED,
        Kind.DISPUTE_LOST,
    ]
    versions = [version(event(kind, NOW), NOW) for kind in order]
    assert versions == sorted(versions)


def test_a_time_far_ahead_counts_as_five_minutes_after_the_receipt() -> None:
    ahead = version(event(Kind.CAPTURED, NOW + timedelta(days=900)), NOW)
    assert ahead == version(event(Kind.CAPTURED, NOW + timedelta(minutes=5)), NOW)


def test_without_a_time_the_receipt_counts() -> None:
    assert version(event(Kind.CAPTURED, None), NOW) == version(event(Kind.CAPTURED, NOW), NOW)


def test_totals_add_up_by_measure_and_currency() -> None:
    moved = {
        "mov#captured#a": Money(5, "EUR"),
        "mov#captured#b#c": Money(6, "EUR"),
        "mov#refunded#a": Money(-1, "EUR"),
        "mov#captured#d": Money(7, "USD"),
    }
    assert totals(moved) == {("captured", "EUR"): 11, ("refunded", "EUR"): -1, ("captured", "USD"): 7}


@pytest.mark.parametrize("amount", [1.0, "1", None, True, [1]])
def test_an_amount_is_a_whole_number(amount: object) -> None:
    with pytest.raises(UnreadableAmountError):
        read_minor_units(amount, "EUR")


@pytest.mark.parametrize("currency", ["EURO", "E1R", "", None, 1, "ÄÖÜ"])
def test_a_currency_is_a_code_of_three_letters(currency: object) -> None:
    with pytest.raises(UnreadableAmountError):
        read_minor_units(1, currency)


def test_an_amount_that_iso_cannot_hold_is_refused_and_never_rounded() -> None:
    with pytest.raises(UnreadableAmountError, match="no whole number"):
        read_minor_units(1050, "CLP", {"CLP": 2})


@given(st.text(min_size=1), st.integers(0, 10_000), st.integers(0, 10_000))
def test_raising_the_canary_never_moves_a_payment_back(payment: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    before = Routing(Mode.CANARY, low, "salt", 1).owner(payment)
    after = Routing(Mode.CANARY, high, "salt", 2).owner(payment)
    assert before is Owner.LEGACY or after is Owner.AWS


def test_the_canary_takes_about_its_share() -> None:
    routing = Routing(Mode.CANARY, 2_500, "salt", 1)
    share = sum(routing.owner(f"pi_{place}") is Owner.AWS for place in range(20_000)) / 20_000
    assert 0.24 < share < 0.26
    assert Routing(Mode.CANARY, 10_000, "salt", 1).owner("any") is Owner.AWS
    assert Routing(Mode.CANARY, 0, "salt", 1).owner("any") is Owner.LEGACY
    assert {bucket("salt", str(place)) for place in range(200_000)} == set(range(10_000))


def test_a_routing_is_read_as_it_was_written() -> None:
    routing = Routing(Mode.CANARY, 525, "s=1", 3)
    assert parse_routing(str(routing)) == routing
    for junk in ("", "mode=canary", "mode=x;hundredths=1;salt=a;epoch=1", "mode=aws;hundredths=x;salt=a;epoch=1",
                 "mode=aws;hundredths=10001;salt=a;epoch=1"):  # fmt: skip
        with pytest.raises(MalformedRoutingError):
            parse_routing(junk)


KEY = AttestationKey("1", b"secret")
HEADERS = {
    attestation.RECEIVED_AT: "r",
    attestation.ROUTING: "o",
    attestation.TRACE: "t",
    attestation.AUTHORIZATION: "a",
}


def attested(headers: dict[str, str], body: bytes = b"body", provider: str = "stripe") -> bool:
    sent = {
        **HEADERS,
        attestation.ATTESTATION: attestation.attest(HEADERS, b"body", "stripe", KEY),
        **headers,
    }
    return attestation.is_attested(sent, body, provider, [AttestationKey("0", b"x"), KEY])


def test_an_attestation_covers_every_header_the_body_and_the_provider() -> None:
    assert attested({})
    for name in HEADERS:
        assert not attested({name: "changed"})
    assert not attested({}, body=b"other")
    assert not attested({}, provider="adyen")


@pytest.mark.parametrize("junk", ["", "v1", "v1,1", "v1,1,", "v2,1,00", "v1,1,é", "v1,9,00"])
def test_a_junk_attestation_is_none(junk: str) -> None:
    assert not attested({attestation.ATTESTATION: junk})
