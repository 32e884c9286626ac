"""The webhook function: verifies a provider's delivery, stores its events, and only then says so."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import providers
from adapters.aws_json import DYNAMODB, SECRETS_MANAGER, Client
from adapters.secrets import ApiKeys, KeysUnavailableError
from adapters.table import Receipt, StoreUnavailableError, Table, Verification
from handlers.http import ProblemError, Request, answer, problem, read_request
from payments import attestation
from payments.routing import MalformedRoutingError, Routing, parse_routing
from providers.base import Delivery
from providers.errors import DeliveryError, MalformedDeliveryError, NotAuthenticError, UnknownProviderError
from providers.keys import InvalidKeysError, usable_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from providers.base import Item, Provider

T = TypeVar("T")

_LARGEST_BODY = 350 * 1024
"""Bytes, compressed: with its other attributes an item stays under DynamoDB's 400 KB."""

_PATH = "/webhooks/"
_AHEAD = timedelta(minutes=1)
_TIME_TO_ANSWER_S = 0.5
"""Kept back from the function's time-out for writing the answer and the log line."""

_RETRY_AFTER = {"retry-after": "5"}


class Origin(NamedTuple):
    """When a delivery reached us and how it was routed; ours to say unless the relay attests it."""

    received_at: datetime
    routing: Routing | None
    trace: str
    attested: bool


class Webhook:
    """What the function needs to take a delivery."""

    def __init__(self, table: Table, api_keys: ApiKeys, retention: timedelta) -> None:
        self._table = table
        self._api_keys = api_keys
        self._retention = retention
        """How long the relay keeps what it has not delivered: an attested receipt can be that old."""

    def take(self, request: Request, now: datetime, deadline: float, line: dict[str, Any]) -> dict[str, Any]:
        """Verify, read and store one request; answer it. What a person needs to find it goes into the line.

        Raises
        ------
        ProblemError
            The answer is not a success, and nothing was acknowledged.
        """
        provider = _provider_of(request)
        line["provider"] = provider.NAME
        if not request.body:
            raise ProblemError(400, "Malformed request", "the body is empty")
        keys = self._keys(lambda: self._api_keys.current(time.monotonic(), deadline))
        origin = self._keys(lambda: self._origin(request, provider.NAME, keys, now))
        line |= {"trace": origin.trace, "attested": origin.attested}
        items = self._open(provider, request, origin, keys, deadline)
        body = zlib.compress(request.body)
        if len(body) > _LARGEST_BODY:
            raise ProblemError(413, "Body too large", f"the body is over {_LARGEST_BODY} bytes, compressed")
        receipt = Receipt(
            received_at=origin.received_at,
            body=body,
            verification=Verification(provider.SCHEME, "", now, hashlib.sha256(request.body).hexdigest()),
            owner=None,
            routing=origin.routing,
            trace=origin.trace,
        )
        if len(items) > 1 and any(item.event for item in items):
            receipt = self._keep_body_once(receipt, body, deadline)
        results = [self._settle(item, receipt, deadline) for item in items]
        line["items"] = results
        return _answer(results)

    def _keep_body_once(self, receipt: Receipt, body: bytes, deadline: float) -> Receipt:
        """Keep a batch's body for all its events together."""
        try:
            self._table.keep_body(body, receipt.verification.body_sha256, deadline)
        except StoreUnavailableError as error:
            raise _unavailable() from error
        return receipt._replace(body=None)

    def _origin(self, request: Request, provider: str, keys: Mapping[str, Any], now: datetime) -> Origin:
        """What the relay attests, if it does and the receipt it names is one that it can still have."""
        headers = request.headers
        trace = headers.get(attestation.TRACE, "")[:128].encode("ascii", "replace").decode()
        unattested = Origin(now, None, trace, attested=False)
        if attestation.ATTESTATION not in headers:
            return unattested
        relay_keys = (
            attestation.AttestationKey(key.id, key.secret.encode())
            for key in usable_keys(keys.get("relay", {"keys": []}), now)
        )
        if not attestation.is_attested(headers, request.body, provider, relay_keys):
            return unattested
        try:
            received_at = datetime.fromisoformat(headers.get(attestation.RECEIVED_AT, ""))
            routing = parse_routing(headers.get(attestation.ROUTING, ""))
        except (ValueError, MalformedRoutingError):
            return unattested
        if received_at.tzinfo is None or not now - self._retention <= received_at <= now + _AHEAD:
            return unattested
        return Origin(received_at.astimezone(UTC), routing, trace, attested=True)

    def _open(
        self, provider: Provider, request: Request, origin: Origin, keys: Mapping[str, Any], deadline: float
    ) -> Sequence[Item]:
        """Open the delivery; when no key fits, once more with newer ones, so that a rotation needs no deploy."""
        headers = dict(request.headers)
        # The transport's own authorization is IAM's; the relay carries a provider's under another name.
        headers.pop("authorization", None)
        if own := headers.pop(attestation.AUTHORIZATION, None):
            headers["authorization"] = own
        delivery = Delivery(headers, request.body, origin.received_at)

        def opened(known: Mapping[str, Any]) -> Sequence[Item]:
            return provider.open_delivery(delivery, known.get(provider.NAME, {"keys": []}))

        items: Sequence[Item] = ()
        refusal: NotAuthenticError | None = None
        try:
            items = self._keys(partial(opened, keys))
        except NotAuthenticError as error:
            refusal = error
        if refusal is None and not any(isinstance(item.refusal, NotAuthenticError) for item in items):
            return items
        newer = self._api_keys.newer(time.monotonic(), deadline)
        if newer is not None:
            return self._keys(partial(opened, newer))
        if refusal is not None:
            raise refusal
        return items

    @staticmethod
    def _keys(use: Callable[[], T]) -> T:
        """Use keys, and say that the fault is ours when they cannot be had or read."""
        try:
            return use()
        except (KeysUnavailableError, InvalidKeysError) as error:
            raise ProblemError(
                503, "Keys unavailable", "the providers' keys cannot be used at present; send the event again",
                _RETRY_AFTER,
            ) from error  # fmt: skip

    def _settle(self, item: Item, receipt: Receipt, deadline: float) -> dict[str, Any]:
        """Store one item, or say why not."""
        if item.event is None or item.key_id is None:
            malformed = isinstance(item.refusal, MalformedDeliveryError)
            return {"outcome": "malformed" if malformed else "refused", "reason": str(item.refusal)}
        event = item.event
        receipt = receipt._replace(
            verification=receipt.verification._replace(key_id=item.key_id),
            owner=receipt.routing.owner(event.payment or event.id) if receipt.routing else None,
        )
        told = {"event_id": event.id, "type": event.type, "kind": event.kind, "payment": event.payment}
        try:
            outcome: str = self._table.store(event, receipt, deadline)
        except StoreUnavailableError as error:
            return {**told, "outcome": "unavailable", "reason": str(error)}
        return {**told, "outcome": outcome, **({"problem": event.problem} if event.problem else {})}


