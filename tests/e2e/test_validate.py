"""Each way in which stored data can be damaged by hand: found, named, and nothing else named with it."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.items import partition_key
from migration.samples import sample
from migration.send import send_patiently
from payments import attestation
from tests.e2e.client import System, cli, damage, relayed, wait_for

Damage = Callable[[System, str, str], None]


def findings(system: System, provider: str = "stripe") -> dict[str, list[str]]:
    """What is wrong with each subject."""
    ran = cli(system, "validate", "--provider", provider, "--json", expect=None)
    found: dict[str, list[str]] = {}
    for line in ran.stdout.splitlines():
        told = json.loads(line)
        found.setdefault(told["subject"], []).append(told["check"])
    return found


def change_event(expression: str, values: dict[str, Any], **names: str) -> Damage:
    return lambda system, _payment, event: damage(system, event, expression, values, "EVENT", **names)


def change_state(expression: str, values: dict[str, Any], **names: str) -> Damage:
    return lambda system, payment, _event: damage(system, payment, expression, values, **names)


def delete(sort: str) -> Damage:
    def deleted(system: System, payment: str, event: str) -> None:
        key = {"PK": {"S": payment if sort == "STATE" else event}, "SK": {"S": sort}}
        system.root("dynamodb").delete_item(TableName=system.deployment.output("data", "table_name"), Key=key)

    return deleted


def copy_under_another_id(system: System, _payment: str, event: str) -> None:
    item = {**system.items(event)["EVENT"], "PK": {"S": f"{event}-again"}}
    item["event_id"] = {"S": f"{item['event_id']['S']}-again"}
    item["version"] = {"S": f"{item['version']['S']}-again"}
    system.root("dynamodb").put_item(TableName=system.deployment.output("data", "table_name"), Item=item)


MONEY = {"M": {"measure": {"S": "refunded"}, "id": {"S": "x"}, "minor_units": {"N": "1"}, "currency": {"S": "EUR"}}}

DAMAGES: list[tuple[str, Damage, dict[str, list[str]]]] = [
    # what was done, and what has to be found of the payment and of the event
    ("status", change_state("SET #status = :s", {":s": {"S": "failed"}}, status="status"), {"payment": ["state-wrong"]}),
    ("version ahead", change_state("SET #v = :v", {":v": {"S": "999999999999999#99#x"}}, v="version"),
     {"payment": ["state-wrong"]}),
    ("count", change_state("SET event_count = :n", {":n": {"N": "2"}}), {"payment": ["state-wrong"]}),
    ("movement added", change_state("SET #m = :m", {":m": MONEY}, m="mov#refunded#x"), {"payment": ["state-wrong"]}),
    ("state removed", delete("STATE"), {"payment": ["state-missing"]}),
    ("body flipped", change_event("SET body = :b", {":b": {"B": zlib.compress(b"another")}}), {"event": ["body-changed"]}),
    ("body junk", change_event("SET body = :b", {":b": {"B": b"junk"}}), {"event": ["body-changed"]}),
    ("body removed", change_event("REMOVE body", {}), {"event": ["body-missing"]}),
    ("amount", change_event("SET movement.minor_units = :n", {":n": {"N": "1"}}),
     {"event": ["event-changed"], "payment": ["state-wrong"]}),
    ("type", change_event("SET #t = :t", {":t": {"S": "charge.updated"}}, t="type"), {"event": ["event-changed"]}),
    ("two ids", copy_under_another_id,
     {"event-again": ["event-changed", "under-two-ids"], "payment": ["state-wrong"]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("damaged", "expected"), [(each, found) for _, each, found in DAMAGES], ids=[d[0] for d in DAMAGES]
)
def test_a_damage_is_found_and_named(system: System, damaged: Damage, expected: dict[str, list[str]]) -> None:
    payment = relayed(system, datetime.now(UTC))
    event = partition_key("EVT", "stripe", "-", payment.rpartition("#")[2].replace("pi_", "evt_"))
    other = relayed(system, datetime.now(UTC))
    damaged(system, payment, event)
    found = findings(system)
    named = {"payment": payment, "event": event, "event-again": f"{event}-again"}
    assert {name: sorted(found.get(key, [])) for name, key in named.items() if key in found} == expected
    assert other not in found


def test_an_event_that_is_removed_shows_in_its_payments_state(system: System) -> None:
    """An index forgets it with the table; what is left of it is the state's count and money."""
    now = datetime.now(UTC)
    payment = relayed(system, now)
    unique = payment.rpartition("pi_")[2]
    thing = {"object": "charge", "id": f"ch_{unique}", "captured": True, "amount_captured": 100, "currency": "eur",
             "payment_intent": f"pi_{unique}"}  # fmt: skip
    from migration.signing import sign
    from tests.provider_events import stripe_event

    body = stripe_event("charge.updated", thing, event_id=f"evt_{unique}-second")
    signed = sign("stripe", body, system.keys["stripe"], now)
    assert system.post("/webhooks/stripe", signed.body, signed.headers).status == 200
    delete("EVENT")(system, payment, partition_key("EVT", "stripe", "-", f"evt_{unique}"))
    assert findings(system)[payment] == ["state-wrong"]


