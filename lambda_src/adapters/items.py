"""The table's items: their keys, how values are written into them, and how events and states are read back."""

from __future__ import annotations

import base64
import zlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from payments.event import Event, Kind, Measure, Movement
from payments.money import Money
from payments.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

Item = dict[str, Any]
"""Attributes in DynamoDB's form."""

_MOVEMENT = "mov#"


def partition_key(*parts: str) -> str:
    """The partition key of what the parts name, such as PAY, provider, account, payment."""
    return "#".join(map(_escaped, parts))


def _escaped(part: str) -> str:
    """A key's part that cannot be mistaken for two."""
    return part.replace("%", "%25").replace("#", "%23")


def payment_key(provider: str, account: str, payment: str) -> str:
    """The partition key of a payment's state."""
    return partition_key("PAY", provider, account, payment)


def sharded(shards: int, subject: str, *parts: str) -> str:
    """An index's partition key, spread by its subject so that no partition runs hot."""
    return shard(zlib.crc32(subject.encode()) % shards, *parts)


def shard(number: int, *parts: str) -> str:
    """One of the partition keys over which an index is spread."""
    return f"{partition_key(*parts)}#{number}"


def to_item(values: Mapping[str, Any]) -> Item:
    """Attributes in DynamoDB's form; what is None is left out."""
    return {name: _attribute(value) for name, value in values.items() if value is not None}


def _attribute(value: Any) -> Item:
    # Most are text: asked first, for a request writes some thirty attributes.
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, bytes):
        return {"B": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return {"SS": list(value)}
    return {"M": to_item(value)}


def movement_values(movement: Movement | None) -> dict[str, Any] | None:
    """A movement as a map of plain values."""
    if movement is None:
        return None
    return {
        "measure": movement.measure,
        "id": movement.id,
        "minor_units": movement.money.minor_units,
        "currency": movement.money.currency,
    }


def read_event(item: Item) -> tuple[Event, datetime]:
    """An event as the table or one of its event indexes has it, and when it was received."""
    moved = item.get("movement", {}).get("M")
    occurred_at = text(item, "occurred_at")
    event = Event(
        provider=item["provider"]["S"],
        account=item["account"]["S"],
        id=item["event_id"]["S"],
        type=item["type"]["S"],
        kind=Kind(item["kind"]["S"]),
        payment=text(item, "payment"),
        occurred_at=datetime.fromisoformat(occurred_at) if occurred_at else None,
        movement=Movement(Measure(moved["measure"]["S"]), moved["id"]["S"], _money(moved)) if moved else None,
    )
    return event, datetime.fromisoformat(item["received_at"]["S"])


def read_state(item: Item) -> State:
    """A payment's state as the table has it."""
    status = text(item, "status")
    return State(
        status=Kind(status) if status else None,
        version=text(item, "version"),
        movements={name: _money(value["M"]) for name, value in item.items() if name.startswith(_MOVEMENT)},
        event_count=int(item["event_count"]["N"]),
    )


def state_item(provider: str, account: str, payment: str, state: State, shards: int) -> Item:
    """The item of a whole state, as the updates of its events would have left it."""
    movements = {
        name: movement_values(Movement(Measure(measure), movement_id, money))
        for name, money in state.movements.items()
        for _, measure, movement_id in [name.split("#", 2)]
    }
    return to_item(
        {
            "PK": payment_key(provider, account, payment),
            "SK": "STATE",
            "entity": "state",
            "provider": provider,
            "account": account,
            "payment": payment,
            "status": state.status,
            "version": state.version,
            "status_shard": sharded(shards, payment, state.status) if state.status else None,
            "event_count": state.event_count,
            **movements,
        }
    )


def text(item: Item, name: str) -> str | None:
    """A text attribute, or None."""
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)


def _money(values: Item) -> Money:
    return Money(int(values["minor_units"]["N"]), values["currency"]["S"])
