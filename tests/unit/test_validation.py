"""A day is walked to its end, however short the spans are for which AWS is waited."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from handlers.validation import Walk
from payments.validation import Check

NOW = datetime.now(UTC)


class Days:
    """A reader of a day whose index names events that the table does not have."""

    def __init__(self, count: int, page_s: float) -> None:
        self._keys = [f"{place:05d}" for place in range(count)]
        self._page_s = page_s
        self.deadlines: list[float] = []

    def day(self, _provider: str, _day: str, after: str, _until: str, deadline: float) -> Iterator[Any]:
        self.deadlines.append(deadline)
        for key in self._keys:
            if after == "0" or key > after:
                yield {"PK": {"S": f"EVT#{key}"}, "received_sort": {"S": key}, "account": {"S": "-"}}

    def events(self, _keys: Any, _deadline: float) -> dict[str, Any]:
        time.sleep(self._page_s)
        return {}

    def states(self, _keys: Any, _deadline: float) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(("page_s", "spans"), [(0.0, 1), (0.03, 5)])
def test_every_event_is_looked_at_once(page_s: float, spans: int) -> None:
    reader = Days(450, page_s)
    steps = list(Walk(reader, "stripe", "2026-11-23").whole(NOW, "9", span_s=0.05 if page_s else 60))  # type: ignore[arg-type]
    assert [step.events for step in steps] == [100, 100, 100, 100, 50]
    found = [finding for step in steps for finding in step.findings]
    assert {finding.check for finding in found} == {Check.EVENT_MISSING}
    assert [finding.subject for finding in found] == [f"EVT#{place:05d}" for place in range(450)]
    assert len(reader.deadlines) >= spans
    assert reader.deadlines == sorted(reader.deadlines)
