"""The transactions table: one transaction an event, conditional, so that nothing is applied twice or out of order.

The table is never read. What a write must know (is the event there already, is the payment further on) is in
its conditions, and a refusal tells which of them did not hold.
"""

from __future__ import annotations

import json
import os
import random
import time
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.aws_json import AwsError
from adapters.items import movement_values, partition_key, payment_key, sharded, to_item
from payments.state import effective_time, movement_key, version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from adapters.aws_json import Client
    from payments.event import Event
    from payments.manifest import Manifest
    from payments.routing import Owner, Routing

_PASSING = frozenset(
    {
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    }
)
"""Reasons for which a transaction was cancelled that another attempt may not meet.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

_REJECTING = frozenset({"ValidationException", "ValidationError", "ItemCollectionSizeLimitExceeded"})
"""Codes by which DynamoDB says that the writes themselves are at fault; the same page."""

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


class Outcome(StrEnum):
    """What became of an event."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """The id is there with other content: kept as evidence, not applied."""


class Verification(NamedTuple):
    """What vouches for a stored event, so that it need never be verified again."""

    scheme: str
    key_id: str
    at: datetime
    body_sha256: str


class Receipt(NamedTuple):
    """How an event reached us."""

    received_at: datetime
    body: bytes | None
    """Compressed by zlib; None when it is kept apart, once for a batch."""
    verification: Verification
    owner: Owner | None
    routing: Routing | None
    trace: str
    masked: int = 0
    """How many card numbers are masked in the body."""


class StoreUnavailableError(Exception):
    """The table did not take an event in the time there was; it may be tried again as it is."""


class RejectedError(Exception):
    """The table will never take this event as it is."""


class Table:
    """The table of one environment."""

    def __init__(self, client: Client, name: str, shards: int) -> None:
        self._client = client
        self._name = name
        self._shards = shards

    def store(self, event: Event, receipt: Receipt, deadline: float) -> Outcome:
        """Store the event with its payment's state.

        Raises
        ------
        StoreUnavailableError
            The table refused or was out of reach until the deadline (on the monotonic clock, in seconds).
        RejectedError
            The table will never take it.
        """
        item = event_item(event, receipt, self._shards)
        put = {
            "Put": {
                "TableName": self._name,
                "Item": item,
                "ConditionExpression": "attribute_not_exists(PK)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }
        claim = [] if event.transmission is None else [self._claim(event)]
        # An event that moves the status leads, until the state's condition says that it is late.
        for leading in (True, False) if event.moves_status else (False,):
            state = [] if event.payment is None else [self._state_update(event, receipt, leading=leading)]
            reasons = self._transact([put, *claim, *state], deadline)
            if not reasons:
                return Outcome.STORED
            if _failed(reasons[0]):
                return self._already_there(item, reasons[0], deadline)
            if claim and _failed(reasons[1]):
                return self._keep_evidence(item, deadline)
        raise StoreUnavailableError(f"the table refused without a reason: {reasons}")

    def keep_body(self, receipt: Receipt, deadline: float) -> None:
        """Keep the body of a batch once, under the SHA-256 of the original that its events name.

        Raises
        ------
        StoreUnavailableError
            As of an event.
        """
        key = partition_key("BODY", receipt.verification.body_sha256)
        item = to_item(
            {"PK": key, "SK": "BODY", "entity": "body", "body": receipt.body, "masked": receipt.masked or None}
        )
        put = {"TableName": self._name, "Item": item, "ConditionExpression": "attribute_not_exists(PK)"}
        self._transact([{"Put": put}], deadline)

    def keep_manifest(self, manifest: Manifest, expires_at: datetime, deadline: float) -> None:
        """Keep one part of what a relay says that it acknowledged; the same part again changes nothing.

        Raises
        ------
        StoreUnavailableError, RejectedError
            As of an event.
        """
        item = to_item(
            {
                "PK": partition_key("VAL", "manifests", manifest.until.strftime("%Y-%m-%d")),
                "SK": manifest.place,
                "entity": "manifest",
                "relay": manifest.relay,
                "parts": manifest.parts,
                "events": zlib.compress("\n".join(manifest.events).encode()),
                "expires_at": int(expires_at.timestamp()),
            }
        )
        put = {"TableName": self._name, "Item": item, "ConditionExpression": "attribute_not_exists(PK)"}
        self._transact([{"Put": put}], deadline)

    def _already_there(self, item: Mapping[str, Any], reason: Mapping[str, Any], deadline: float) -> Outcome:
        """The event's id is taken: by the same event, or by one that says something else."""
        if reason.get("Item", {}).get("digest", {}).get("S") == item["digest"]["S"]:
            return Outcome.DUPLICATE
        return self._keep_evidence(item, deadline)

    def _keep_evidence(self, item: Mapping[str, Any], deadline: float) -> Outcome:
        """Keep an event that is not applied beside the place where it would be."""
        evidence = {
            name: value
            for name, value in item.items()
            if name not in ("payment_key", "merchant_month", "provider_day", "received_sort", "version")
        }
        evidence |= to_item({"SK": f"CONFLICT#{item['digest']['S']}", "entity": "conflict"})
        put = {
            "TableName": self._name,
            "Item": evidence,
            "ConditionExpression": "attribute_not_exists(PK)",
        }
        self._transact([{"Put": put}], deadline)
        return Outcome.CONFLICT

    def _transact(self, writes: list[dict[str, Any]], deadline: float) -> list[dict[str, Any]]:
        """Write all or nothing; give nothing, or the reasons for which conditions cancelled it."""
        # One token for every attempt at the same writes: an attempt whose answer was lost is not applied twice.
        request = {"TransactItems": writes, "ClientRequestToken": os.urandom(16).hex()}
        pause = _FIRST_PAUSE_S
        while True:
            try:
                self._client.call("TransactWriteItems", request, deadline)
            except AwsError as error:
                reasons = error.details.get("CancellationReasons")
                if error.code in _REJECTING:
                    raise RejectedError(str(error)) from error
                if error.code != "TransactionCanceledException" or not reasons:
                    raise StoreUnavailableError(str(error)) from error
            else:
                return []
            if any(_failed(reason) for reason in reasons):
                return list(reasons)
            wait = random.uniform(0, pause)  # noqa: S311
            if any(reason.get("Code") in _REJECTING for reason in reasons):
                raise RejectedError(f"the table refused: {_codes(reasons)}")
            if not any(reason.get("Code") in _PASSING for reason in reasons):
                raise StoreUnavailableError(f"the table refused: {_codes(reasons)}")
            if time.monotonic() + wait >= deadline:
                raise StoreUnavailableError(f"the table was still busy at the deadline: {_codes(reasons)}")
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _state_update(self, event: Event, receipt: Receipt, *, leading: bool) -> dict[str, Any]:
        """The update of the payment's state: all of it by a leading event, all but its status by a late one."""
        names = {"#entity": "entity", "#count": "event_count"}
        values: dict[str, Any] = {
            ":entity": "state",
            ":one": 1,
            ":provider": event.provider,
            ":account": event.account,
            ":payment": event.payment,
        }
        sets = ["#entity = :entity", "provider = :provider", "account = :account", "payment = :payment"]
        update: dict[str, Any] = {
            "TableName": self._name,
            "Key": to_item({"PK": _payment_key(event), "SK": "STATE"}),
        }
        if event.movement:
            names["#movement"] = movement_key(event.movement.measure, event.movement.id)
            values[":movement"] = movement_values(event.movement)
            sets.append("#movement = if_not_exists(#movement, :movement)")
        if leading:
            names |= {"#status": "status", "#version": "version"}
            values |= {
                ":status": event.kind,
                ":version": version(event, receipt.received_at),
                ":shard": self._sharded(str(event.payment), event.kind),
            }
            sets += ["#status = :status", "#version = :version", "status_shard = :shard"]
            # Strings compare by their UTF-8 bytes, and a version begins with its zero-padded time.
            update["ConditionExpression"] = "attribute_not_exists(#version) OR #version < :version"
        update["UpdateExpression"] = f"SET {', '.join(sets)} ADD #count :one"
        update["ExpressionAttributeNames"] = names
        update["ExpressionAttributeValues"] = to_item(values)
        return {"Update": update}

    def _claim(self, event: Event) -> dict[str, Any]:
        """The put by which one signed transmission stands for one event, however often it is sent."""
        key = partition_key("TRANSMISSION", event.provider, event.account, str(event.transmission))
        return {
            "Put": {
                "TableName": self._name,
                "Item": to_item({"PK": key, "SK": "TRANSMISSION", "entity": "transmission", "event_id": event.id}),
                "ConditionExpression": "attribute_not_exists(PK) OR event_id = :event",
                "ExpressionAttributeValues": to_item({":event": event.id}),
            }
        }

    def _sharded(self, subject: str, *parts: str) -> str:
        return sharded(self._shards, subject, *parts)


