"""Reading the table for validation: by index, in pages, never by a scan."""

from __future__ import annotations

import base64
import hashlib
import heapq
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any

from adapters.items import Item, partition_key, read_event, read_state, shard, text, to_item
from payments.validation import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from adapters.aws_json import Client
    from payments.event import Event
    from payments.state import State

_AT_ONCE = 25
"""Events with their bodies by one BatchGetItem: it answers with 16 MB at most, and an event may hold 350 KB."""


class Reader:
    """The table and its indexes."""

    def __init__(self, client: Client, name: str, shards: int) -> None:
        self._client = client
        self._name = name
        self._shards = shards
        self.read_units = 0.0
        """What was read so far, in DynamoDB's read units."""

    def day(self, provider: str, day: str, after: str, until: str, deadline: float) -> Iterator[Item]:
        """What came in from a provider on a day, by the index's own fields, between two places in the day's order."""
        shards = (self._shard(shard(n, provider, day), after, until, deadline) for n in range(self._shards))
        return heapq.merge(*shards, key=lambda item: item["received_sort"]["S"].encode())

    def _shard(self, key: str, after: str, until: str, deadline: float) -> Iterator[Item]:
        # DynamoDB takes one condition on a sort key: between both, and what is at the first place is left out here.
        values = to_item({":key": key, ":after": after, ":until": until})
        condition = "provider_day = :key AND received_sort BETWEEN :after AND :until"
        pages = self._query({"IndexName": "by-day", "KeyConditionExpression": condition,
                             "ExpressionAttributeValues": values}, deadline)  # fmt: skip
        return (item for item in pages if item["received_sort"]["S"] != after)

    def history(self, key: str, deadline: float) -> list[tuple[Event, datetime]]:
        """All events of a payment, by its state's partition key."""
        request = {"IndexName": "by-payment", "KeyConditionExpression": "payment_key = :key",
                   "ExpressionAttributeValues": to_item({":key": key})}  # fmt: skip
        return [read_event(item) for item in self._query(request, deadline)]

    def states(self, keys: Iterable[str], deadline: float) -> dict[str, State]:
        """The states that are there, by their partition keys, as they are now."""
        found = self._get(((key, "STATE") for key in keys), deadline, ConsistentRead=True)
        return {key: read_state(item) for (key, _), item in found.items()}

    def events(self, keys: Iterable[str], deadline: float) -> dict[str, Recorded]:
        """The events that are there, by their partition keys, with their bodies' real hashes."""
        items = {key: item for (key, _), item in self._get(((key, "EVENT") for key in keys), deadline).items()}
        apart = {text(item, "body_sha256") or "" for item in items.values() if "body" not in item}
        bodies = self._get(((partition_key("BODY", sha256), "BODY") for sha256 in sorted(apart)), deadline)
        of_batch = {key: item for (key, _), item in bodies.items()}
        return {key: self._recorded(key, item, of_batch) for key, item in items.items()}

    @staticmethod
    def _recorded(key: str, item: Item, of_batch: dict[str, Item]) -> Recorded:
        event, received_at = read_event(item)
        sha256 = text(item, "body_sha256") or ""
        kept = item if "body" in item else of_batch.get(partition_key("BODY", sha256), {})
        body = kept.get("body", {}).get("B")
        return Recorded(
            key=key,
            event=event._replace(by_transport=tuple(item.get("by_transport", {}).get("SS", ()))),
            received_at=received_at,
            digest=text(item, "digest") or "",
            body_sha256=sha256,
            actual_sha256=None if body is None or "masked" in kept else _sha256(body),
            has_body=body is not None,
            came_alone="body" in item,
        )

    def manifests(self, day: str, after: str, until: str, deadline: float) -> Iterator[tuple[str, str, list[str]]]:
        """The manifests of a day between two places: each with its place, its relay and the keys of its events."""
        values = to_item({":key": partition_key("VAL", "manifests", day), ":after": after, ":until": until})
        condition = "PK = :key AND SK BETWEEN :after AND :until"
        request = {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}
        for item in self._query(request, deadline):
            if item["SK"]["S"] != after:
                keys = zlib.decompress(base64.b64decode(item["events"]["B"])).decode().split("\n")
                yield item["SK"]["S"], item["relay"]["S"], [key for key in keys if key]

    def missing(self, keys: Iterable[str], deadline: float) -> list[str]:
        """Which of the events the table does not have."""
        wanted = list(dict.fromkeys(keys))
        there = self._get(
            ((key, "EVENT") for key in wanted), deadline, ConsistentRead=True, ProjectionExpression="PK,SK"
        )
        return [key for key in wanted if (key, "EVENT") not in there]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _query(self, request: dict[str, Any], deadline: float) -> Iterator[Item]:
        start: dict[str, Any] = {}
        while True:
            page = {"TableName": self._name, "ReturnConsumedCapacity": "TOTAL", **request, **start}
            answer = self._client.call("Query", page, deadline)
            self._count(answer.get("ConsumedCapacity"))
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _get(self, keys: Iterable[tuple[str, str]], deadline: float, **how: Any) -> dict[tuple[str, str], Item]:
        found: dict[tuple[str, str], Item] = {}
        left = iter(keys)
        while some := list(islice(left, _AT_ONCE)):
            asked: Any = {self._name: {"Keys": [to_item({"PK": key, "SK": sort}) for key, sort in some], **how}}
            while asked:
                request = {"RequestItems": asked, "ReturnConsumedCapacity": "TOTAL"}
                answer = self._client.call("BatchGetItem", request, deadline)
                for each in answer.get("ConsumedCapacity", []):
                    self._count(each)
                for item in answer["Responses"].get(self._name, []):
                    found[item["PK"]["S"], item["SK"]["S"]] = item
                asked = answer.get("UnprocessedKeys")
        return found

    def _count(self, consumed: Any) -> None:
        self.read_units += float((consumed or {}).get("CapacityUnits", 0))


def _sha256(body: str) -> str | None:
    """The SHA-256 of a kept body; nothing that can be recorded for one that cannot be read."""
    try:
        return hashlib.sha256(zlib.decompress(base64.b64decode(body))).hexdigest()
    except (ValueError, zlib.error):
        return "unreadable"
