"""Looking and repairing with the envmig command: listings by index, timelines, card numbers, rebuilt states."""

from __future__ import annotations

import json
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import providers
from adapters.items import partition_key, payment_key
from migration.samples import life
from migration.signing import sign
from tests.conftest import run_script
from tests.e2e.client import System, cli, wait_for
from tests.provider_events import stripe_event

TODAY = datetime.now(UTC).strftime("%Y-%m-%d")


def live(system: System, provider: str) -> dict[str, Any]:
    """Send a whole life, and give its ledger."""
    now = datetime.now(UTC)
    lived = life(provider, now)
    for sent in lived.deliveries:
        signed = sign(provider, sent.body, system.keys[provider], now)
        answer = system.post(f"/webhooks/{provider}", signed.body, {**sent.headers, **signed.headers})
        assert answer.status == 200, answer
    return lived.ledger


def rows(ran: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.stdout.splitlines()]


ACCOUNTS = {
    "adyen": "ExampleMerchant", "adyen-platforms": "YOUR_BALANCE_PLATFORM", "gocardless": "OR1",
    "razorpay": "acc_BFQ7uQEaa7j2z7", "shopify": "example.myshopify.com", "square": "ML8M1AQ1GQG2K",
    "standard": "shop",
}  # fmt: skip


@pytest.mark.parametrize("provider", providers.NAMES)
def test_a_whole_life_through_the_function_url_adds_up_to_its_ledger(system: System, provider: str) -> None:
    for payment, expected in live(system, provider).items():
        (told,) = rows(cli(system, "payment", provider, payment, "--account", ACCOUNTS.get(provider, "-"), "--json"))
        assert told["status"] == expected.status
        sums = {(each["measure"], each["currency"]): each["minor_units"] for each in told["sums"]}
        assert sums == expected.totals


