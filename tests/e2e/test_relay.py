"""The relay as a process: what it acknowledges is on its disk, and reaches legacy and AWS whatever fails on the way."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sqlite3
import zlib
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.items import partition_key, payment_key
from migration.relay.spool import AWS, LEGACY
from migration.samples import life, sample
from migration.signing import Signed, sign
from payments.routing import Mode, Routing
from tests.e2e.client import System, wait_for
from tests.e2e.relays import Legacy, Relay, free_port
from tests.provider_events import stripe_event


def signed(system: System, provider: str = "stripe") -> Signed:
    """A believable delivery, as its provider sends it."""
    now = datetime.now(UTC)
    sent = sample(provider, now)
    made = sign(provider, sent.body, system.keys[provider], now)
    return Signed(made.body, {**sent.headers, **made.headers})


def charge(system: System, payment: str, step: int = 0) -> tuple[Signed, str]:
    """A signed charge of a payment, and its event's key."""
    event_id = f"evt_{payment}_{step}"
    thing = {"object": "charge", "id": f"ch_{payment}", "captured": True, "amount_captured": 100, "currency": "eur",
             "payment_intent": payment}  # fmt: skip
    body = stripe_event("charge.succeeded", thing, event_id=event_id)
    return sign("stripe", body, system.keys["stripe"], datetime.now(UTC)), partition_key(
        "EVT", "stripe", "-", event_id
    )


def test_a_new_relay_delivers_to_legacy_alone_and_byte_for_byte(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url) as relay:
        sent = {
            provider: signed(system, provider) for provider in ("stripe", "adyen", "braintree", "paypal", "plaid")
        }
        for provider, (body, headers) in sent.items():
            status, answer = relay.post(provider, body, {**headers, "user-agent": provider, "x-envmig-owner": "me"})
            assert (status, answer) == (200, b"[accepted]" if provider == "adyen" else b'{"outcome":"accepted"}')
        taken = {each.provider: each for each in wait_for(lambda: legacy.taken if len(legacy.taken) == 5 else [])}
        for provider, (body, headers) in sent.items():
            assert taken[provider].body == body
            assert taken[provider].headers.items() >= {name.lower(): value for name, value in headers.items()}.items()
            assert taken[provider].headers["user-agent"] == provider
            assert taken[provider].headers["x-envmig-owner"] == "legacy"
        assert "content-type" in taken["stripe"].headers


def test_in_parallel_both_have_it_with_the_relays_time_and_owner(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url) as relay:
        relay.mode("parallel", "--why", "to compare", "--who", "ann")
        payment = f"pi_{secrets.token_hex(8)}"
        sent, key = charge(system, payment)
        before = datetime.now(UTC)
        assert relay.post("stripe", *sent)[0] == 200
        item = wait_for(partial(_event, system, key))
        assert item["owner"] == {"S": "legacy"}
        assert item["routing"] == {"S": "mode=parallel;hundredths=0;salt=test;epoch=2"}
        received_at = datetime.fromisoformat(item["received_at"]["S"])
        assert abs((received_at - before).total_seconds()) < 5
        assert wait_for(legacy.bodies) == [sent.body]
        assert legacy.taken[0].headers["x-envmig-trace"] == item["trace"]["S"]
        assert "parallel" in relay.command("changes")
        assert "to compare" in relay.command("changes")


def test_a_canarys_payments_have_one_owner_for_both_sides(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url) as relay:
        relay.mode("canary", "--percent", "50")
        routing = Routing(Mode.CANARY, 5000, "test", 2)
        payments = [f"pi_{secrets.token_hex(8)}" for _ in range(8)]
        for payment in payments:
            for step in range(2):
                assert relay.post("stripe", *charge(system, payment, step)[0])[0] == 200
        wait_for(lambda: len(legacy.taken) == 16)
        for taken in legacy.taken:
            payment = json.loads(taken.body)["data"]["object"]["payment_intent"]
            assert taken.headers["x-envmig-owner"] == routing.owner(payment)
        for payment in payments:
            for step in range(2):
                key = partition_key("EVT", "stripe", "-", f"evt_{payment}_{step}")
                item = wait_for(partial(_event, system, key))
                assert item["owner"] == {"S": routing.owner(payment)}


