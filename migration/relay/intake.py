"""Taking one webhook: verified by its provider's keys, read for what it is about, kept, only then acknowledged."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import providers
from adapters.items import partition_key, payment_key
from handlers.http import ProblemError, check_size
from migration.relay.clock import REAL, Clock
from migration.relay.errors import SpoolError
from migration.relay.spool import AWS, LEGACY, Received
from payments.routing import Mode
from providers.base import Delivery, Signature, join, refused
from providers.errors import (
    DeliveryError,
    KeysUnavailableError,
    MalformedDeliveryError,
    NotAuthenticError,
    UnknownProviderError,
)
from providers.fetched import Fetched
from providers.keys import InvalidKeysError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence

    from migration.relay.keys import ProviderKeys
    from payments.routing import Routing
    from providers.base import Item, Provider

_RETRY_AFTER = {"retry-after": "5"}
_HOP_BY_HOP = frozenset({"connection", "content-length", "expect", "host", "keep-alive", "te", "transfer-encoding"})
_ANSWERS = {
    # https://docs.adyen.com/development-resources/webhooks/configure-and-manage/#accept-webhooks
    "adyen": b"[accepted]",
}
_ANSWER = b'{"outcome":"accepted"}'
MIXED = "mixed"
"""The owner of a request whose events have several."""

_Verified = Signature | list[Signature | None]


class Keeping(Protocol):
    """What keeps requests."""

    def keep(self, received: Received) -> Awaitable[int]:
        """Keep one; its id when it is on the disk, or a SpoolError."""


class Intake:
    """What is needed to take webhooks."""

    def __init__(
        self,
        turns: Keeping,
        keys: ProviderKeys,
        routing: Callable[[], Routing],
        kept: Callable[[int, Received], Awaitable[None]],
        *,
        mirror: bool,
        clock: Clock = REAL,
    ) -> None:
        self._turns = turns
        self._keys = keys
        self._routing = routing
        self._kept = kept
        """What is waited for beside the disk, before a request is acknowledged."""
        self._mirror = mirror
        self._clock = clock
        self._under_way: dict[object, int] = {}
        """When what is being taken was received, the earliest first."""

    def received_before_ms(self, now_ms: int) -> int:
        """A moment before which nothing was received that may yet come into the spool."""
        return min(next(iter(self._under_way.values()), now_ms), now_ms)

    async def take(self, name: str, headers: dict[str, str], body: bytes) -> bytes:
        """Keep a webhook; the body of its answer.

        Parameters
        ----------
        headers
            By lower-case name.

        Raises
        ------
        ProblemError
            It is not acknowledged, and may be kept all the same: the provider sends it again.
        """
        try:
            provider = providers.load(name)
        except UnknownProviderError as error:
            raise ProblemError(404, "Unknown provider", str(error)) from None
        if not body:
            raise ProblemError(400, "Malformed request", "the body is empty")
        received_ms = self._clock.wall_ms()
        ticket = object()
        self._under_way[ticket] = received_ms
        try:
            return await self._take(provider, headers, body, received_ms)
        finally:
            del self._under_way[ticket]

    async def _take(self, provider: Provider, headers: dict[str, str], body: bytes, received_ms: int) -> bytes:
        # What the Lambda is told is in milliseconds: the two judge by the same time.
        delivery = Delivery(headers, body, datetime.fromtimestamp(received_ms / 1000, UTC))
        signatures, refusal = await self._verify(provider, delivery)
        check_size(body)
        received = self._received(provider, delivery, signatures, received_ms)
        try:
            request = await self._turns.keep(received)
        except SpoolError as error:
            detail = "the event cannot be kept at present; send it again"
            raise ProblemError(503, "Spool unavailable", detail, _RETRY_AFTER) from error
        await self._kept(request, received)
        if refusal:
            # What is authentic in the batch is kept; the rest has the provider send all of it again.
            raise ProblemError(401, "Not authentic", str(refusal))
        return _ANSWERS.get(provider.NAME, _ANSWER)

    async def _verify(self, provider: Provider, delivery: Delivery) -> tuple[_Verified, NotAuthenticError | None]:
        """The signatures, and why one of them is missing; again with newer keys when one does not fit."""
        try:
            signatures = await _verified(provider, delivery, self._keys.current())
            refusals = refused(signatures)
            if refusals and (newer := await self._keys.newer()) is not None:
                signatures = await _verified(provider, delivery, newer)
                refusals = refused(signatures)
        except (KeysUnavailableError, InvalidKeysError) as error:
            detail = "the providers' keys cannot be used at present; send the event again"
            raise ProblemError(503, "Keys unavailable", detail, _RETRY_AFTER) from error
        except DeliveryError as error:
            raise ProblemError(400, "Malformed request", str(error)) from error
        if isinstance(signatures, Signature):
            return signatures, None
        if refusals and len(refusals) == len(signatures):
            raise ProblemError(401, "Not authentic", str(refusals[0]))
        each = [signature if isinstance(signature, Signature) else None for signature in signatures]
        return each, refusals[0] if refusals else None

    def _received(self, provider: Provider, delivery: Delivery, signatures: _Verified, received_ms: int) -> Received:
        routing = self._routing()
        try:
            items: Sequence[Item] = join(signatures, provider.read(delivery))
        except MalformedDeliveryError:
            # It is authentic: it goes the same way, and AWS keeps it for a person to read.
            items = []
        events = [item.event for item in items if item.event]
        owners = {routing.owner(event.payment or event.id) for event in events}
        return Received(
            provider=provider.NAME,
            received_ms=received_ms,
            trace=secrets.token_hex(8),
            routing=routing,
            owner=owners.pop() if len(owners) == 1 else MIXED if owners else routing.owner(""),
            payments=tuple(
                dict.fromkeys(
                    payment_key(each.provider, each.account, each.payment) for each in events if each.payment
                )
            ),
            events=tuple(partition_key("EVT", each.provider, each.account, each.id) for each in events),
            signatures=signatures,
            headers=_passed_on(delivery.headers),
            body=delivery.body,
            targets=targets(routing.mode, mirror=self._mirror),
        )


def targets(mode: Mode, *, mirror: bool) -> tuple[str, ...]:
    """Where a mode delivers to."""
    match mode:
        case Mode.LEGACY:
            return (LEGACY,)
        case Mode.AWS if not mirror:
            return (AWS,)
        case _:
            return (LEGACY, AWS)


async def _verified(provider: Provider, delivery: Delivery, keys: Mapping[str, Any]) -> Any:
    """The provider's signatures; a refusal of the whole as a list of it, so that newer keys are tried for both."""
    settings = keys.get(provider.NAME, {"keys": []})
    try:
        if _fetches(cast("Hashable", provider)):
            return await asyncio.to_thread(provider.verify, delivery, settings)
        return provider.verify(delivery, settings)
    except NotAuthenticError as error:
        return [error]


@cache
def _fetches(provider: Hashable) -> bool:
    """Whether verifying may ask the provider for a key, which must not hold up everyone else."""
    return any(isinstance(value, Fetched) for value in vars(provider).values())


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The provider's headers, without those of the connection and without what only the relay may say."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _HOP_BY_HOP and not name.startswith(("x-envmig-", "x-amz"))
    }