class TestListings:
    def test_events_of_a_day_page_by_page_are_all_in_order_of_receipt(self, system: System) -> None:
        live(system, "checkout")
        whole = rows(cli(system, "events", "--provider", "checkout", "--day", TODAY, "--limit", "1000", "--json"))
        assert [each["received"] for each in whole] == sorted(each["received"] for each in whole)
        paged, after = [], ""
        while True:
            ran = cli(system, "events", "--provider", "checkout", "--limit", "3", "--json", "--after", after)
            paged += rows(ran)
            if "--after" not in ran.stderr:
                break
            after = ran.stderr.split("'")[1]
        assert [each["event"] for each in paged] == [each["event"] for each in whole]
        assert len({each["event"] for each in whole}) == len(whole) >= 8

    def test_payments_by_status_and_by_merchant_and_month(self, system: System) -> None:
        (payment,) = live(system, "square")
        by_status = rows(cli(system, "payments", "--status", "dispute_lost", "--limit", "1000", "--json"))
        month = ("--provider", "square", "--merchant", ACCOUNTS["square"], "--month", TODAY[:7])
        by_month = rows(cli(system, "payments", *month, "--limit", "1000", "--json"))
        for listed in (by_status, by_month):
            (mine,) = [each for each in listed if each["payment"] == payment]
            assert mine["status"] == "dispute_lost"
            assert "captured 5500 USD" in mine["sums"]

    def test_csv_has_a_head_and_a_line_each(self, system: System) -> None:
        live(system, "plaid")
        lines = cli(system, "events", "--provider", "plaid", "--csv").stdout.splitlines()
        assert lines[0].startswith("received,happened,account,type")
        assert len(lines) > 4

    def test_a_table_for_people_is_never_cut_off(self, system: System) -> None:
        live(system, "plaid")
        printed = cli(system, "events", "--provider", "plaid").stdout
        assert "…" not in printed
        assert "PAYMENT_INITIATION.PAYMENT_STATUS_UPDATE" in printed

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["events", "--provider", "nobody"], "there is no provider 'nobody'"),
            (["events", "--provider", "stripe", "--day", "today"], "is no day such as"),
            (["events", "--provider", "stripe", "--day", "1999-01-01"], "nothing came in from stripe on 1999-01-01"),
            (["payments"], "say which payments"),
            (["payments", "--status", "paid"], "is none of authorised"),
            (["payments", "--provider", "stripe", "--month", "May"], "is no month such as"),
            (["payment", "stripe", "pi_none"], "nothing is known of the payment 'pi_none'"),
            (["rebuild", "stripe"], "say which payments"),
            (["rebuild", "stripe", "pi_none"], "nothing is known of the payment 'pi_none'"),
            (["send", "stripe", "/no/such/file"], "No such file"),
            (["send", "stripe", "-", "--header", "x"], "is not of the form name:value"),
        ],
    )
    def test_an_error_says_what_happened(self, system: System, arguments: list[str], message: str) -> None:
        assert message in cli(system, *arguments, expect=1).stderr

    def test_what_is_not_deployed_is_named_with_the_command(self, system: System) -> None:
        import subprocess
        from pathlib import Path

        command = [
            str(Path(sys.executable).parent / "envmig"),
            "events",
            "--provider",
            "stripe",
            "--suffix",
            "nothere",
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 1
        assert "deploy_all.sh local" in ran.stderr

    def test_nothing_is_ever_scanned(self, system: System) -> None:
        """The reader's role could not; the operator's may, for reconciliation alone."""
        client = system.deployment.client("reader", "dynamodb")
        with pytest.raises(Exception, match="AccessDenied"):
            client.scan(TableName=system.deployment.output("data", "table_name"))


class TestCards:
    """A card number that somebody typed into a free field is on the wire, and nowhere at rest or in a log."""

    NUMBER = "4111111111111111"

    def test_it_is_masked_in_every_item_and_absent_from_every_log_line(self, system: System) -> None:
        import hashlib
        import zlib

        unique = secrets.token_hex(8)
        thing = {"object": "charge", "id": f"ch_{unique}", "captured": True, "amount_captured": 1, "currency": "eur",
                 "payment_intent": f"pi_{unique}", "description": f"paid with {self.NUMBER}"}  # fmt: skip
        body = stripe_event("charge.succeeded", thing, event_id=f"evt_{unique}")
        signed = sign("stripe", body, system.keys["stripe"], datetime.now(UTC))
        assert system.post("/webhooks/stripe", signed.body, signed.headers).status == 200
        kept = system.items(partition_key("EVT", "stripe", "-", f"evt_{unique}"))["EVENT"]
        assert kept["masked"] == {"N": "1"}
        assert kept["body_sha256"] == {"S": hashlib.sha256(body).hexdigest()}
        at_rest = zlib.decompress(kept["body"]["B"])
        assert json.loads(at_rest)["data"]["object"]["description"] == "paid with 411111******1111"

        pages = (
            system.root("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=system.deployment.output("data", "table_name"))
        )
        for page in pages:
            for item in page["Items"]:
                text = json.dumps(item, default=lambda raw: zlib.decompress(raw).decode("utf-8", "replace"))
                assert self.NUMBER not in text

        def logged() -> str:
            logs = system.root("logs")
            lines = []
            for function in ("webhook", "drain"):
                found = logs.filter_log_events(logGroupName=f"/aws/lambda/envmig-{function}-e2e")
                lines += [event["message"] for event in found["events"]]
            text = "\n".join(lines)
            return text if f"evt_{unique}" in text else ""

        text = wait_for(logged)
        secret = [key["secret"] for holder in system.keys.values() for key in holder["keys"]]
        for forbidden in (self.NUMBER, "paid with", signed.headers["stripe-signature"], *secret):
            assert forbidden not in text


class TestRebuild:
    def damaged(self, system: System) -> tuple[str, str]:
        """A payment whose state somebody damaged by hand: its status, a movement and the count."""
        (payment,) = live(system, "mollie")
        key = payment_key("mollie", "-", payment)
        system.root("dynamodb").update_item(
            TableName=system.deployment.output("data", "table_name"),
            Key={"PK": {"S": key}, "SK": {"S": "STATE"}},
            UpdateExpression="SET #status = :status, event_count = :count REMOVE #movement",
            ExpressionAttributeNames={
                "#status": "status",
                "#movement": f"mov#refunded#{payment.replace('tr_', 're_')}",
            },
            ExpressionAttributeValues={":status": {"S": "failed"}, ":count": {"N": "99"}},
        )
        return payment, key

    def test_a_right_state_is_left_alone(self, system: System) -> None:
        (payment,) = live(system, "stripe")
        before = system.items(payment_key("stripe", "-", payment))
        assert ": 1 right" in cli(system, "rebuild", "stripe", payment, "--apply").stdout
        assert system.items(payment_key("stripe", "-", payment)) == before

    def test_a_dry_run_says_what_differs_and_changes_nothing(self, system: System) -> None:
        payment, key = self.damaged(system)
        before = system.items(key)
        ran = cli(system, "rebuild", "mollie", payment, expect=1)
        assert "status is failed, its events say dispute_won" in ran.stdout
        assert "event count is 99, its events say 7" in ran.stdout
        assert "mov#refunded#" in ran.stdout
        assert "run it again with --apply" in ran.stdout
        assert system.items(key) == before

    def test_what_is_rebuilt_is_what_the_events_left(self, system: System) -> None:
        (other,) = live(system, "mollie")
        right = system.items(payment_key("mollie", "-", other))["STATE"]
        payment, key = self.damaged(system)
        assert "1 rebuilt" in cli(system, "rebuild", "mollie", payment, "--apply").stdout
        rebuilt = system.items(key)["STATE"]

        def shape(item: dict[str, Any]) -> Any:
            drop = ("PK", "payment", "version", "status_shard")
            return sorted(name[:12] for name in item if name not in drop), item["status"], item["event_count"]

        assert shape(rebuilt) == shape(right)
        assert ": 1 right" in cli(system, "rebuild", "mollie", payment).stdout

    def test_a_state_that_is_missing_is_made(self, system: System) -> None:
        payment, key = self.damaged(system)
        before = system.items(key)["STATE"]
        system.root("dynamodb").delete_item(
            TableName=system.deployment.output("data", "table_name"), Key={"PK": {"S": key}, "SK": {"S": "STATE"}}
        )
        assert "1 rebuilt" in cli(system, "rebuild", "mollie", payment, "--apply").stdout
        assert system.items(key)["STATE"]["version"] == before["version"]

    def test_a_day_is_resumed_where_it_stopped(self, system: System, tmp_path: Any) -> None:
        first, _ = self.damaged(system)
        second, key = self.damaged(system)
        place = tmp_path / "place"
        listed = rows(cli(system, "events", "--provider", "mollie", "--limit", "1000", "--json"))
        mine = next(each for each in listed if each["payment"] == second)
        place.write_text(f"{mine['received'][:-6]}")
        ran = cli(system, "rebuild", "mollie", "--day", TODAY, "--apply", "--resume", str(place))
        assert second in ran.stdout
        assert first not in ran.stdout
        assert system.items(key)["STATE"]["status"] == {"S": "dispute_won"}
        ran = cli(system, "rebuild", "mollie", "--day", TODAY, "--apply")
        assert first in ran.stdout

    def test_live_traffic_in_between_is_not_overwritten(self, system: System) -> None:
        from migration.rebuild import Rebuild, Verdict

        _payment, key = self.damaged(system)
        rebuilding = Rebuild(system.deployment)
        finding = rebuilding.examine(key)
        assert finding
        system.root("dynamodb").update_item(
            TableName=system.deployment.output("data", "table_name"),
            Key={"PK": {"S": key}, "SK": {"S": "STATE"}},
            UpdateExpression="ADD event_count :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
        assert rebuilding.repair(finding).verdict is Verdict.CHANGED
        assert system.items(key)["STATE"]["event_count"] == {"N": "100"}


def test_the_operators_credentials_are_among_the_outputs(system: System) -> None:
    told = json.loads(run_script("outputs.sh", "local", "--suffix", "e2e").stdout)
    assert set(told["local"]["operator"]) == {"access_key_id", "secret_access_key", "session_token"}