def _provider_of(request: Request) -> Provider:
    name = request.path.removeprefix(_PATH)
    if not request.path.startswith(_PATH) or "/" in name:
        raise ProblemError(404, "Not found", f"webhooks go to {_PATH}{{provider}}")
    try:
        provider = providers.load(name)
    except UnknownProviderError as error:
        raise ProblemError(404, "Unknown provider", str(error)) from None
    if request.method != "POST":
        raise ProblemError(405, "Method not allowed", "a webhook is a POST", {"allow": "POST"})
    return provider


def _unavailable() -> ProblemError:
    detail = "the store does not take events at present; send it again"
    return ProblemError(503, "Store unavailable", detail, _RETRY_AFTER)


def _answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Success when every item is durable; else the answer that makes the provider send again."""
    outcomes = [result["outcome"] for result in results]
    if "unavailable" in outcomes:
        raise _unavailable()
    for outcome, status, title in (
        ("refused", 401, "Not authentic"),
        ("malformed", 400, "Malformed request"),
    ):
        if outcome in outcomes:
            place = outcomes.index(outcome)
            one_of = f"item {place + 1} of {len(results)}: " if len(results) > 1 else ""
            raise ProblemError(status, title, f"{one_of}{results[place]['reason']}")
    public = [{"event_id": result["event_id"], "outcome": result["outcome"]} for result in results]
    single = outcomes[0] if len(set(outcomes)) == 1 else "mixed"
    return answer(200, {"outcome": single, "events": public})


def _from_environment(environment: Mapping[str, str] = os.environ) -> Webhook:
    table = Table(Client(DYNAMODB), environment["TABLE_NAME"], int(environment["INDEX_SHARDS"]))
    api_keys = ApiKeys(Client(SECRETS_MANAGER), environment["API_KEYS_SECRET"])
    return Webhook(table, api_keys, timedelta(days=int(environment["SPOOL_RETENTION_DAYS"])))


_webhook = _from_environment()
_cold = True


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """AWS Lambda's entry point for the function URL."""
    global _cold  # noqa: PLW0603 (an environment is cold once)
    began = time.monotonic()
    deadline = began + context.get_remaining_time_in_millis() / 1000 - _TIME_TO_ANSWER_S
    line: dict[str, Any] = {"message": "delivery", "requestId": context.aws_request_id, "cold": _cold}
    _cold = False
    now = datetime.now(UTC)
    try:
        response = _webhook.take(read_request(event), now, deadline, line)
    except ProblemError as error:
        line["problem"] = error.detail
        if error.__cause__:
            line["cause"] = str(error.__cause__)
        response = problem(error, context.aws_request_id)
    except DeliveryError as error:
        line["problem"] = str(error)
        status, title = (401, "Not authentic") if isinstance(error, NotAuthenticError) else (400, "Malformed request")
        response = problem(ProblemError(status, title, str(error)), context.aws_request_id)
    status = response["statusCode"]
    line |= {
        "level": "INFO" if status < 400 else "WARN" if status < 500 else "ERROR",  # noqa: PLR2004
        "timestamp": now.isoformat(timespec="milliseconds"),
        "status": status,
        "duration_ms": round((time.monotonic() - began) * 1000, 1),
    }
    # Printed, not logged: one JSON object a line is what CloudWatch reads, and `logging` would wrap it in another.
    print(json.dumps(line))
    return response