def event_item(event: Event, receipt: Receipt, shards: int) -> dict[str, Any]:
    """The item of an event, as it is put."""
    received = receipt.received_at.isoformat(timespec="milliseconds")
    happened = effective_time(event, receipt.received_at)
    subject = event.payment or event.id
    return to_item(
        {
            "PK": partition_key("EVT", event.provider, event.account, event.id),
            "SK": "EVENT",
            "entity": "event",
            "provider": event.provider,
            "account": event.account,
            "event_id": event.id,
            "type": event.type,
            "kind": event.kind,
            "payment": event.payment,
            "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
            "received_at": received,
            "problem": event.problem,
            "by_transport": event.by_transport or None,
            "transmission": event.transmission,
            "digest": event.digest(),
            "movement": movement_values(event.movement),
            "owner": receipt.owner,
            "routing": str(receipt.routing) if receipt.routing else None,
            "trace": receipt.trace,
            "body": receipt.body,
            "body_sha256": receipt.verification.body_sha256,
            "masked": receipt.masked or None,
            "verification": {
                "scheme": receipt.verification.scheme,
                "key_id": receipt.verification.key_id,
                "at": receipt.verification.at.isoformat(timespec="milliseconds"),
            },
            "version": version(event, receipt.received_at),
            "payment_key": _payment_key(event) if event.payment else None,
            "merchant_month": sharded(shards, subject, event.provider, event.account, happened.strftime("%Y-%m")),
            "provider_day": sharded(shards, subject, event.provider, receipt.received_at.strftime("%Y-%m-%d")),
            "received_sort": f"{received}#{event.account}#{event.id}",
        }
    )


def _payment_key(event: Event) -> str:
    return payment_key(event.provider, event.account, str(event.payment))


def _failed(reason: Mapping[str, Any]) -> bool:
    return reason.get("Code") == "ConditionalCheckFailed"


def _codes(reasons: list[dict[str, Any]]) -> str:
    return json.dumps([reason.get("Code") for reason in reasons])
