"""Walking what came in and checking it: the same way on a schedule and on demand."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from adapters.items import Item, payment_key, text
from payments.validation import Check, Finding, check_alone, check_event, check_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from adapters.reader import Reader

_PAGE = 100
_MOST_REMEMBERED = 50_000
"""Payments whose check is not repeated within a walk; more would take memory without bound."""
_MANIFEST_GRACE = timedelta(minutes=15)
"""How long after its window an event may still be on its way: the relay's retries, the buffer's back-off."""
_SETTLED_AFTER_S = 2.0
"""An index follows its table within a second or so: what is wrong counts when it is still so after this."""


class Step(NamedTuple):
    """What a walk found in one page, and how far it has come."""

    findings: list[Finding]
    events: int
    place: str


def manifest_steps(reader: Reader, day: str, after: str, now: datetime, deadline: float) -> Iterator[Step]:
    """Hold a day's manifests against the table, one by one, when their events have had the time to arrive."""
    until = (now - _MANIFEST_GRACE).isoformat(timespec="milliseconds")
    for place, relay, keys in reader.manifests(day, after, until, deadline):
        says = f"the relay {relay} acknowledged it, and it is not in the table"
        missing = reader.missing(keys, deadline)
        yield Step([Finding(Check.ACKNOWLEDGED_AND_MISSING, key, says) for key in missing], len(keys), place)


class Walk:
    """One provider's day, from a place on."""

    def __init__(self, reader: Reader, provider: str, day: str) -> None:
        self._reader = reader
        self._provider = provider
        self._day = day
        self._remembered: set[str] = set()

    def steps(self, after: str, now: datetime, until: str, deadline: float) -> Iterator[Step]:
        """Check page by page, until everything up to a place is checked or the time is over."""
        came_in = self._reader.day(self._provider, self._day, after, until, deadline)
        while page := list(islice(came_in, _PAGE)):
            yield Step(self._page(page, now, deadline), len(page), page[-1]["received_sort"]["S"])

    def whole(self, now: datetime, until: str, span_s: float) -> Iterator[Step]:
        """Check everything up to a place, however long it takes: each span of time has a deadline of its own.

        A deadline says how long AWS is waited for, not how long a day with many events may take.
        """
        place, done = "0", False
        while not done:
            began, done = time.monotonic(), True
            for step in self.steps(place, now, until, began + span_s):
                place = step.place
                yield step
                if time.monotonic() > began + span_s / 2:
                    done = False
                    break

    def _page(self, page: list[Item], now: datetime, deadline: float) -> list[Finding]:
        keys = [item["PK"]["S"] for item in page]
        recorded = self._reader.events(keys, deadline)
        found = [
            Finding(Check.EVENT_MISSING, key, "an index names it, and it is not in the table")
            for key in keys
            if key not in recorded
        ]
        for each in recorded.values():
            found += check_event(each, now)
        found += check_alone(list(recorded.values()))
        payments = dict.fromkeys(
            payment_key(self._provider, item["account"]["S"], payment)
            for item in page
            if (payment := text(item, "payment"))
        )
        fresh = [key for key in payments if key not in self._remembered]
        if len(self._remembered) + len(fresh) > _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered.update(fresh)
        return found + self._states(fresh, deadline)

    def _states(self, keys: list[str], deadline: float) -> list[Finding]:
        wrong = self._compare(keys, deadline)
        if not wrong or time.monotonic() + _SETTLED_AFTER_S >= deadline:
            return wrong
        # Live traffic goes on, and the index follows the table: once more for those that differed.
        time.sleep(_SETTLED_AFTER_S)
        return self._compare([finding.subject for finding in wrong], deadline)

    def _compare(self, keys: list[str], deadline: float) -> list[Finding]:
        states = self._reader.states(keys, deadline)
        return [
            finding
            for key in keys
            for finding in check_state(key, states.get(key), self._reader.history(key, deadline))
        ]
