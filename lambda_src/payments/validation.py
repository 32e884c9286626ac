"""What has to hold of stored events and states, and what is to be said when it does not. Reads nothing by itself."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from payments.state import fold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from payments.event import Event
    from payments.state import State

_AHEAD = timedelta(minutes=1)


class Check(StrEnum):
    """What does not hold."""

    EVENT_MISSING = "event-missing"
    """An index names an event that the table does not have."""
    EVENT_CHANGED = "event-changed"
    """An event's fields are not those of its digest."""
    BODY_CHANGED = "body-changed"
    """A body is not the one whose SHA-256 was recorded."""
    BODY_MISSING = "body-missing"
    ACKNOWLEDGED_AND_MISSING = "acknowledged-and-missing"
    """A relay acknowledged an event that the table does not have: a loss."""
    FROM_THE_FUTURE = "from-the-future"
    """An event was received after now."""
    UNDER_TWO_IDS = "under-two-ids"
    """One body tells of two events of a payment that came alone."""
    STATE_MISSING = "state-missing"
    STATE_WRONG = "state-wrong"
    """A payment's state is not what its events add up to."""


class Finding(NamedTuple):
    """One thing that does not hold."""

    check: Check
    subject: str
    """The partition key of the event or of the payment's state."""
    says: str


class Recorded(NamedTuple):
    """An event as it is stored, with what vouches for it."""

    key: str
    event: Event
    received_at: datetime
    digest: str
    body_sha256: str
    actual_sha256: str | None
    """Of the body that is kept; None where it is masked, and so another on purpose."""
    has_body: bool
    """Whether a body is there, with the event or apart."""
    came_alone: bool


def check_event(recorded: Recorded, now: datetime) -> list[Finding]:
    """What is wrong with an event by itself."""
    found = []
    if recorded.event.digest() != recorded.digest:
        found.append(Finding(Check.EVENT_CHANGED, recorded.key, "its fields are not those that were stored"))
    if not recorded.has_body:
        found.append(Finding(Check.BODY_MISSING, recorded.key, f"there is no body {recorded.body_sha256}"))
    elif recorded.actual_sha256 not in {None, recorded.body_sha256}:
        says = f"its body has the SHA-256 {recorded.actual_sha256}, recorded is {recorded.body_sha256}"
        found.append(Finding(Check.BODY_CHANGED, recorded.key, says))
    if recorded.received_at > now + _AHEAD:
        found.append(Finding(Check.FROM_THE_FUTURE, recorded.key, f"received at {recorded.received_at.isoformat()}"))
    return found


def check_alone(recorded: Sequence[Recorded]) -> list[Finding]:
    """Bodies that came alone and are there under two ids of one payment."""
    first: dict[tuple[str | None, str], Recorded] = {}
    found = []
    for each in recorded:
        if not each.came_alone or each.event.payment is None:
            continue
        earlier = first.setdefault((each.event.payment, each.body_sha256), each)
        if earlier.key != each.key:
            found.append(Finding(Check.UNDER_TWO_IDS, each.key, f"the same body is stored as {earlier.key}"))
    return found


def check_state(key: str, state: State | None, events: Sequence[tuple[Event, datetime]]) -> list[Finding]:
    """What is wrong with a payment's state, by all of its events."""
    folded = fold(events)
    if state is None:
        return [Finding(Check.STATE_MISSING, key, f"{folded.event_count} events have no state")]
    if state == folded:
        return []
    return [Finding(Check.STATE_WRONG, key, "; ".join(differences(state, folded)))]


def differences(state: State, folded: State) -> list[str]:
    """How a state differs from what its events add up to, for people."""
    told = [
        f"{name} is {was}, its events say {is_now}"
        for name, was, is_now in (
            ("status", state.status, folded.status),
            ("version", state.version, folded.version),
            ("event count", state.event_count, folded.event_count),
        )
        if was != is_now
    ]
    for name in sorted(state.movements.keys() | folded.movements.keys()):
        was_money, is_money = state.movements.get(name), folded.movements.get(name)
        if was_money != is_money:
            told.append(f"{name} is {was_money and tuple(was_money)}, its events say {is_money and tuple(is_money)}")
    return told
