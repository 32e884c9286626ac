"""Storing a verified delivery item by item: the same way for the webhook and for the drain."""

from __future__ import annotations

import hashlib
import time
import zlib
from typing import TYPE_CHECKING, Any

from adapters.table import Receipt, RejectedError, StoreUnavailableError, Verification
from payments.cards import mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from adapters.table import Table
    from handlers.invocation import Invocation
    from payments.manifest import Manifest
    from providers.base import Item
    from providers.verified import VerifiedDelivery

Result = dict[str, Any]
"""What became of one item: `outcome` is one of the table's, or one of those below, with its `reason`."""

REFUSED = "refused"
"""No signature vouches for the item."""
UNREADABLE = "unreadable"
"""The item is authentic, and not what its provider sends."""
REJECTED = "rejected"
"""The table will never take the item as it is."""
UNAVAILABLE = "unavailable"
"""The table did not take the item in time; it may be tried again."""
BUFFERED = "buffered"
"""The item waits in the buffer until the drain stores it."""

_WARY_FOR_S = 10.0
_WARY_WAIT_S = 1.0


class Storing:
    """The table, and how long one waits for it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._refused_at = float("-inf")

    def store(
        self, verified: VerifiedDelivery, items: Sequence[Item], deadline: float, told: Invocation
    ) -> list[Result]:
        """Store every item that is authentic and read; say of each what became of it."""
        deadline = self._bounded(deadline)
        kept, masked = mask(verified.body)
        if masked:
            told.metrics.add("MaskedCards", masked)
        receipt = Receipt(
            received_at=verified.received_at,
            body=zlib.compress(kept),
            verification=Verification("", "", verified.verified_at, verified.body_sha256),
            owner=None,
            routing=verified.routing,
            trace=verified.trace,
            masked=masked,
        )
        if len(items) > 1:
            try:
                self._table.keep_body(receipt, deadline)
            except StoreUnavailableError as error:
                self._refused_at = time.monotonic()
                return untried(items, str(error))
            receipt = receipt._replace(body=None)
        return [self._one(item, receipt, deadline, told) for item in items]

    def keep_manifest(self, manifest: Manifest, expires_at: datetime, deadline: float) -> None:
        """Keep one part of a relay's manifest; raises what the table raises."""
        self._table.keep_manifest(manifest, expires_at, deadline)

    def _bounded(self, deadline: float) -> float:
        """Wait less for a table that was refusing a moment ago: in an outage every waiting call costs a function."""
        now = time.monotonic()
        return min(deadline, now + _WARY_WAIT_S) if now - self._refused_at < _WARY_FOR_S else deadline

    def _one(self, item: Item, receipt: Receipt, deadline: float, told: Invocation) -> Result:
        event, signature = item.event, item.signature
        if event is None or signature is None:
            return _refusal(item)
        receipt = receipt._replace(
            verification=receipt.verification._replace(scheme=signature.scheme, key_id=signature.key_id),
            owner=receipt.routing.owner(event.payment or event.id) if receipt.routing else None,
        )
        with told.trace.step("store") as step:
            try:
                result = _told(item, self._table.store(event, receipt, deadline))
            except StoreUnavailableError as error:
                self._refused_at = time.monotonic()
                step.fail(error)
                result = _told(item, UNAVAILABLE, str(error))
            except RejectedError as error:
                step.fail(error)
                result = _told(item, REJECTED, str(error))
            step.annotate(
                correlation=receipt.trace,
                provider=event.provider,
                account=event.account,
                kind=event.kind,
                outcome=result["outcome"],
                payment=hashed(event.payment),
            )
        return {**result, "owner": receipt.owner} if receipt.owner else result


def hashed(payment: str | None) -> str | None:
    """A payment's id as traces have it: some providers let merchants choose it, and a person may be in it."""
    return None if payment is None else hashlib.sha256(payment.encode()).hexdigest()[:16]


def untried(items: Sequence[Item], reason: str | None = None) -> list[Result]:
    """Every item as one that the table was not asked to take; what nobody may store stays refused."""
    return [_told(item, UNAVAILABLE, reason) if item.event else _refusal(item) for item in items]


def _refusal(item: Item) -> Result:
    return {"outcome": UNREADABLE if item.signature else REFUSED, "reason": str(item.refusal)}


def _told(item: Item, outcome: str, reason: str | None = None) -> Result:
    event = item.event
    assert event is not None  # noqa: S101 (who calls has looked)
    told = {"event_id": event.id, "type": event.type, "kind": event.kind, "payment": event.payment}
    problem = {"problem": event.problem} if event.problem else {}
    return {**told, "outcome": outcome, **({"reason": reason} if reason else {}), **problem}
