"""What a provider is to the rest: it verifies a delivery, and reads it into events, each on its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from payments.money import UnreadableAmountError
from providers.errors import DeliveryError, MalformedDeliveryError, NotAuthenticError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from payments.event import Event, Movement

NO_ACCOUNT = "-"
"""The account of events whose provider names none."""


class Delivery:
    """One HTTP request of a provider."""

    __slots__ = ("_document", "body", "headers", "received_at")

    def __init__(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        self.headers = headers
        """By lower-case name."""
        self.body = body
        """As sent, byte for byte."""
        self.received_at = received_at
        """When the provider's request reached us, in UTC; a signature's age counts up to here."""
        self._document: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """The body as a JSON object, read once, or MalformedDeliveryError."""
        if self._document is None:
            self._document = read_object(self.body)
        return self._document


class Signature(NamedTuple):
    """What vouches for a delivery or for one item of it."""

    scheme: str
    """The way in which it was signed."""
    key_id: str


class Item(NamedTuple):
    """One event of a delivery: authentic and read, or refused for a reason."""

    event: Event | None
    signature: Signature | None
    refusal: DeliveryError | None = None


class Provider(Protocol):
    """A provider's module."""

    NAME: str

    def verify(
        self, delivery: Delivery, settings: Mapping[str, Any]
    ) -> Signature | Sequence[Signature | NotAuthenticError]:
        """Verify on the raw bytes: one signature for the whole delivery, or one for each item that `read` gives.

        Parameters
        ----------
        settings
            The provider's part of the API keys' secret.

        Raises
        ------
        NotAuthenticError
            No usable key signed the delivery as a whole.
        MalformedDeliveryError
            The signatures are in the body, and it cannot be read.
        KeysUnavailableError
            The key that it names cannot be had at present.
        """

    def read(self, delivery: Delivery) -> Sequence[Event | MalformedDeliveryError]:
        """Read the events, without a question who signed them.

        Raises
        ------
        MalformedDeliveryError
            The delivery as a whole cannot be read.
        """


def open_delivery(provider: Provider, delivery: Delivery, settings: Mapping[str, Any]) -> list[Item]:
    """Verify a delivery, then read it; raises what the provider's `verify` and `read` raise."""
    return join(provider.verify(delivery, settings), provider.read(delivery))


def join(
    signatures: Signature | Sequence[Signature | NotAuthenticError | None],
    events: Sequence[Event | MalformedDeliveryError],
) -> list[Item]:
    """Each event with the signature that vouches for it; what lacks either is refused with the reason."""
    each = [signatures] * len(events) if isinstance(signatures, Signature) else signatures
    items = []
    for signature, event in zip(each, events, strict=True):
        if not isinstance(signature, Signature):
            items.append(Item(None, None, signature or NotAuthenticError("the item was not verified")))
        elif isinstance(event, MalformedDeliveryError):
            items.append(Item(None, signature, event))
        else:
            items.append(Item(event, signature))
    return items


def refused(signatures: Signature | Sequence[Signature | NotAuthenticError]) -> list[NotAuthenticError]:
    """Why items of a delivery are not authentic; empty when one signature is the whole delivery's."""
    if isinstance(signatures, Signature):
        return []
    return [each for each in signatures if isinstance(each, NotAuthenticError)]


def each_on_its_own(read: Callable[[Any], Event], entries: Sequence[Any]) -> list[Event | MalformedDeliveryError]:
    """Read every entry of a batch; one that cannot be read does not cost the others."""

    def one(entry: Any) -> Event | MalformedDeliveryError:
        try:
            return read(entry)
        except MalformedDeliveryError as error:
            return error

    return [one(entry) for entry in entries]


def movement_or_problem(read: Callable[[], Movement | None]) -> tuple[Movement | None, str | None]:
    """The money that an event moves, or what is wrong with it: an authentic event is not lost for its amount."""
    try:
        return read(), None
    except (UnreadableAmountError, MalformedDeliveryError) as error:
        return None, str(error)


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


def part(value: Any, *path: str) -> dict[str, Any]:
    """The JSON object at a path, empty when there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def as_text(value: Any, what: str) -> str:
    """The value if it is a text that can be part of a key, or MalformedDeliveryError."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > _LONGEST_ID:
        raise MalformedDeliveryError(f"{what} is not a printable text of 1 to {_LONGEST_ID} bytes")
    return value


def as_id(value: Any, what: str) -> str:
    """An id as text, of providers that write some of theirs as numbers, or MalformedDeliveryError."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _NUMBERS_END
    return as_text(str(value) if whole else value, what)


def text_or_none(value: Any, what: str) -> str | None:
    """None if the value is missing, else as as_text."""
    return None if value is None else as_text(value, what)


def id_or_none(value: Any, what: str) -> str | None:
    """None if the value is missing, else as as_id."""
    return None if value is None else as_id(value, what)


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

_NUMBERS_END = 10**40
"""Longer numbers are no ids, and Python takes its time to write them out."""