def test_a_batchs_body_is_checked_where_it_is_kept(system: System) -> None:
    now = datetime.now(UTC)
    answer = send_patiently(system.deployment, "adyen", sample("adyen", now), now)
    ids = [each["event_id"] for each in json.loads(answer.body)["events"]]
    keys = [partition_key("EVT", "adyen", "ExampleMerchant", event_id) for event_id in ids]
    assert not set(keys) & findings(system, "adyen").keys()
    sha256 = system.items(keys[0])["EVENT"]["body_sha256"]["S"]
    damage(system, partition_key("BODY", sha256), "SET body = :b", {":b": {"B": zlib.compress(b"x")}}, "BODY")
    assert [findings(system, "adyen").get(key) for key in keys] == [["body-changed"], ["body-changed"]]


def test_a_masked_body_is_another_on_purpose(system: System) -> None:
    now = datetime.now(UTC)
    sent = sample("checkout", now)
    body = json.dumps({**json.loads(sent.body), "note": "4111111111111111"}).encode()
    answer = send_patiently(system.deployment, "checkout", sent._replace(body=body), now)
    event_id = json.loads(answer.body)["events"][0]["event_id"]
    assert partition_key("EVT", "checkout", "-", event_id) not in findings(system, "checkout")


class TestFunction:
    def run(self, system: System) -> dict[str, Any]:
        told = system.root("lambda").invoke(FunctionName="envmig-validate-e2e", Payload=b"{}")
        answer: dict[str, Any] = json.loads(told["Payload"].read())
        assert "FunctionError" not in told, answer
        return answer

    def test_it_goes_on_from_where_it_stopped_and_leaves_the_latest_for_the_next_run(self, system: System) -> None:
        # A run leaves the last two minutes: what was received a second after that is behind no run's cursor yet.
        began = datetime.now(UTC)
        self.run(system)
        settled = self.damaged(system, began - timedelta(seconds=119))
        latest = self.damaged(system, datetime.now(UTC))
        found = partition_key("VAL", "finding", settled)
        wait_for(lambda: self.run(system)["complete"] and "state-wrong" in system.items(found))
        assert not system.items(partition_key("VAL", "finding", latest))

        # What is behind the cursor is not walked again by the next run.
        key = {"PK": {"S": found}, "SK": {"S": "state-wrong"}}
        system.root("dynamodb").delete_item(TableName=system.deployment.output("data", "table_name"), Key=key)
        self.run(system)
        assert not system.items(found)

    def damaged(self, system: System, received_at: datetime) -> str:
        """A payment whose event the relay received at a time, with a state that is wrong."""
        payment = relayed(system, received_at)
        damage(system, payment, "SET event_count = :n", {":n": {"N": "2"}})
        return payment

    def test_its_role_writes_its_own_items_alone(self, system: System) -> None:
        """The grant's condition stands in the policy; the emulator does not know it, AWS does."""
        role = system.deployment.output("security", "role_arns")["validate"]
        policy = system.root("iam").get_role_policy(RoleName=role.rpartition("/")[2], PolicyName="grants")
        statements = {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}
        assert statements["WriteOwnItems"]["Condition"] == {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["VAL#*"]}
        }
        assert "Alert" not in statements


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--since", "May"], "is no day such as"), (["--provider", "nobody"], "there is no provider 'nobody'")],
)
def test_an_error_says_what_happened(system: System, arguments: list[str], message: str) -> None:
    assert message in cli(system, "validate", *arguments, expect=1).stderr


