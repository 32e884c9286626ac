"""How long a delivery waits for the table: at length at first, and briefly while the table was refusing just now."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from adapters.table import Outcome, StoreUnavailableError
from handlers import storing
from handlers.invocation import Invocation
from handlers.storing import UNAVAILABLE, Storing
from migration.samples import sample
from providers.base import Signature
from providers.verified import VerifiedDelivery
from tests.unit.context import Context

NOW = datetime.now(UTC)


class RecordingTable:
    """Takes events or refuses them, and keeps the deadlines that it was given."""

    def __init__(self) -> None:
        self.refusing = False
        self.deadlines: list[float] = []

    def store(self, _event: Any, _receipt: Any, deadline: float) -> Outcome:
        self.deadlines.append(deadline)
        if self.refusing:
            raise StoreUnavailableError("refused")
        return Outcome.STORED

    def keep_body(self, _receipt: Any, deadline: float) -> None:
        self.store(None, None, deadline)


def delivered(provider: str = "stripe") -> VerifiedDelivery:
    body = sample(provider, NOW).body
    return VerifiedDelivery(provider, {}, body, NOW, None, "", NOW, Signature("s", "k"))


def stored(storing_: Storing, deadline: float, provider: str = "stripe") -> list[str]:
    verified = delivered(provider)
    told = Invocation("test", "delivery", Context)
    return [result["outcome"] for result in storing_.store(verified, verified.items(), deadline, told)]


def test_a_table_that_refused_just_now_is_waited_for_briefly() -> None:
    table = RecordingTable()
    subject = Storing(table)  # type: ignore[arg-type]
    deadline = time.monotonic() + 100
    assert stored(subject, deadline) == [Outcome.STORED]
    table.refusing = True
    assert stored(subject, deadline) == [UNAVAILABLE]
    assert stored(subject, deadline) == [UNAVAILABLE]
    assert table.deadlines[:2] == [deadline, deadline]
    assert table.deadlines[2] <= time.monotonic() + storing._WARY_WAIT_S


def test_a_batch_whose_body_cannot_be_kept_waits_as_a_whole() -> None:
    table = RecordingTable()
    table.refusing = True
    assert stored(Storing(table), time.monotonic() + 100, "gocardless") == [UNAVAILABLE]  # type: ignore[arg-type]
    assert stored(Storing(table), time.monotonic() + 100, "adyen") == [UNAVAILABLE, UNAVAILABLE]  # type: ignore[arg-type]
    assert len(table.deadlines) == 2
