"""A payment's whole life at each provider, against its ledger: in any order, and however often each part comes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

import providers
from migration.samples import Expected, life
from migration.signing import new_settings, sign
from payments.event import Event
from payments.state import fold, totals
from providers.base import Delivery, open_delivery

NOW = datetime.now(UTC).replace(microsecond=0)
BEGAN = NOW - timedelta(hours=1)


def events_and_ledger(provider: str) -> tuple[list[Event], dict[str, Expected]]:
    own = new_settings(provider)
    lived = life(provider, BEGAN)
    events = []
    for sent in lived.deliveries:
        signed = sign(provider, sent.body, own, NOW)
        delivery = Delivery({**sent.headers, **signed.headers}, signed.body, NOW)
        for item in open_delivery(providers.load(provider), delivery, own):
            assert item.event, item.refusal
            assert item.event.problem is None
            events.append(item.event)
    return events, lived.ledger


@pytest.mark.parametrize("provider", providers.NAMES)
def test_a_life_adds_up_to_its_ledger_in_any_order(provider: str) -> None:
    events, ledger = events_and_ledger(provider)
    assert len({event.id for event in events}) == len(events)
    for _ in range(30):
        told = events + random.choices(events, k=len(events))
        random.shuffle(told)
        for payment, expected in ledger.items():
            state = fold((event, NOW) for event in told if event.payment == payment)
            sums = {
                (str(measure), currency): amount for (measure, currency), amount in totals(state.movements).items()
            }
            assert (state.status, sums) == (expected.status, expected.totals)
            assert state.event_count == sum(event.payment == payment for event in events)


@pytest.mark.parametrize("provider", providers.NAMES)
def test_a_life_has_no_other_payment_than_its_ledger_names(provider: str) -> None:
    events, ledger = events_and_ledger(provider)
    assert {event.payment for event in events if event.payment} == set(ledger)


@pytest.mark.parametrize("provider", providers.NAMES)
def test_an_event_that_is_read_again_is_the_same(provider: str) -> None:
    """A redelivery is signed anew, in another envelope, and has the same id and digest."""
    own = new_settings(provider)
    sent = life(provider, BEGAN).deliveries[0]
    told = []
    for at in (NOW, NOW + timedelta(minutes=2)):
        signed = sign(provider, sent.body, own, at)
        delivery = Delivery({**sent.headers, **signed.headers}, signed.body, at)
        told.append(
            [
                (e.event.id, e.event.digest())
                for e in open_delivery(providers.load(provider), delivery, own)
                if e.event
            ]
        )
    assert told[0] == told[1]
    assert told[0]
