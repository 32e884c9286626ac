"""A table filled with many payments, as the webhook would have left it, without going through it."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.items import partition_key, payment_key, state_item
from adapters.table import Receipt, Verification, event_item
from payments.event import Event, Kind, Measure, Movement
from payments.money import Money
from payments.state import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.aws_json import Client

_AT_ONCE = 25
"""DynamoDB's own limit of a BatchWriteItem."""
_LIFE = [(Kind.AUTHORISED, Measure.AUTHORISED), (Kind.CAPTURED, Measure.CAPTURED), (Kind.REFUNDED, Measure.REFUNDED)]
"""What happens to every payment, a minute apart."""


class Filling(NamedTuple):
    """How a table is filled."""

    table: str
    shards: int
    events: int
    first: datetime
    days: int

    def payment(self, number: int) -> str:
        """A payment's id by its number."""
        return f"pi_{number:09d}"

    def fill(self, client: Client) -> float:
        """Fill the table; the seconds it took."""
        began = time.monotonic()
        items = self._items()
        while batch := list(islice(items, _AT_ONCE)):
            asked: Any = {self.table: [{"PutRequest": {"Item": item}} for item in batch]}
            while asked:
                answer = client.call("BatchWriteItem", {"RequestItems": asked}, time.monotonic() + 60)
                asked = answer.get("UnprocessedItems")
        return time.monotonic() - began

    def _items(self) -> Iterator[dict[str, Any]]:
        payments = self.events // len(_LIFE)
        apart = timedelta(days=self.days) / (payments + 1)
        for number in range(payments):
            history = [self._event(number, place, self.first + number * apart) for place in range(len(_LIFE))]
            for event, received_at in history:
                yield event_item(event, self._receipt(event, received_at), self.shards)
            yield state_item("stripe", "-", self.payment(number), fold(history), self.shards)

    def _event(self, number: int, place: int, began: datetime) -> tuple[Event, datetime]:
        kind, measure = _LIFE[place]
        at = (began + place * timedelta(minutes=1)).replace(microsecond=0)
        movement = Movement(measure, f"mv_{number}_{place}", Money(100 + number % 90_000, "EUR"))
        unique = f"evt_{number:09d}_{place}"
        event = Event("stripe", "-", unique, f"made.{kind}", kind, self.payment(number), at, movement)
        return event, at

    @staticmethod
    def _receipt(event: Event, received_at: datetime) -> Receipt:
        body = json.dumps({"id": event.id, "payment": event.payment}).encode()
        verification = Verification("made", "made", received_at, hashlib.sha256(body).hexdigest())
        return Receipt(received_at, zlib.compress(body), verification, None, None, event.id, 0)

    def state_key(self, number: int) -> str:
        """The partition key of a payment's state."""
        return payment_key("stripe", "-", self.payment(number))

    def event_key(self, number: int, place: int) -> str:
        """The partition key of one of a payment's events."""
        return partition_key("EVT", "stripe", "-", self._event(number, place, self.first)[0].id)
