"""Any order and any repetition of a payment's events gives one final state, equal to a ledger reckoned by hand."""

from __future__ import annotations

import itertools
import random
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from adapters.items import partition_key
from payments.money import Money
from payments.state import totals
from tests.e2e.client import outcome
from tests.provider_events import (
    adyen_item,
    sign_adyen,
    sign_standard,
    sign_stripe,
    standard_event,
    stripe_payment_life,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.client import System


def converge(
    system: System,
    prepare: Callable[[str], tuple[list[tuple[str, bytes, dict[str, str]]], str]],
) -> list[dict[str, Any]]:
    """Send all 120 orders of five events, each order with two repeats, to payments of their own; give their states."""

    def play(order: tuple[int, ...]) -> dict[str, Any]:
        deliveries, payment_key = prepare(secrets.token_hex(8))
        chance = random.Random(str(order))
        schedule = list(order)
        for _ in range(2):
            schedule.insert(chance.randrange(len(schedule) + 1), chance.choice(order))
        seen: set[int] = set()
        for place in schedule:
            path, body, headers = deliveries[place]
            answer = system.post(path, body, headers)
            assert answer.status == 200, answer
            assert outcome(answer) == ("duplicate" if place in seen else "stored")
            seen.add(place)
        return system.items(payment_key)["STATE"]

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(play, itertools.permutations(range(5))))


def ledger(state: dict[str, Any]) -> tuple[str, int, dict[tuple[str, str], int], int]:
    """A state's status, count of events, sums and number of movements."""
    movements = {
        name: Money(int(value["M"]["minor_units"]["N"]), value["M"]["currency"]["S"])
        for name, value in state.items()
        if name.startswith("mov#")
    }
    return state["status"]["S"], int(state["event_count"]["N"]), totals(movements), len(movements)


def test_all_orders_of_a_stripe_payment(system: System) -> None:
    """A capture told twice, a refund created and failed, and a cumulative charge.refunded between them."""

    def prepare(unique: str) -> tuple[list[tuple[str, bytes, dict[str, str]]], str]:
        bodies = stripe_payment_life(unique)
        deliveries = [("/webhooks/stripe", body, sign_stripe(body, system.secret("stripe"))) for body in bodies]
        return deliveries, partition_key("PAY", "stripe", "-", f"pi_{unique}")

    states = converge(system, prepare)
    assert len(states) == 120
    # By hand: 50.00 captured once, 20.00 refunded and taken back.
    expected = ("refund_failed", 5, {("captured", "EUR"): 5000, ("refunded", "EUR"): 0}, 3)
    assert [ledger(state) for state in states] == [expected] * 120


def test_all_orders_of_an_adyen_payment(system: System) -> None:
    """Two partial captures, of which one fails, and a refund; Adyen's times are of one second."""

    def prepare(unique: str) -> tuple[list[tuple[str, bytes, dict[str, str]]], str]:
        psp = unique.upper()
        items = [
            adyen_item("AUTHORISATION", psp, value=6000),
            adyen_item("CAPTURE", f"{psp}C1", original=psp, value=2500),
            adyen_item("CAPTURE", f"{psp}C2", original=psp, value=3500),
            adyen_item("CAPTURE_FAILED", f"{psp}C2", original=psp, value=3500),
            adyen_item("REFUND", f"{psp}R1", original=psp, value=500),
        ]
        for place, item in enumerate(items):
            item["eventDate"] = f"2026-11-20T10:00:0{place}+01:00"
        deliveries = [
            (
                "/webhooks/adyen",
                sign_adyen([item], system.secret("adyen")),
                {"content-type": "application/json"},
            )
            for item in items
        ]
        return deliveries, partition_key("PAY", "adyen", "ExampleMerchant", psp)

    states = converge(system, prepare)
    expected = (
        "refunded",
        5,
        {("authorised", "EUR"): 6000, ("captured", "EUR"): 2500, ("refunded", "EUR"): 500},
        5,
    )
    assert [ledger(state) for state in states] == [expected] * 120


def test_all_orders_of_a_standard_payment(system: System) -> None:
    """Authorised, captured, refunded, disputed and won, all in one second: the kinds' ranks decide."""

    def prepare(unique: str) -> tuple[list[tuple[str, bytes, dict[str, str]]], str]:
        told = [
            ("payment.authorised", {"movement": "a", "amount": 900}),
            ("payment.captured", {"movement": "c", "amount": 900}),
            ("refund.succeeded", {"movement": "r", "amount": 100}),
            ("dispute.opened", {"movement": "d", "amount": 800}),
            ("dispute.won", {"movement": "d:won", "amount": -800}),
        ]
        deliveries = []
        for place, (event_type, data) in enumerate(told):
            body = standard_event(event_type, {"payment": unique, "account": "shop", "currency": "JPY", **data})
            headers = sign_standard(body, system.secret("standard"), f"msg_{unique}_{place}")
            deliveries.append(("/webhooks/standard", body, headers))
        return deliveries, partition_key("PAY", "standard", "shop", unique)

    states = converge(system, prepare)
    sums = {
        ("authorised", "JPY"): 900,
        ("captured", "JPY"): 900,
        ("refunded", "JPY"): 100,
        ("disputed", "JPY"): 0,
    }
    assert [ledger(state) for state in states] == [("dispute_won", 5, sums, 5)] * 120