def test_what_is_not_authentic_is_refused_and_not_kept(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url, listen__slowest_body_s=0.5) as relay:
        body, headers = signed(system)
        assert relay.post("stripe", body + b" ", headers)[0] == 401
        assert relay.post("nobody", body, headers)[0] == 404
        assert relay.post("stripe", b"", headers)[0] == 400
        assert relay.post("stripe", secrets.token_bytes(400_000), headers)[0] == 401
        large = sign("stripe", secrets.token_bytes(400_000), system.keys["stripe"], datetime.now(UTC))
        assert relay.post("stripe", *large)[0] == 413
        for length, status in ((100, 408), (6_300_000, 413)):
            with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as begun:
                begun.sendall(b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\nx" % length)
                assert begun.recv(100).startswith(b"HTTP/1.1 %d" % status)
        spool = relay.spool()
        assert spool.counts(LEGACY).pending == 0
        spool.close()
        assert legacy.taken == []


def test_it_acknowledges_while_both_are_away_and_delivers_when_they_are_back(system: System, tmp_path: Path) -> None:
    away = free_port()
    relay = Relay(
        system, tmp_path, f"http://127.0.0.1:{away}/webhooks", aws__endpoint=f"http://127.0.0.1:{free_port()}"
    )
    payment = f"pi_{secrets.token_hex(8)}"
    with relay:
        relay.mode("parallel")
        for step in range(5):
            assert relay.post("stripe", *charge(system, payment, step)[0])[0] == 200
        wait_for(lambda: 'envmig_relay_breaker_open{target="legacy"} 1.0' in relay.get("/metrics")[1])
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url):
        wait_for(lambda: len(legacy.taken) == 5)
        # One payment's requests come in their order, whatever was tried when.
        assert [json.loads(body)["id"] for body in legacy.bodies()] == [f"evt_{payment}_{step}" for step in range(5)]
        state = wait_for(lambda: _with_events(system, payment_key("stripe", "-", payment), 5))
        assert state["event_count"] == {"N": "5"}


def _event(system: System, key: str) -> dict[str, Any] | None:
    return system.items(key).get("EVENT")


def _taken(legacy: Legacy, body: bytes) -> bool:
    return body in legacy.bodies()


def _has_come_to(system: System, provider: str, payment: str, status: str) -> bool:
    pages = (
        system.root("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=system.deployment.output("data", "table_name"),
            FilterExpression="SK = :sk AND provider = :provider AND payment = :payment",
            ExpressionAttributeValues={
                ":sk": {"S": "STATE"},
                ":provider": {"S": provider},
                ":payment": {"S": payment},
            },
        )
    )
    return [item["status"]["S"] for page in pages for item in page["Items"]] == [status]


def _with_events(system: System, key: str, count: int) -> dict[str, dict[str, str]] | None:
    state = system.items(key).get("STATE")
    return state if state and state["event_count"]["N"] == str(count) else None


def test_the_order_of_a_payment_holds_while_legacy_refuses_now_and_then(system: System, tmp_path: Path) -> None:
    asked: dict[bytes, int] = {}

    def answers(_provider: str, body: bytes) -> int:
        asked[body] = asked.get(body, 0) + 1
        return 503 if asked[body] < 3 and hash(body) % 2 else 200

    with Legacy(answers) as legacy, Relay(system, tmp_path, legacy.url) as relay:
        payments = [f"pi_{secrets.token_hex(8)}" for _ in range(6)]
        for step in range(6):
            for payment in payments:
                assert relay.post("stripe", *charge(system, payment, step)[0])[0] == 200
        wait_for(lambda: len(legacy.taken) == 36)
        for payment in payments:
            mine = [json.loads(body)["id"] for body in legacy.bodies() if payment.encode() in body]
            assert mine == [f"evt_{payment}_{step}" for step in range(6)]


