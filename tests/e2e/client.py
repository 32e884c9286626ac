"""What the end-to-end tests send with and look at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3

from migration.send import Answer, post
from migration.signing import Signed

if TYPE_CHECKING:
    from migration.deployment import Deployment


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

    def count(self) -> int:
        """How many items the table holds."""
        table = self.deployment.output("data", "table_name")
        pages = self.root("dynamodb").get_paginator("scan").paginate(TableName=table, Select="COUNT")
        return sum(page["Count"] for page in pages)


def outcome(answer: Answer) -> str:
    """What an answer says became of the delivery."""
    return str(json.loads(answer.body).get("outcome"))
