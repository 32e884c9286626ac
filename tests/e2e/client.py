"""What the end-to-end tests send with and look at."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import boto3
import tenacity
from typer.testing import CliRunner

from adapters.items import payment_key
from migration.cli import app
from migration.dead_letters import DeadLetter, DeadLetters
from migration.send import Answer, post
from migration.signing import Signed, sign
from payments import attestation
from tests.provider_events import stripe_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from migration.deployment import Deployment

T = TypeVar("T")


class Ran(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


@dataclass
class System:
    """A deployed environment with the keys of its secret, and a root's view of what is in it."""

    deployment: Deployment
    keys: dict[str, Any]
    clients: dict[str, Any] = field(default_factory=dict)

    def secret(self, holder: str) -> str:
        return str(self.keys[holder]["keys"][0]["secret"])

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return post(self.deployment, path, Signed(body, headers))

    def root(self, service: Any) -> Any:
        """A client with all rights, to look at what a test did."""
        if service not in self.clients:
            local = self.deployment.outputs["local"]
            session = boto3.Session("test", "test", region_name=local["region"])
            self.clients[service] = session.client(service, endpoint_url=local["endpoint"])
        return self.clients[service]

    def items(self, partition_key: str) -> dict[str, dict[str, Any]]:
        """All items of one partition, by sort key."""
        found = self.root("dynamodb").query(
            TableName=self.deployment.output("data", "table_name"),
            KeyConditionExpression="PK = :key",
            ExpressionAttributeValues={":key": {"S": partition_key}},
            ConsistentRead=True,
        )
        return {item["SK"]["S"]: item for item in found["Items"]}

    def dead_letter_of(self, body_sha256: str, within_s: float = 30) -> DeadLetter:
        """The dead letter of a body, as soon as it is there; every message stays where it is."""
        letters = DeadLetters(self.deployment)
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda found: found is None),
            stop=tenacity.stop_after_delay(within_s),
            wait=tenacity.wait_fixed(0.3),
        )

        def find() -> DeadLetter | None:
            return next((each for each in letters.peek(1000) if body_sha256 in each.body), None)

        found = waiting(find)
        assert found
        return found

    def count(self) -> int:
        """How many items the table holds."""
        table = self.deployment.output("data", "table_name")
        pages = self.root("dynamodb").get_paginator("scan").paginate(TableName=table, Select="COUNT")
        return sum(page["Count"] for page in pages)


def relayed(system: System, at: datetime) -> str:
    """Send a charge that the relay took in at a time; the partition key of its payment."""
    unique = secrets.token_hex(8)
    thing = {"object": "charge", "id": f"ch_{unique}", "captured": True, "amount_captured": 100, "currency": "eur",
             "payment_intent": f"pi_{unique}"}  # fmt: skip
    body = stripe_event("charge.succeeded", thing, event_id=f"evt_{unique}", created=int(at.timestamp()))
    signed = sign("stripe", body, system.keys["stripe"], at)
    headers = {**signed.headers, attestation.RECEIVED_AT: at.isoformat(timespec="milliseconds"),
               attestation.ROUTING: "mode=aws;hundredths=0;salt=s;epoch=1", attestation.TRACE: unique}  # fmt: skip
    key = attestation.AttestationKey("local", system.secret("relay").encode())
    headers[attestation.ATTESTATION] = attestation.attest(headers, body, "stripe", key)
    answer = system.post("/webhooks/stripe", body, headers)
    assert answer.status == 200, answer
    return payment_key("stripe", "-", f"pi_{unique}")


def damage(
    system: System, key: str, expression: str, values: dict[str, Any], sort: str = "STATE", **names: str
) -> None:
    """Change an item by hand, as nothing in the system does."""
    named = {"ExpressionAttributeNames": {f"#{name}": value for name, value in names.items()}} if names else {}
    valued = {"ExpressionAttributeValues": values} if values else {}
    system.root("dynamodb").update_item(
        TableName=system.deployment.output("data", "table_name"),
        Key={"PK": {"S": key}, "SK": {"S": sort}},
        UpdateExpression=expression,
        **valued,
        **named,
    )


def outcome(answer: Answer) -> str:
    """What an answer says became of the delivery."""
    return str(json.loads(answer.body).get("outcome"))


def wait_for(look: Callable[[], T | None], within_s: float = 30) -> T:
    """What a look finds, as soon as it finds something."""
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: not found),
        stop=tenacity.stop_after_delay(within_s),
        wait=tenacity.wait_fixed(0.2),
    )
    found = waiting(look)
    assert found
    return found


def cli(system: System, *arguments: str, expect: int | None = 0) -> Ran:
    """Run an envmig command, in this process to spare its start, and hold its exit code against what is expected."""
    ran = CliRunner().invoke(app, [*arguments, "--suffix", system.deployment.suffix])
    assert expect in (None, ran.exit_code), ran.stdout + ran.stderr + repr(ran.exception)
    return Ran(ran.stdout, ran.stderr)
