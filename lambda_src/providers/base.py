"""What a provider is to the rest: it opens a delivery into events that are authentic, each on its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from providers.errors import MalformedDeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from payments.event import Event
    from providers.errors import DeliveryError


class Delivery(NamedTuple):
    """One HTTP request of a provider."""

    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    """As sent, byte for byte."""
    received_at: datetime
    """When the provider's request reached us, in UTC; a signature's age counts up to here."""


class Item(NamedTuple):
    """One event of a delivery: authentic by a key, or refused for a reason."""

    event: Event | None
    key_id: str | None
    refusal: DeliveryError | None = None


class Provider(Protocol):
    """A provider's module."""

    NAME: str
    SCHEME: str
    """The name of the way in which it signs."""

    def open_delivery(self, delivery: Delivery, settings: Mapping[str, Any]) -> Sequence[Item]:
        """Verify on the raw bytes, then read.

        Parameters
        ----------
        settings
            The provider's part of the API keys' secret.

        Raises
        ------
        NotAuthenticError
            No usable key signed the delivery as a whole.
        MalformedDeliveryError
            The delivery is authentic, or its authenticity lies in its items, but it cannot be read.
        """


def read_object(text: bytes | str) -> dict[str, Any]:
    """Read a JSON object, or raise MalformedDeliveryError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise MalformedDeliveryError("the body is nested too deeply") from None
    except ValueError:
        raise MalformedDeliveryError("the body is not JSON in UTF-8") from None
    return as_object(value, "the body")


def as_object(value: Any, what: str) -> dict[str, Any]:
    """The value if it is a JSON object, or MalformedDeliveryError."""
    if not isinstance(value, dict):
        raise MalformedDeliveryError(f"{what} is not a JSON object")
    return value


def as_text(value: Any, what: str) -> str:
    """The value if it is a text that can be part of a key, or MalformedDeliveryError."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > _LONGEST_ID:
        raise MalformedDeliveryError(f"{what} is not a printable text of 1 to {_LONGEST_ID} bytes")
    return value


def text_or_none(value: Any, what: str) -> str | None:
    """None if the value is missing, else as as_text."""
    return None if value is None else as_text(value, what)


def moment_or_none(value: Any) -> datetime | None:
    """A time in UTC, from seconds since 1970 or from ISO 8601 with its zone.

    None for what is no time: an event that is authentic is not lost for its clock.
    """
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


_LONGEST_ID = 255
"""Bytes: two such texts, escaped, fit into a partition key of 2,048."""
