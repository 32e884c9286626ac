"""Backfill and reconciliation as commands: an old system on PostgreSQL, a relay before it, AWS, and live traffic."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import sqlalchemy as sa

from adapters.items import partition_key, payment_key
from demo.legacy import TRANSACTIONS, WEBHOOK_LOG
from migration.deployment import Deployment
from migration.opening import effective, read_opening
from tests.conftest import ROOT, run_script
from tests.e2e.client import System, damage, wait_for
from tests.e2e.legacies import NO_POSTGRES, OldSystem, postgres
from tests.e2e.relays import Relay
from tests.e2e.test_relay import charge
from tests.provider_events import stripe_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.postgres import Postgres

__all__ = ["postgres"]
pytestmark = NO_POSTGRES

OLD = 3000


class Migration:
    """All parts, and the commands on them."""

    def __init__(self, system: System, old: OldSystem, relay: Relay, folder: Path) -> None:
        self.system, self.old, self.relay, self.folder = system, old, relay, folder
        self.status = f"http://127.0.0.1:{relay.status_port}"

    def command(self, name: str, *arguments: str) -> list[str]:
        run = "from migration.cli import app; app()"
        common = ["--source", self.old.database, "--mapping", str(self.old.mapping), "--relay", self.status]
        return [sys.executable, "-c", run, name, *common, "--suffix", self.system.deployment.suffix, *arguments]

    def run(self, name: str, *arguments: str, expect: int = 0) -> str:
        ran = subprocess.run(self.command(name, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=200)
        assert ran.returncode == expect, (ran.stdout + ran.stderr)[:9000]
        return ran.stdout + ran.stderr

    def backfill(self, *arguments: str, expect: int = 0) -> str:
        return self.run("backfill", "--checkpoint", str(self.folder / "checkpoint.json"), *arguments, expect=expect)

    def reconcile(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        out = self.folder / f"reconcile-{secrets.token_hex(4)}.json"
        told = self.run("reconcile", "--out", str(out), *arguments, expect=expect)
        found: dict[str, Any] = json.loads(out.read_text())
        return {**found, "printed": told}

    def old_row(self, reference: str) -> Any:
        with self.old.ledger._engine.connect() as connection:
            return connection.execute(sa.select(TRANSACTIONS).where(TRANSACTIONS.c.reference == reference)).one()

    def refundable(self) -> list[str]:
        """Old payments at Stripe in euros."""
        of = sa.and_(TRANSACTIONS.c.psp == "stripe", TRANSACTIONS.c.currency == "EUR", TRANSACTIONS.c.paid_cents > 0)
        query = sa.select(TRANSACTIONS.c.reference).where(of).order_by(TRANSACTIONS.c.id)
        with self.old.ledger._engine.connect() as connection:
            return [row[0] for row in connection.execute(query)]

    def execute(self, statement: Any) -> None:
        with self.old.ledger._engine.begin() as connection:
            connection.execute(statement)


@pytest.fixture(scope="module")
def system(local_home: Path) -> System:
    """A deployment of its own: what other tests send is in no old system's database."""
    # Not at once: a whole deployment sends a webhook past every relay, and it would be missing in the old system.
    for layers in (("data", "security"), ("compute",)):
        ran = run_script("deploy_all.sh", "local", *layers, "--suffix", "migrate")
        assert ran.returncode == 0, ran.stdout + ran.stderr
    deployment = Deployment.find("local", "migrate")
    secret = deployment.output("security", "api_keys_secret_arn")
    value = deployment.client("invoker", "secretsmanager").get_secret_value(SecretId=secret)
    return System(deployment, json.loads(value["SecretString"]))


@pytest.fixture(scope="module")
def migration(system: System, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migration]:
    """A running relay in parallel before an old system with old payments."""
    folder = tmp_path_factory.mktemp("migration")
    with OldSystem(postgres.url, folder) as old:
        old.ledger.fill(OLD, 1, datetime.now(UTC))
        with Relay(system, folder / "relay", old.url) as relay:
            yield Migration(system, old, relay, folder)


class Traffic:
    """Charges and refunds of old payments, and charges of new ones, until it is ended."""

    def __init__(self, migration: Migration) -> None:
        self.sent = 0
        self._migration = migration
        self._old = migration.refundable()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        while not self._ending.is_set():
            self.sent += 1
            old = self._old[self.sent * 37 % len(self._old)]
            reference = old if self.sent % 2 else f"pi_{secrets.token_hex(8)}"
            refund(self._migration, reference, self.sent)
            time.sleep(0.04)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