def test_what_legacy_will_not_take_is_parked_told_of_and_tried_again(system: System, tmp_path: Path) -> None:
    statuses = {"now": 422}
    with Legacy(lambda _p, _b: statuses["now"]) as legacy, Relay(system, tmp_path, legacy.url) as relay:
        relay.mode("parallel")
        sent, key = charge(system, f"pi_{secrets.token_hex(8)}")
        assert relay.post("stripe", *sent)[0] == 200
        listed = wait_for(lambda: [line for line in relay.command("parked", "legacy").splitlines() if "422" in line])
        assert "stripe" in listed[0]
        wait_for(lambda: "will not take 1 requests" in relay.get("/readyz")[1])
        assert wait_for(partial(_event, system, key))
        wait_for(lambda: "envmig_relay_mismatches_total 1.0" in relay.get("/metrics")[1])
        statuses["now"] = 200
        assert "1 are tried again" in relay.command("parked", "legacy", "--retry")
        assert wait_for(legacy.bodies) == [sent.body]


def test_a_batch_is_kept_whole_and_answered_by_its_worst(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url) as relay:
        body, headers = signed(system, "adyen")
        document = json.loads(body)
        document["notificationItems"][1]["NotificationRequestItem"]["amount"]["value"] += 1
        assert relay.post("adyen", json.dumps(document).encode(), headers)[0] == 401
        assert json.loads(wait_for(legacy.bodies)[0]) == document


def test_a_full_spool_acknowledges_nothing(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url, spool__most_bytes=200_000) as relay:
        answers = [200]
        while answers[-1] == 200 and len(answers) < 2000:
            answers.append(relay.post("stripe", *signed(system))[0])
        assert answers.pop() == 503
        assert relay.post("stripe", *signed(system))[0] == 503
        wait_for(lambda: relay.get("/readyz")[0] == 503)
        assert "has reached its limit" in relay.get("/readyz")[1]
        wait_for(lambda: len(legacy.taken) == len(answers) - 1)


def test_spool_and_one_waits_for_a_target(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url, spool__acknowledge="spool+one") as relay:
        relay.mode("parallel")
        for _ in range(5):
            sent = signed(system)
            assert relay.post("stripe", *sent)[0] == 200
            # Either has it before the provider is told so; both have it in the end.
            wait_for(partial(_taken, legacy, sent.body))


def test_what_was_acknowledged_is_told_in_manifests(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy:
        with Relay(system, tmp_path, legacy.url) as relay:
            relay.mode("parallel")
            sent, key = charge(system, f"pi_{secrets.token_hex(8)}")
            assert relay.post("stripe", *sent)[0] == 200
            wait_for(lambda: system.items(key))
        # As if the window in which it was received had ended a millisecond after it.
        with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as spool, spool:
            (received_ms,) = spool.execute("SELECT received_ms FROM requests").fetchone()
            spool.execute("DELETE FROM manifests")
            spool.execute("INSERT INTO manifests VALUES (?)", (received_ms - 299_999,))
        with relay:
            until = datetime.fromtimestamp((received_ms + 1) / 1000, UTC).isoformat(timespec="milliseconds")
            day = partition_key("VAL", "manifests", until[:10])
            place = next(iter(wait_for(lambda: [each for each in system.items(day) if each.startswith(until)])))
            item = system.items(day)[place]
            assert item["relay"] == {"S": "host-1"}
            assert zlib.decompress(item["events"]["B"]).decode() == key


@pytest.mark.parametrize("keep", [LEGACY, AWS])
def test_modes_deliver_where_they_say(system: System, tmp_path: Path, keep: str) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url, legacy__mirror=False) as relay:
        if keep == AWS:
            relay.mode("aws")
        sent, key = charge(system, f"pi_{secrets.token_hex(8)}")
        assert relay.post("stripe", *sent)[0] == 200
        if keep == AWS:
            assert wait_for(partial(_event, system, key))["owner"] == {"S": "aws"}
            assert legacy.taken == []
        else:
            assert wait_for(legacy.bodies) == [sent.body]
            assert system.items(key) == {}


def test_whole_lives_of_several_providers_add_up_on_aws(system: System, tmp_path: Path) -> None:
    with Legacy() as legacy, Relay(system, tmp_path, legacy.url) as relay:
        relay.mode("parallel")
        for provider in ("gocardless", "shopify", "standard"):
            now = datetime.now(UTC)
            made = life(provider, now)
            for each in reversed(made.deliveries):
                wrapped = sign(provider, each.body, system.keys[provider], now)
                assert relay.post(provider, wrapped.body, {**each.headers, **wrapped.headers})[0] == 200
            for payment, expected in made.ledger.items():
                wait_for(partial(_has_come_to, system, provider, payment, expected.status))
