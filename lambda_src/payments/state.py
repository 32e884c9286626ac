"""A payment's state: how far it has come, and every movement of its money. Any order of events gives the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from payments.event import Event, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from payments.money import Money

_AHEAD = timedelta(minutes=5)
"""How far a provider's clock may run ahead of ours. A time from far ahead would freeze its payment."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RANKS = {
    Kind.OTHER: 0,
    Kind.PAYOUT: 0,
    Kind.FAILED: 10,
    Kind.AUTHORISED: 20,
    Kind.CANCELLED: 30,
    Kind.CAPTURED: 40,
    Kind.SETTLED: 50,
    Kind.REFUND_PENDING: 60,
    Kind.REFUNDED: 70,
    Kind.REFUND_FAILED: 80,
    Kind.DISPUTE_OPENED: 90,
    Kind.DISPUTE_WON: 95,
    Kind.DISPUTE_LOST: 96,
}
"""Which of two events of the same instant is the later one: providers' clocks tick in whole seconds."""


def effective_time(event: Event, received_at: datetime) -> datetime:
    """When the event counts as having happened: the provider's time, bounded by when we received it."""
    return min(event.occurred_at or received_at, received_at + _AHEAD)


def version(event: Event, received_at: datetime) -> str:
    """The event's place in its payment's life; a greater string is a later event. Milliseconds, rank, id."""
    milliseconds = max(0, (effective_time(event, received_at) - _EPOCH) // timedelta(milliseconds=1))
    return f"{milliseconds:015d}#{RANKS[event.kind]:02d}#{event.id}"


def movement_key(measure: str, movement_id: str) -> str:
    """The name under which a state keeps one movement."""
    return f"mov#{measure}#{movement_id}"


class State(NamedTuple):
    """What is known of one payment."""

    status: Kind | None
    version: str | None
    movements: Mapping[str, Money]
    event_count: int


def fold(events: Iterable[tuple[Event, datetime]]) -> State:
    """The state that events, each with the time of its receipt, add up to, whatever their order."""
    status: Kind | None = None
    latest: str | None = None
    movements: dict[str, Money] = {}
    seen: set[str] = set()
    for event, received_at in events:
        if event.id in seen:
            continue
        seen.add(event.id)
        if event.movement:
            key = movement_key(event.movement.measure, event.movement.id)
            movements.setdefault(key, event.movement.money)
        if event.moves_status:
            place = version(event, received_at)
            if latest is None or place.encode() > latest.encode():
                status, latest = event.kind, place
    return State(status, latest, movements, len(seen))


def totals(movements: Mapping[str, Money]) -> dict[tuple[str, str], int]:
    """The sums of the movements, in minor units by measure and currency."""
    sums: dict[tuple[str, str], int] = {}
    for key, money in movements.items():
        measure = key.split("#", 2)[1]
        sums[measure, money.currency] = sums.get((measure, money.currency), 0) + money.minor_units
    return sums
