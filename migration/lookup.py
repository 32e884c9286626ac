"""Reading payments from the table, by key and by index, never by a scan."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.items import Item, payment_key, read_event, read_state, shard, text
from migration.opening import SORT_KEY, Effective, Opening, effective, read_opening

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migration.deployment import Deployment
    from payments.state import State

_AT_ONCE = 100
"""The most that one BatchGetItem takes."""


class Payment(NamedTuple):
    """A payment's state, what the old database knew of it, and its events in order."""

    state: State | None
    opening: Opening | None
    events: list[Item]

    @property
    def known(self) -> Effective:
        """Status, and sums in minor units by measure and currency, of all of it together."""
        return effective(self.state, self.opening, map(read_event, self.events))


class Table:
    """The table of a deployment, for reading."""

    def __init__(self, deployment: Deployment, holder: str = "reader") -> None:
        self._client = deployment.client(holder, "dynamodb")
        self._name = deployment.output("data", "table_name")
        self._indexes: dict[str, str] = deployment.output("data", "table_indexes")
        self._shards = int(deployment.output("data", "index_shards"))
        self._deployment = deployment
        self._holder = holder

    def payment(self, provider: str, account: str, payment: str) -> Payment | None:
        """One payment, or None when nothing is known of it."""
        key = payment_key(provider, account, payment)
        state, opening = self.state(key), self._item(key, SORT_KEY)
        if state is None and opening is None:
            return None
        return Payment(
            read_state(state) if state else None, read_opening(opening) if opening else None, self.history(key)
        )

    def state(self, key: str) -> Item | None:
        """The item of a payment's state by its partition key, as it is now."""
        return self._item(key, "STATE")

    def _item(self, key: str, sort: str) -> Item | None:
        answer = self._client.get_item(
            TableName=self._name, Key={"PK": {"S": key}, "SK": {"S": sort}}, ConsistentRead=True
        )
        found: Item | None = answer.get("Item")
        return found

    def history(self, key: str) -> list[Item]:
        """A payment's events by its state's partition key, in order."""
        return list(self._index("by_payment", "payment_key", key, "version", ""))

    def events_of_day(self, provider: str, day: str, after: str = "") -> Iterator[Item]:
        """What came in from a provider on a day (2026-11-23), in order of receipt, from a place on."""
        return self._spread("by_day", "provider_day", (provider, day), "received_sort", after)

    def events_of_month(self, provider: str, account: str, month: str, after: str = "") -> Iterator[Item]:
        """What happened at a merchant account in a month (2026-11), in order, from a place on."""
        return self._spread("by_merchant", "merchant_month", (provider, account, month), "version", after)

    def payments_of_status(self, status: str, after: str = "") -> Iterator[Item]:
        """The payments that have a status now, the longest unchanged first, from a place on."""
        return self._spread("by_status", "status_shard", (status,), "version", after)

    def states(self, keys: Iterable[str]) -> Iterator[Item]:
        """The states of payments by their partition keys, in their order; what is not there is left out."""
        for some, found in self._get(keys, "STATE"):
            yield from (found[key] for key in some if key in found)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Which events, by their partition keys, the table does not have."""
        how = {"ConsistentRead": True, "ProjectionExpression": "PK"}
        return [key for some, found in self._get(keys, "EVENT", **how) for key in some if key not in found]

    def _get(self, keys: Iterable[str], sort: str, **how: Any) -> Iterator[tuple[list[str], dict[str, Item]]]:
        wanted = list(keys)
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found: dict[str, Item] = {}
            left: Any = {self._name: {"Keys": [{"PK": {"S": key}, "SK": {"S": sort}} for key in some], **how}}
            while left:
                answer = self._client.batch_get_item(RequestItems=left)
                found |= {item["PK"]["S"]: item for item in answer["Responses"].get(self._name, [])}
                left = answer.get("UnprocessedKeys")
            yield some, found

    def buffer_emptied(self, within_s: float) -> bool:
        """Wait until nothing waits in the buffer, which relays take for delivered; whether that came about."""
        deadline = time.monotonic() + within_s
        sqs = self._deployment.client(self._holder, "sqs")
        buffer = self._deployment.output("data", "buffer_url")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        while True:
            told = sqs.get_queue_attributes(QueueUrl=buffer, AttributeNames=names)["Attributes"]
            if not any(int(told[name]) for name in names):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)

    def _spread(self, index: str, key: str, parts: tuple[str, ...], sort: str, after: str) -> Iterator[Item]:
        """One question of an index that is spread over shards, merged into one order."""
        shards = (self._index(index, key, shard(number, *parts), sort, after) for number in range(self._shards))
        return heapq.merge(*shards, key=lambda item: item[sort]["S"].encode())

    def _index(self, index: str, key: str, value: str, sort: str, after: str) -> Iterator[Item]:
        condition, values = "#key = :key", {":key": {"S": value}}
        names = {"#key": key}
        if after:
            condition += " AND #sort > :after"
            values[":after"] = {"S": after}
            names["#sort"] = sort
        pages = self._client.get_paginator("query").paginate(
            TableName=self._name,
            IndexName=self._indexes[index],
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
        for page in pages:
            yield from page["Items"]


def place_of(item: Item) -> str:
    """Where an item stands in the listing that gave it, to go on after it."""
    return text(item, "received_sort") or text(item, "version") or ""