def refund(migration: Migration, reference: str, amount: int) -> str:
    """A refund of a payment through the relay; the event's id."""
    from migration.signing import sign

    unique = secrets.token_hex(8)
    thing = {"object": "refund", "id": f"re_{unique}", "amount": amount, "currency": "eur", "status": "succeeded",
             "payment_intent": reference}  # fmt: skip
    now = datetime.now(UTC)
    body = stripe_event("refund.created", thing, event_id=f"evt_{unique}", created=int(now.timestamp()))
    made = sign("stripe", body, migration.system.keys["stripe"], now)
    assert migration.relay.post("stripe", made.body, made.headers)[0] == 200
    return f"evt_{unique}"


def test_a_backfill_waits_for_the_relay_to_deliver_to_both(migration: Migration) -> None:
    """What came while only the old system got everything would be on neither side of the as-of point."""
    assert "envmig relay mode parallel" in migration.backfill(expect=1)


def test_what_cannot_be_taken_is_refused_before_anything_is_written(migration: Migration) -> None:
    before = migration.system.count()
    wrong = {"state": "SURPRISE"}
    migration.execute(sa.update(TRANSACTIONS).where(TRANSACTIONS.c.reference == "old_0000001").values(wrong))
    migration.execute(
        sa.update(TRANSACTIONS)
        .where(TRANSACTIONS.c.reference.in_(["old_0000002", "old_0000003"]))
        .values(currency="E1")
    )
    printed = migration.backfill(expect=1)
    assert "1 rows: a status has no word of ours in payments.statuses; such as 'old_0000001'" in printed
    assert "2 rows: the currency is not a code of three letters; such as 'old_0000002'" in printed
    assert "nothing was written" in printed
    assert migration.system.count() == before
    migration.execute(sa.update(TRANSACTIONS).where(TRANSACTIONS.c.state == "SURPRISE").values(state="PAID"))
    migration.execute(sa.update(TRANSACTIONS).where(TRANSACTIONS.c.currency == "E1").values(currency="EUR"))


def test_a_dry_run_tells_what_there_is_and_writes_nothing(migration: Migration) -> None:
    before = migration.system.count()
    printed = migration.backfill("--dry-run")
    assert f"{OLD} payments, from " in printed
    assert "nothing was written: that was a dry run" in printed
    assert migration.system.count() == before


