"""What the relay attests beside a provider's request, and what the function makes of it."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from adapters.items import partition_key
from payments import attestation
from payments.attestation import AttestationKey
from payments.routing import Mode, Routing
from tests.provider_events import sign_stripe, stripe_payment_life

if TYPE_CHECKING:
    from tests.e2e.client import System


def send(
    system: System, received_at: datetime, *, routing: Routing, break_it: bool = False, signed_at: float
) -> dict[str, Any]:
    """Send one event as the relay does; give what was stored of it, or the answer's status."""
    body = stripe_payment_life(secrets.token_hex(8))[0]
    headers = {
        **sign_stripe(body, system.secret("stripe"), signed_at),
        attestation.RECEIVED_AT: received_at.isoformat(),
        attestation.ROUTING: str(routing),
        attestation.TRACE: "trace-1",
    }
    key = AttestationKey("local", system.secret("relay").encode())
    headers[attestation.ATTESTATION] = attestation.attest(headers, body, "stripe", key)
    if break_it:
        headers[attestation.ROUTING] = str(routing._replace(mode=Mode.LEGACY))
    answer = system.post("/webhooks/stripe", body, headers)
    stored = system.items(partition_key("EVT", "stripe", "-", json.loads(body)["id"])).get("EVENT", {})
    return {"status": answer.status, **stored}


AWS = Routing(Mode.AWS, 0, "salt", 7)


def test_an_attested_event_has_the_relays_time_owner_routing_and_trace(system: System) -> None:
    earlier = datetime.now(UTC) - timedelta(hours=2)
    stored = send(system, earlier, routing=AWS, signed_at=earlier.timestamp())
    assert stored["status"] == 200, "a signature is as old as the receipt, not as the delivery after an outage"
    assert stored["received_at"]["S"] == earlier.isoformat(timespec="milliseconds")
    assert stored["owner"] == {"S": "aws"}
    assert stored["routing"] == {"S": "mode=aws;hundredths=0;salt=salt;epoch=7"}
    assert stored["trace"] == {"S": "trace-1"}


def test_in_parallel_legacy_owns(system: System) -> None:
    now = datetime.now(UTC)
    stored = send(system, now, routing=AWS._replace(mode=Mode.PARALLEL), signed_at=now.timestamp())
    assert stored["owner"] == {"S": "legacy"}


def test_a_changed_header_loses_the_attestation_but_not_the_event(system: System) -> None:
    stored = send(system, datetime.now(UTC), routing=AWS, break_it=True, signed_at=time.time())
    assert stored["status"] == 200
    assert "owner" not in stored
    assert "routing" not in stored


@pytest.mark.parametrize("age", [timedelta(days=15), timedelta(minutes=-2)])
def test_a_receipt_older_than_the_spool_or_from_ahead_is_judged_by_our_own_clock(
    system: System, age: timedelta
) -> None:
    claimed = datetime.now(UTC) - age
    stored = send(system, claimed, routing=AWS, signed_at=time.time())
    assert stored["status"] == 200
    assert "owner" not in stored
    assert stored["received_at"]["S"] != claimed.isoformat(timespec="milliseconds")


def test_an_old_signature_needs_an_attested_receipt(system: System) -> None:
    earlier = datetime.now(UTC) - timedelta(hours=2)
    assert send(system, earlier, routing=AWS, break_it=True, signed_at=earlier.timestamp())["status"] == 401


def test_a_rotated_key_is_found_without_a_deploy(system: System) -> None:
    """The function fetches the keys again, once, when a signature does not match."""
    secret = system.deployment.output("security", "api_keys_secret_arn")
    client = system.root("secretsmanager")
    body = stripe_payment_life(secrets.token_hex(8))[0]
    assert system.post("/webhooks/stripe", body, sign_stripe(body, system.secret("stripe"))).status == 200
    rotated = {
        **system.keys,
        "stripe": {"keys": [*system.keys["stripe"]["keys"], {"id": "new", "secret": "whsec_new"}]},
    }
    client.put_secret_value(SecretId=secret, SecretString=json.dumps(rotated))
    try:
        time.sleep(10.5)  # the bound on how often it fetches again
        fresh = stripe_payment_life(secrets.token_hex(8))[0]
        assert system.post("/webhooks/stripe", fresh, sign_stripe(fresh, "whsec_new")).status == 200
        stored = system.items(partition_key("EVT", "stripe", "-", json.loads(fresh)["id"]))["EVENT"]
        assert stored["verification"]["M"]["key_id"] == {"S": "new"}
    finally:
        client.put_secret_value(SecretId=secret, SecretString=json.dumps(system.keys))
