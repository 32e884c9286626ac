"""The validate function: on a schedule it checks what came in since it last looked, and says what does not add up."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adapters.aws_json import DYNAMODB, AwsError, Client
from adapters.items import partition_key, text, to_item
from adapters.metrics import BY_PROVIDER
from adapters.reader import Reader
from handlers.invocation import Invocation
from handlers.validation import Step, Walk, manifest_steps
from providers import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from payments.validation import Finding

_GRACE = timedelta(minutes=2)
"""What came in so lately is left for the next run."""
_TIME_TO_END_S = 15.0
_LOOKS_BACK = timedelta(days=2)
"""How many days are looked at beside today: a relay may deliver late what it received then."""
_KEPT = timedelta(days=90)
_MOST_TOLD = 50


class Validate:
    """What the function needs."""

    def __init__(self, client: Client, table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._reader = Reader(client, table, shards)

    def run(self, now: datetime, told: Invocation) -> bool:
        """Go on from where the last run stopped; whether everything was looked at in the time there was."""
        deadline = told.deadline - _TIME_TO_END_S
        for day in _looked_at(now):
            with told.trace.step("manifests") as step:
                step.annotate(day=day)
                try:
                    self._manifests(day, now, deadline, told)
                except AwsError as error:
                    step.fail(error)
                    told.line["problem"] = str(error)
                    return False
        for provider, day in _days(now):
            with told.trace.step("walk") as step:
                step.annotate(provider=provider, day=day)
                try:
                    self._day(provider, day, now, deadline, told)
                except AwsError as error:
                    step.fail(error)
                    told.line["problem"] = str(error)
                    return False
        return True

    def _day(self, provider: str, day: str, now: datetime, deadline: float, told: Invocation) -> None:
        # A cursor of today's: a day is walked anew on each of the days after it, for what a relay delivered late.
        cursor = partition_key("VAL", "cursor", provider, day, now.strftime("%Y-%m-%d"))
        place = self._cursor(cursor, deadline)
        until = (now - _GRACE).isoformat(timespec="milliseconds")
        for step in Walk(self._reader, provider, day).steps(place, now, until, deadline):
            told.metrics.add("EventsValidated", step.events, BY_PROVIDER, provider)
            told.line["events"] = told.line.get("events", 0) + step.events
            self._settle(step, cursor, now, deadline, told)

    def _manifests(self, day: str, now: datetime, deadline: float, told: Invocation) -> None:
        cursor = partition_key("VAL", "cursor", "manifests", day)
        for step in manifest_steps(self._reader, day, self._cursor(cursor, deadline), now, deadline):
            told.line["acknowledged"] = told.line.get("acknowledged", 0) + step.events
            self._settle(step, cursor, now, deadline, told)

    def _settle(self, step: Step, cursor: str, now: datetime, deadline: float, told: Invocation) -> None:
        """Record what a step found, then that it is done."""
        for finding in step.findings:
            self._record(finding, now, deadline)
            told.metrics.add("Mismatches")
            listed = told.line.setdefault("findings", [])
            if len(listed) < _MOST_TOLD:
                listed.append(finding._asdict())
        self._put({"PK": cursor, "SK": "CURSOR", "entity": "cursor", "place": step.place}, now, deadline)

    def _cursor(self, key: str, deadline: float) -> str:
        request = {"TableName": self._table, "Key": to_item({"PK": key, "SK": "CURSOR"}), "ConsistentRead": True}
        item = self._client.call("GetItem", request, deadline).get("Item", {})
        # Before the first place of a day in the index's order.
        return text(item, "place") or "0"

    def _record(self, finding: Finding, now: datetime, deadline: float) -> None:
        """Keep the finding; found again, it is the same item."""
        values = {
            "PK": partition_key("VAL", "finding", finding.subject),
            "SK": finding.check,
            "entity": "finding",
            "check": finding.check,
            "subject": finding.subject,
            "says": finding.says[:2000],
            "found_at": now.isoformat(timespec="seconds"),
        }
        self._put(values, now, deadline)

    def _put(self, values: dict[str, Any], now: datetime, deadline: float) -> None:
        item = to_item({**values, "expires_at": int((now + _KEPT).timestamp())})
        self._client.call("PutItem", {"TableName": self._table, "Item": item}, deadline)


def _looked_at(now: datetime) -> list[str]:
    """The days that are looked at, the oldest first."""
    return [(now - timedelta(days=ago)).strftime("%Y-%m-%d") for ago in range(_LOOKS_BACK.days, -1, -1)]


def _days(now: datetime) -> Iterator[tuple[str, str]]:
    for day in _looked_at(now):
        yield from ((provider, day) for provider in NAMES)


def _from_environment(environment: Mapping[str, str] = os.environ) -> Validate:
    return Validate(Client(DYNAMODB), environment["TABLE_NAME"], int(environment["INDEX_SHARDS"]))


_validate = _from_environment()


def handler(_event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """AWS Lambda's entry point for the schedule."""
    told = Invocation("validate", "validated", context)
    complete = _validate.run(datetime.now(UTC), told)
    mismatches = len(told.line.get("findings", []))
    told.metrics.add("ValidationRuns", int(complete))
    told.metrics.add("Mismatches", 0)
    told.line |= {"complete": complete, "level": "ERROR" if mismatches else "INFO" if complete else "WARN"}
    told.end()
    return {"complete": complete, "events": told.line.get("events", 0), "mismatches": mismatches}