def test_killed_and_run_again_under_live_traffic_nothing_is_counted_twice(migration: Migration) -> None:
    migration.relay.mode("parallel", "--why", "backfill")
    with Traffic(migration) as traffic:
        wait_for(lambda: traffic.sent > 20)
        checkpoint = migration.folder / "checkpoint.json"
        running = subprocess.Popen(
            [*migration.command("backfill", "--checkpoint", str(checkpoint), "--rate", "700")], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_for(lambda: checkpoint.exists() and json.loads(checkpoint.read_text())["done"][0] >= 500)
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(10) == -signal.SIGKILL
        assert running.stdout
        running.stdout.close()
        assert json.loads(checkpoint.read_text())["paged"] is False
        printed = migration.backfill()
        assert "going on after" in printed
        before = traffic.sent
        wait_for(lambda: traffic.sent > before + 20)
        # The two agree while traffic goes on.
        found = migration.reconcile()
    assert traffic.sent > 100
    assert found["confirmed"] == []
    assert found["unsettled"] == []
    assert found["rows"]["aws"] >= OLD


def test_an_opening_and_later_events_add_up(migration: Migration) -> None:
    reference = migration.refundable()[-1]
    was = migration.old_row(reference)
    refund(migration, reference, 77)
    key = payment_key("stripe", "-", reference)
    items = wait_for(lambda: found if "STATE" in (found := migration.system.items(key)) else None)
    opening = read_opening(items["OPENING"])
    assert dict(opening.sums).get(("captured", was.currency), 0) == was.paid_cents
    assert effective(None, opening, []).sums == dict(opening.sums)


def test_a_second_run_replaces_openings_by_newer_ones_only(migration: Migration) -> None:
    key = payment_key(migration.old_row("old_0000100").psp, "-", "old_0000100")
    first = read_opening(migration.system.items(key)["OPENING"])
    printed = migration.backfill()
    assert "openings written" in printed
    second = read_opening(migration.system.items(key)["OPENING"])
    assert second.as_of > first.as_of
    assert second.sums == first.sums
    assert migration.reconcile()["confirmed"] == []


class TestReconcile:
    def test_each_kind_of_difference_is_named_and_nothing_else(self, migration: Migration) -> None:
        changed, gone, extra = "old_0000010", "old_0000011", "old_0000012"
        psp = {name: migration.old_row(name).psp for name in (changed, gone, extra)}
        migration.execute(
            sa.update(TRANSACTIONS).where(TRANSACTIONS.c.reference == changed)
            .values(paid_cents=TRANSACTIONS.c.paid_cents + 1)
        )  # fmt: skip
        table = migration.system.deployment.output("data", "table_name")
        dynamodb = migration.system.root("dynamodb")
        kept = migration.system.items(payment_key(psp[gone], "-", gone))["OPENING"]
        dynamodb.delete_item(TableName=table, Key={"PK": kept["PK"], "SK": kept["SK"]})
        migration.execute(sa.update(TRANSACTIONS).where(TRANSACTIONS.c.reference == extra).values(reference="moved"))
        found = migration.reconcile(expect=1)
        told = {(each["key"][2], each["difference"]) for each in found["confirmed"]}
        assert told == {
            (changed, "differs"), (gone, "missing on AWS"), (extra, "missing in legacy"), ("moved", "missing on AWS"),
        }  # fmt: skip
        assert f"payment {psp[changed]} - {changed}: differs" in found["printed"]
        # Put back what was changed by hand.
        migration.execute(
            sa.update(TRANSACTIONS).where(TRANSACTIONS.c.reference == changed)
            .values(paid_cents=TRANSACTIONS.c.paid_cents - 1)
        )  # fmt: skip
        dynamodb.put_item(TableName=table, Item=kept)
        migration.execute(sa.update(TRANSACTIONS).where(TRANSACTIONS.c.reference == "moved").values(reference=extra))
        assert migration.reconcile()["confirmed"] == []

    def test_repair_brings_both_together_by_the_paths_that_events_take(self, migration: Migration) -> None:
        config, log = str(migration.relay.config), migration.folder / "repairs.jsonl"
        table = migration.system.deployment.output("data", "table_name")
        dynamodb = migration.system.root("dynamodb")
        payments = [f"pi_{secrets.token_hex(8)}" for _ in range(3)]
        keys = []
        for payment in payments:
            (signed, event) = charge(migration.system, payment)
            assert migration.relay.post("stripe", signed.body, signed.headers)[0] == 200
            keys.append(event)
        wait_for(lambda: all("EVENT" in migration.system.items(key) for key in keys))
        wait_for(lambda: migration.old_row(payments[1]).paid_cents == 100)
        # AWS lost an event and its state; the old system lost an event; a state was changed.
        dynamodb.delete_item(TableName=table, Key={"PK": {"S": keys[0]}, "SK": {"S": "EVENT"}})
        dynamodb.delete_item(
            TableName=table, Key={"PK": {"S": payment_key("stripe", "-", payments[0])}, "SK": {"S": "STATE"}}
        )
        lost = keys[1].rpartition("#")[2]
        migration.execute(sa.delete(WEBHOOK_LOG).where(WEBHOOK_LOG.c.event_id == lost))
        damage(
            migration.system, payment_key("stripe", "-", payments[2]), "SET #status = :s", {":s": {"S": "failed"}},
            status="status",
        )  # fmt: skip
        planned = migration.reconcile("--repair", "--spool-of", config, expect=1)["printed"]
        for step in ("replay through the drain", "deliver to legacy again", "fold the state anew"):
            assert step in planned
        assert "EVENT" not in migration.system.items(keys[0])
        done = migration.reconcile("--repair", "--apply", "--spool-of", config, "--log", str(log))["printed"]
        assert "agree now" in done
        noted = [json.loads(line) for line in log.read_text().splitlines()]
        assert all(each["still_differs"] is False for each in noted if "checked" in each)
        again = migration.reconcile("--repair", "--apply", "--spool-of", config)
        assert again["confirmed"] == []
        stored = migration.system.items(keys[0])["EVENT"]
        assert stored["verification"]["M"]["scheme"]["S"] == "stripe-v1"
        assert partition_key("EVT", "stripe", "-", lost) == keys[1]

    def test_an_export_says_the_same_as_the_table(self, migration: Migration) -> None:
        """A point-in-time export, in the form in which DynamoDB writes it."""
        import gzip

        folder = migration.folder / "export" / "AWSDynamoDB" / "01" / "data"
        folder.mkdir(parents=True)
        pages = migration.system.root("dynamodb").get_paginator("scan").paginate(
            TableName=migration.system.deployment.output("data", "table_name")
        )  # fmt: skip
        with gzip.open(folder / "part.json.gz", "wt") as file:
            for page in pages:
                for item in page["Items"]:
                    file.write(json.dumps({"Item": item}, default=lambda raw: bytes(raw).hex()) + "\n")
        scanned = migration.reconcile()
        exported = migration.reconcile("--export", str(migration.folder / "export"))
        assert exported["totals"] == scanned["totals"]
        assert exported["confirmed"] == []
