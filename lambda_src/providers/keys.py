"""A provider's keys: several at a time, so that an old and a new one overlap while a change spreads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Key(NamedTuple):
    """One signing key."""

    id: str
    secret: str
    not_after: datetime | None = None

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


class InvalidKeysError(ValueError):
    """The keys' document is not in its form; the message names the place and never a secret."""


def usable_keys(settings: Mapping[str, Any], at: datetime) -> Iterator[Key]:
    """The keys that may have signed something received at that time, in their order."""
    for key in parse_keys(settings):
        if key.not_after is None or at <= key.not_after:
            yield key


def parse_keys(settings: Mapping[str, Any]) -> list[Key]:
    """Read the list `keys`, or raise InvalidKeysError."""
    listed = settings.get("keys") if isinstance(settings, dict) else None
    if not isinstance(listed, list):
        raise InvalidKeysError("there is no list 'keys'")
    return [_parse(entry, place) for place, entry in enumerate(listed)]


def _parse(entry: Any, place: int) -> Key:
    if not isinstance(entry, dict):
        raise InvalidKeysError(f"key {place} is not an object")
    for field in ("id", "secret"):
        if not isinstance(entry.get(field), str) or not entry[field]:
            raise InvalidKeysError(f"key {place} has no text {field!r}")
    until = entry.get("not_after")
    if until is None:
        return Key(entry["id"], entry["secret"])
    try:
        moment = datetime.fromisoformat(until)
    except (TypeError, ValueError):
        raise InvalidKeysError(f"'not_after' of key {place} is not a time such as 2026-12-01T00:00:00Z") from None
    return Key(entry["id"], entry["secret"], moment if moment.tzinfo else moment.replace(tzinfo=UTC))
