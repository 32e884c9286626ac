"""Reading payments from the table, by key and by index, never by a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.table import partition_key
from payments.money import Money
from payments.state import totals

if TYPE_CHECKING:
    from migration.deployment import Deployment


class Payment(NamedTuple):
    """A payment's state and its events in order."""

    state: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def totals(self) -> dict[tuple[str, str], int]:
        """Sums in minor units by measure and currency."""
        movements = {
            name: Money(int(value["M"]["minor_units"]["N"]), value["M"]["currency"]["S"])
            for name, value in self.state.items()
            if name.startswith("mov#")
        }
        return totals(movements)


def payment(deployment: Deployment, provider: str, account: str, payment_id: str) -> Payment | None:
    """One payment, or None when nothing is known of it."""
    client = deployment.table()
    table = deployment.output("data", "table_name")
    key = partition_key("PAY", provider, account, payment_id)
    state = client.get_item(TableName=table, Key={"PK": {"S": key}, "SK": {"S": "STATE"}}, ConsistentRead=True).get(
        "Item"
    )
    if state is None:
        return None
    pages = client.get_paginator("query").paginate(
        TableName=table,
        IndexName=deployment.output("data", "table_indexes")["by_payment"],
        KeyConditionExpression="payment_key = :payment",
        ExpressionAttributeValues={":payment": {"S": key}},
    )
    return Payment(state, [event for page in pages for event in page["Items"]])
