"""What the old database knew of a payment when it was read, and what that and the events since add up to.

An opening holds sums, for old databases keep sums. Whatever the old system took in before the opening's as-of point
is in these sums; an event counts beside them only when it was received at that point or later, and a movement only
when it was told first by such an event. So nothing is counted twice, whenever an opening is read and however often.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from adapters.items import payment_key, text, to_item
from payments.event import Kind
from payments.state import RANKS, movement_key, totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.items import Item
    from payments.event import Event
    from payments.money import Money
    from payments.state import State

SORT_KEY = "OPENING"


class Opening(NamedTuple):
    """A payment as the old database had it at a point in time."""

    provider: str
    account: str
    payment: str
    status: Kind
    changed_at: datetime
    """When it came to be so, by the provider's time; an event from later moves the status on."""
    as_of: datetime
    """Everything that was received before this is in the sums."""
    sums: Mapping[tuple[str, str], int]
    """Minor units by measure and currency."""

    @property
    def key(self) -> str:
        """The partition key, which is that of the payment's state."""
        return payment_key(self.provider, self.account, self.payment)

    @property
    def version(self) -> str:
        """The place in the payment's life, in the form of an event's."""
        return f"{milliseconds(self.changed_at):015d}#{RANKS[self.status]:02d}#"

    def item(self) -> Item:
        """As the table has it."""
        sums = {f"{measure} {currency}": amount for (measure, currency), amount in sorted(self.sums.items())}
        return to_item(
            {
                "PK": self.key,
                "SK": SORT_KEY,
                "entity": "opening",
                "provider": self.provider,
                "account": self.account,
                "payment": self.payment,
                "status": self.status,
                "changed_at": self.changed_at.isoformat(timespec="milliseconds"),
                "as_of": self.as_of.isoformat(timespec="milliseconds"),
                "as_of_ms": milliseconds(self.as_of),
                "sums": sums,
            }
        )


def read_opening(item: Item) -> Opening:
    """An opening as the table has it."""
    return Opening(
        provider=item["provider"]["S"],
        account=item["account"]["S"],
        payment=item["payment"]["S"],
        status=Kind(item["status"]["S"]),
        changed_at=datetime.fromisoformat(text(item, "changed_at") or ""),
        as_of=datetime.fromisoformat(text(item, "as_of") or ""),
        sums={
            (measure, currency): int(amount["N"])
            for name, amount in item["sums"]["M"].items()
            for measure, currency in [name.split(" ")]
        },
    )


class Effective(NamedTuple):
    """What is known of a payment from its opening and its events together."""

    status: Kind | None
    sums: dict[tuple[str, str], int]
    """Minor units by measure and currency."""


def effective(state: State | None, opening: Opening | None, history: Iterable[tuple[Event, datetime]]) -> Effective:
    """Add up a payment's opening and its state.

    Parameters
    ----------
    history
        The payment's events, each with the time of its receipt: they tell which of the state's movements are in the
        opening's sums. Read only when there is an opening.
    """
    if opening is None:
        return Effective(state.status if state else None, totals(state.movements) if state else {})
    first: dict[str, datetime] = {}
    for event, received_at in history:
        if event.movement:
            key = movement_key(event.movement.measure, event.movement.id)
            first[key] = min(received_at, first.get(key, received_at))
    since: dict[str, Money] = {
        key: money
        for key, money in (state.movements if state else {}).items()
        if key not in first or first[key] >= opening.as_of
    }
    sums = dict(opening.sums)
    for of, amount in totals(since).items():
        sums[of] = sums.get(of, 0) + amount
    if state and state.version and state.version.encode() > opening.version.encode():
        return Effective(state.status, sums)
    return Effective(opening.status, sums)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, as the table's versions and texts have them: what is finer is cut off."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
