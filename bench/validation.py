"""Validation of a large table: time, memory and read cost; and with --damaged whether it finds what was damaged.

Usage: scripts/bench.sh validation [--events N] [--damaged] [--json]

The table is the emulator's, filled without going through the webhook. The baseline is a bare walk: the same index,
events and states read by boto3, and nothing checked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from adapters.aws_json import DYNAMODB, Client
from adapters.items import to_item
from adapters.table import Table
from bench.filled import Filling
from bench.system import ROOT, System, system
from payments.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

_FEWEST_DAYS = 10
_EVENTS_A_DAY = 10_000
"""So many that the emulator, which sorts a whole partition for each page, is not what is measured."""


class Damages:
    """Damages done to payments of a filled table by hand, and what has to be found of each."""

    def __init__(self, client: Client, filling: Filling) -> None:
        self._client = client
        self._filling = filling
        self.expected: set[tuple[str, str]] = set()
        """Pairs of check and subject."""

    def do(self) -> None:
        """Damage a few payments in every way, far apart."""
        kinds: list[Callable[[int], None]] = [
            self._status, self._version_ahead, self._movement_changed, self._movement_added, self._state_removed,
            self._event_removed, self._under_two_ids, self._body_flipped, self._acknowledged_and_missing,
        ]  # fmt: skip
        payments = self._filling.events // 3
        # Always the same payments: a run that finds too little can be run again.
        chosen = iter(random.Random(payments).sample(range(payments), 3 * len(kinds)))
        for kind in kinds:
            for _ in range(3):
                kind(next(chosen))

    def _update(self, key: str, sort: str, expression: str, values: dict[str, Any], names: dict[str, str]) -> None:
        request = {"TableName": self._filling.table, "Key": to_item({"PK": key, "SK": sort}),
                   "UpdateExpression": expression, "ExpressionAttributeValues": to_item(values)}  # fmt: skip
        if names:
            request["ExpressionAttributeNames"] = names
        self._client.call("UpdateItem", request, time.monotonic() + 10)

    def _change_state(self, number: int, expression: str, value: Any, names: dict[str, str]) -> None:
        self._update(self._filling.state_key(number), "STATE", expression, {":v": value}, names)
        self.expected.add(("state-wrong", self._filling.state_key(number)))

    def _status(self, number: int) -> None:
        self._change_state(number, "SET #s = :v", "failed", {"#s": "status"})

    def _version_ahead(self, number: int) -> None:
        self._change_state(number, "SET #v = :v", "999999999999999#99#x", {"#v": "version"})

    def _movement_changed(self, number: int) -> None:
        name = f"mov#captured#mv_{number}_1"
        self._change_state(number, "SET #m.minor_units = :v", 1, {"#m": name})

    def _movement_added(self, number: int) -> None:
        money = {"measure": "refunded", "id": "x", "minor_units": 1, "currency": "EUR"}
        self._change_state(number, "SET #m = :v", money, {"#m": "mov#refunded#x"})

    def _delete(self, key: str, sort: str) -> None:
        request = {"TableName": self._filling.table, "Key": to_item({"PK": key, "SK": sort})}
        self._client.call("DeleteItem", request, time.monotonic() + 10)

    def _state_removed(self, number: int) -> None:
        self._delete(self._filling.state_key(number), "STATE")
        self.expected.add(("state-missing", self._filling.state_key(number)))

    def _event_removed(self, number: int) -> None:
        self._delete(self._filling.event_key(number, 1), "EVENT")
        self.expected.add(("state-wrong", self._filling.state_key(number)))

    def _under_two_ids(self, number: int) -> None:
        key = self._filling.event_key(number, 1)
        request = {"TableName": self._filling.table, "Key": to_item({"PK": key, "SK": "EVENT"})}
        item = self._client.call("GetItem", request, time.monotonic() + 10)["Item"]
        again = f"{item['event_id']['S']}-again"
        item |= to_item({"PK": f"{key}-again", "event_id": again, "version": f"{item['version']['S']}-again"})
        put = {"TableName": self._filling.table, "Item": item}
        self._client.call("PutItem", put, time.monotonic() + 10)
        self.expected |= {("event-changed", f"{key}-again"), ("under-two-ids", f"{key}-again"),
                          ("state-wrong", self._filling.state_key(number))}  # fmt: skip

    def _body_flipped(self, number: int) -> None:
        key = self._filling.event_key(number, 2)
        self._update(key, "EVENT", "SET body = :v", {":v": zlib.compress(b"another")}, {})
        self.expected.add(("body-changed", key))

    def _acknowledged_and_missing(self, number: int) -> None:
        lost = f"{self._filling.event_key(number, 0)}-lost"
        until = self._filling.first + timedelta(days=1)
        manifest = Manifest(f"relay-{number}", until - timedelta(minutes=5), until, 1, 1,
                            (self._filling.event_key(number, 0), lost))  # fmt: skip
        table = Table(self._client, self._filling.table, self._filling.shards)
        table.keep_manifest(manifest, until + timedelta(days=90), time.monotonic() + 10)
        self.expected.add(("acknowledged-and-missing", lost))


def validated(first: datetime) -> tuple[set[tuple[str, str]], dict[str, Any]]:
    """What envmig validate finds since a day, as a process of its own: its findings, and what it took."""
    envmig = str(ROOT / ".venv" / "bin" / "envmig")
    command = [envmig, "validate", "--suffix", "bench", "--since", f"{first:%Y-%m-%d}", "--json"]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, stdout=printed, stderr=told)
        # Waited for by hand: the system says what this one process took at most.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        taken = time.monotonic() - began
        printed.seek(0)
        told.seek(0)
        said = told.read().strip()
        if "error:" in said:
            sys.exit(said)
        found = {(finding["check"], finding["subject"]) for finding in map(json.loads, printed)}
    return found, {"s": round(taken, 1), "peak_mb": usage.ru_maxrss // 1024, "says": said.splitlines()[-1]}


def bare_walk(bench: System, filling: Filling) -> float:
    """Read by boto3 what validation reads, in its order, and check nothing; the seconds it took."""
    client = boto3.client("dynamodb", "us-east-1", endpoint_url=bench.environment["AWS_ENDPOINT_URL"],
                          aws_access_key_id="test", aws_secret_access_key="test",  # noqa: S106
                          config=Config(retries={"mode": "standard"}))  # fmt: skip
    began = time.monotonic()
    for day in range(filling.days + 1):
        for shard in range(filling.shards):
            key = f"stripe#{filling.first + timedelta(days=day):%Y-%m-%d}#{shard}"
            pages = client.get_paginator("query").paginate(
                TableName=filling.table, IndexName="by-day", KeyConditionExpression="provider_day = :key",
                ExpressionAttributeValues={":key": {"S": key}},
            )  # fmt: skip
            items = [item for page in pages for item in page["Items"]]
            for start in range(0, len(items), 100):
                part = items[start : start + 100]
                keys = [{"PK": item["PK"], "SK": {"S": "EVENT"}} for item in part]
                client.batch_get_item(RequestItems={filling.table: {"Keys": keys}})
                payments = sorted({f"PAY#stripe#-#{item['payment']['S']}" for item in part})
                states = [{"PK": {"S": payment}, "SK": {"S": "STATE"}} for payment in payments]
                client.batch_get_item(RequestItems={filling.table: {"Keys": states}})
                for payment in payments:
                    client.query(
                        TableName=filling.table, IndexName="by-payment", KeyConditionExpression="payment_key = :key",
                        ExpressionAttributeValues={":key": {"S": payment}},
                    )  # fmt: skip
    client.close()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--damaged", action="store_true", help="also damage some payments, and look for them")
    parser.add_argument("--bare", action="store_true", help="also walk without checking, as the baseline")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    days = max(_FEWEST_DAYS, arguments.events // _EVENTS_A_DAY)
    first = (datetime.now(UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    with system() as bench:
        table, shards = bench.environment["TABLE_NAME"], int(bench.environment["INDEX_SHARDS"])
        filling = Filling(table, shards, arguments.events, first, days)
        client = Client(DYNAMODB, bench.environment)
        told: dict[str, Any] = {"events": arguments.events // 3 * 3, "filling_s": round(filling.fill(client), 1)}
        found, told["clean"] = validated(first)
        if found:
            sys.exit(f"a clean table has findings: {sorted(found)[:20]}")
        if arguments.bare:
            told["bare_walk_s"] = round(bare_walk(bench, filling), 1)
        if arguments.damaged:
            damages = Damages(client, filling)
            damages.do()
            found, told["damaged"] = validated(first)
            if found != damages.expected:
                sys.exit(
                    f"not found: {sorted(damages.expected - found)}; too much: {sorted(found - damages.expected)}"
                )
            told["found"] = len(found)
        client.close()
    if arguments.json:
        print(json.dumps(told))
        return
    print(f"{told['events']} events, filled in {told['filling_s']} s")
    for name in ("clean", "damaged"):
        if name in told:
            print(f"{name}: {told[name]['s']} s, {told[name]['peak_mb']} MB at most: {told[name]['says']}")
    if "bare_walk_s" in told:
        print(f"a bare walk by boto3, nothing checked: {told['bare_walk_s']} s")
    if "found" in told:
        print(f"each of the {told['found']} damages was found and named, and nothing else")


if __name__ == "__main__":
    main()
