"""The table's adapter under faults that the emulator never raises by itself, injected before the real emulator."""

from __future__ import annotations

import secrets
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from adapters.aws_json import DYNAMODB, Client
from adapters.items import partition_key
from adapters.table import Outcome, Receipt, RejectedError, StoreUnavailableError, Table, Verification
from payments.event import Event, Kind, Measure, Movement
from payments.money import Money
from tests.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.client import System

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def proxy(system: System) -> Iterator[FaultyProxy]:
    with FaultyProxy(system.deployment.outputs["local"]["endpoint"]) as running:
        yield running


@pytest.fixture
def table(system: System, proxy: FaultyProxy) -> Iterator[Table]:
    role = system.deployment.output("security", "role_arns")["webhook"]
    granted = system.root("sts").assume_role(RoleArn=role, RoleSessionName="faults")["Credentials"]
    environment = {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": granted["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": granted["SecretAccessKey"],
        "AWS_SESSION_TOKEN": granted["SessionToken"],
        "AWS_ENDPOINT_URL_DYNAMODB": proxy.endpoint,
    }
    client = Client(DYNAMODB, environment)
    yield Table(client, system.deployment.output("data", "table_name"), 8)
    client.close()


def event(payment: str, event_id: str, kind: Kind = Kind.CAPTURED, at: datetime = NOW, amount: int = 100) -> Event:
    movement = Movement(Measure.CAPTURED, f"m_{event_id}", Money(amount, "EUR"))
    return Event("stripe", "-", event_id, "charge.succeeded", kind, payment, at, movement)


RECEIPT = Receipt(NOW, zlib.compress(b"{}"), Verification("stripe-v1", "k", NOW, "0" * 64), None, None, "trace")


def store(table: Table, told: Event, seconds: float = 5) -> Outcome:
    return table.store(told, RECEIPT, time.monotonic() + seconds)


@pytest.mark.parametrize("fault", ["conflict", "throttle", "throughput", "internal", "lost", "cut"])
def test_what_passes_is_tried_again_and_applied_once(
    system: System, table: Table, proxy: FaultyProxy, fault: str
) -> None:
    payment = secrets.token_hex(8)
    proxy.plan.extend([fault, fault])
    assert store(table, event(payment, f"evt_{payment}")) is Outcome.STORED
    tokens = {body["ClientRequestToken"] for body in proxy.bodies}
    assert len(proxy.calls) == 3
    assert len(tokens) == 1, "every attempt at the same writes has the same token"
    found = system.items(partition_key("PAY", "stripe", "-", payment))["STATE"]
    assert found["event_count"] == {"N": "1"}


def test_a_lost_reply_of_a_late_event_is_applied_once(system: System, table: Table, proxy: FaultyProxy) -> None:
    payment = secrets.token_hex(8)
    store(table, event(payment, f"evt_b{payment}"))
    proxy.plan.extend(["ok", "lost"])
    store(table, event(payment, f"evt_a{payment}", Kind.AUTHORISED, NOW - timedelta(hours=1)))
    found = system.items(partition_key("PAY", "stripe", "-", payment))["STATE"]
    assert found["event_count"] == {"N": "2"}
    assert found["status"] == {"S": "captured"}


def test_a_conflict_that_stays_ends_at_the_deadline_with_nothing_applied(
    system: System, table: Table, proxy: FaultyProxy
) -> None:
    payment = secrets.token_hex(8)
    proxy.plan.extend(["conflict"] * 1000)
    with pytest.raises(StoreUnavailableError):
        store(table, event(payment, f"evt_{payment}"), seconds=0.3)
    assert system.items(partition_key("PAY", "stripe", "-", payment)) == {}


def test_what_does_not_pass_is_not_tried_again(table: Table, proxy: FaultyProxy) -> None:
    proxy.plan.append("validation")
    with pytest.raises(RejectedError, match="ValidationException"):
        store(table, event("p", f"evt_{secrets.token_hex(8)}"))
    assert len(proxy.calls) == 1


def test_one_call_for_a_new_event_one_for_a_duplicate_two_for_a_late_one(table: Table, proxy: FaultyProxy) -> None:
    payment = secrets.token_hex(8)
    new = event(payment, f"evt_b{payment}")
    late = event(payment, f"evt_a{payment}", Kind.AUTHORISED, NOW - timedelta(hours=1))
    calls = []
    for told in (new, new, late, late):
        before = len(proxy.calls)
        store(table, told)
        calls.append(len(proxy.calls) - before)
    assert calls == [1, 1, 2, 1]


def test_a_time_from_far_ahead_does_not_freeze_its_payment(system: System, table: Table) -> None:
    payment = secrets.token_hex(8)
    unsigned = event(payment, f"evt_a{payment}", at=NOW + timedelta(days=365))
    store(table, unsigned)
    later = RECEIPT._replace(received_at=NOW + timedelta(hours=1))
    refund = event(payment, f"evt_b{payment}", Kind.REFUNDED, NOW + timedelta(hours=1))
    table.store(refund, later, time.monotonic() + 5)
    found = system.items(partition_key("PAY", "stripe", "-", payment))["STATE"]
    assert found["status"] == {"S": "refunded"}


def test_a_separator_in_a_providers_id_does_not_mix_two_payments(system: System, table: Table) -> None:
    unique = secrets.token_hex(8)
    first = event("p", f"{unique}#x")._replace(account="a")
    second = event("p", "x")._replace(account=f"a#{unique}")
    assert [store(table, told) for told in (first, second)] == [Outcome.STORED, Outcome.STORED]
    assert system.items(partition_key("EVT", "stripe", "a", f"{unique}#x"))
