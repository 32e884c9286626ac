"""Both sides by key: what each says of a payment or an event now, for the second look and after a repair."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.items import partition_key, payment_key, read_event, read_state
from migration.lookup import Table
from migration.opening import SORT_KEY, effective, read_opening
from migration.reconcile.compare import DIFFERS, MISSING_IN_LEGACY, MISSING_ON_AWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migration.deployment import Deployment
    from migration.legacy.source import Source
    from migration.reconcile.rows import Compared

Key = tuple[str, str, str]
"""Provider, account, and the payment's or the event's id."""
Rows = tuple[tuple[tuple[str, Any], ...], ...]
"""What one side says: its rows, in an order, as what can be compared; none where it says nothing."""

_AT_ONCE = 8

PAYMENT = "payment"
EVENT = "event"


class Subject(NamedTuple):
    """What a difference is about."""

    kind: str
    key: Key


class Difference(NamedTuple):
    """What the two sides say of one payment or event, where that is not the same."""

    subject: Subject
    legacy: Rows
    aws: Rows

    @property
    def what(self) -> str:
        """Missing on one side, or different."""
        return MISSING_ON_AWS if not self.aws else MISSING_IN_LEGACY if not self.legacy else DIFFERS

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": self.subject.kind,
            "key": list(self.subject.key),
            "difference": self.what,
            "legacy": [dict(row) for row in self.legacy],
            "aws": [dict(row) for row in self.aws],
        }


class Lacking(NamedTuple):
    """An event that one side does not have."""

    subject: Subject
    on_aws: bool
    """Whether it is AWS that lacks it."""


class Sides:
    """The two systems."""

    def __init__(self, deployment: Deployment, source: Source, compared: Compared) -> None:
        self._table = Table(deployment, "operator")
        self.buffer_emptied = self._table.buffer_emptied
        self._client = deployment.client("operator", "dynamodb")
        self._name = deployment.output("data", "table_name")
        self._source = source
        self._compared = compared

    def differing(self, subjects: Iterable[Subject]) -> list[Difference]:
        """Those of which the two sides do not say the same now."""
        wanted = list(dict.fromkeys(subjects))
        payments = [each.key for each in wanted if each.kind == PAYMENT]
        events = [each.key for each in wanted if each.kind == EVENT]
        # AWS first: what is delivered in between makes a difference, never an agreement that is none.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            told = [*pool.map(self._payment, payments), *pool.map(self._event, events)]
        aws = dict(
            zip([each for kind in (PAYMENT, EVENT) for each in wanted if each.kind == kind], told, strict=True)
        )
        legacy: dict[Subject, list[dict[str, Any]]] = {}
        for payment in self._source.payments(payments):
            legacy.setdefault(Subject(PAYMENT, payment.key), []).append(self._compared.old(payment))
        for event in self._source.events(events) if events else ():
            legacy.setdefault(Subject(EVENT, event.key), []).append({})
        return [
            difference
            for subject in wanted
            for difference in [Difference(subject, self._rows(legacy.get(subject, [])), aws[subject])]
            if difference.legacy != difference.aws
        ]

    def lacking(self, events: Iterable[Subject]) -> list[Lacking]:
        """Which of some events one side lacks; of the old system, only where it notes its events."""
        found = []
        for subject in events:
            if not self._event(subject.key):
                found.append(Lacking(subject, on_aws=True))
            elif self._source.mapping.events and not list(self._source.events([subject.key])):
                found.append(Lacking(subject, on_aws=False))
        return found

    def _payment(self, key: Key) -> Rows:
        of = payment_key(*key)
        answer = self._client.query(
            TableName=self._name, KeyConditionExpression="PK = :key",
            ExpressionAttributeValues={":key": {"S": of}}, ConsistentRead=True,
        )  # fmt: skip
        items = {item["SK"]["S"]: item for item in answer["Items"]}
        if not items:
            return ()
        state = read_state(items["STATE"]) if "STATE" in items else None
        opening = read_opening(items[SORT_KEY]) if SORT_KEY in items else None
        history = map(read_event, self._table.history(of)) if opening else ()
        known = effective(state, opening, history)
        versions = [each for each in (state and state.version, opening and opening.version) if each]
        return self._rows(self._compared.new(key, known, max((int(each[:15]) for each in versions), default=0)))

    def _event(self, key: Key) -> Rows:
        answer = self._client.get_item(
            TableName=self._name, Key={"PK": {"S": partition_key("EVT", *key)}, "SK": {"S": "EVENT"}},
            ConsistentRead=True, ProjectionExpression="PK",
        )  # fmt: skip
        return ((),) if "Item" in answer else ()

    def _rows(self, rows: list[dict[str, Any]]) -> Rows:
        names = ("currency", *self._compared.fields)
        return tuple(sorted(tuple((name, row[name]) for name in names if name in row) for row in rows))