def test_a_clean_day_has_no_finding(system: System) -> None:
    now = datetime.now(UTC)
    for _ in range(3):
        assert send_patiently(system.deployment, "razorpay", sample("razorpay", now), now).status == 200
    assert "all adds up" in cli(system, "validate", "--provider", "razorpay").stdout


class TestManifests:
    """What a relay says that it acknowledged, held against the table."""

    def send(
        self, system: System, relay: str, events: list[str], *, attested: bool = True, ago: int = 30, **more: Any
    ) -> Any:
        now = datetime.now(UTC)
        until = now - timedelta(minutes=ago)
        manifest = {"relay": relay, "from": (until - timedelta(minutes=5)).isoformat(), "until": until.isoformat(),
                    "part": 1, "parts": 1, "events": events, **more}  # fmt: skip
        body = json.dumps(manifest).encode()
        headers = {attestation.RECEIVED_AT: now.isoformat(), attestation.ROUTING: "mode=aws;hundredths=0;salt=s;epoch=1",
                   attestation.TRACE: relay}  # fmt: skip
        key = attestation.AttestationKey("local", system.secret("relay").encode())
        signed_for = "manifests" if attested else "stripe"
        headers[attestation.ATTESTATION] = attestation.attest(headers, body, signed_for, key)
        return system.post("/manifests", body, headers)

    def test_an_acknowledged_event_that_is_not_there_is_named(self, system: System) -> None:
        relay, day = f"host-{secrets.token_hex(4)}", (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%d")
        there = relayed(system, datetime.now(UTC)).replace("PAY#", "EVT#").replace("pi_", "evt_")
        lost = partition_key("EVT", "stripe", "-", f"evt_lost_{relay}")
        assert self.send(system, relay, [there, lost]).status == 200
        assert self.send(system, relay, [there, lost]).status == 200
        ran = cli(system, "validate", "--since", day, "--json", expect=1)
        found = [json.loads(line) for line in ran.stdout.splitlines()]
        mine = [each for each in found if relay in each["says"]]
        assert {each["subject"] for each in mine} == {lost}
        assert {each["check"] for each in mine} == {"acknowledged-and-missing"}

        system.root("lambda").invoke(FunctionName="envmig-validate-e2e", Payload=b"{}")
        kept = system.items(partition_key("VAL", "finding", lost))
        assert relay in kept["acknowledged-and-missing"]["says"]["S"]
        assert not system.items(partition_key("VAL", "finding", there))

    def test_a_window_that_has_just_ended_has_time(self, system: System) -> None:
        relay = f"host-{secrets.token_hex(4)}"
        assert self.send(system, relay, [f"EVT#stripe#-#evt_{relay}"], ago=1).status == 200
        assert relay not in cli(system, "validate", "--json", expect=None).stdout

    def test_one_that_is_not_attested_is_refused(self, system: System) -> None:
        answer = self.send(system, "host", [], attested=False)
        assert answer.status == 401
        assert "attested by the relay" in answer.body

    def test_one_that_is_none_is_refused_with_the_reason(self, system: System) -> None:
        answer = self.send(system, "host", [], part=7)
        assert (answer.status, json.loads(answer.body)["detail"]) == (
            400,
            "'part' is not a whole number from 1 to 'parts'",
        )
