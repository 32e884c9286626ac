"""The webhook function: verifies a provider's delivery, makes its events durable, and only then says so."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import providers
from adapters.aws_json import DYNAMODB, SECRETS_MANAGER, SQS, Client
from adapters.envelope import encode
from adapters.metrics import BY_PROVIDER, BY_REASON
from adapters.queue import Queue, QueueUnavailableError
from adapters.secrets import ApiKeys
from adapters.table import RejectedError, StoreUnavailableError, Table
from handlers.http import ProblemError, Request, answer, check_size, problem, read_request
from handlers.invocation import Invocation
from handlers.storing import BUFFERED, REFUSED, REJECTED, UNAVAILABLE, UNREADABLE, Result, Storing, untried
from payments import attestation
from payments.manifest import MalformedManifestError, parse_manifest
from payments.routing import MalformedRoutingError, Routing, parse_routing
from providers.base import Delivery, Signature, refused
from providers.errors import (
    DeliveryError,
    KeysUnavailableError,
    MalformedDeliveryError,
    NotAuthenticError,
    UnknownProviderError,
)
from providers.keys import InvalidKeysError, usable_keys
from providers.verified import VerifiedDelivery, own_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from providers.base import Provider

T = TypeVar("T")

_PATH = "/webhooks/"
_MANIFESTS = "/manifests"
_MANIFESTS_KEPT = timedelta(days=90)
_AHEAD = timedelta(minutes=1)
_TIME_TO_ANSWER_S = 0.5
"""Kept back from the function's time-out for writing the answer and the log line."""
_TIME_TO_BUFFER_S = 2.0
"""Kept back from the table's time for the buffer."""

_RETRY_AFTER = {"retry-after": "5"}
_NOT_STORED = frozenset({UNAVAILABLE, REJECTED, UNREADABLE})
"""What is authentic and not in the table: it goes the way of the buffer, for nothing verified is ever dropped."""


class Origin(NamedTuple):
    """When a delivery reached us and how it was routed; ours to say unless the relay attests it."""

    received_at: datetime
    routing: Routing | None
    trace: str
    attested: bool


class Webhook:
    """What the function needs to take a delivery."""

    def __init__(
        self, storing: Storing, buffer: Queue, api_keys: ApiKeys, retention: timedelta, *, buffer_first: bool
    ) -> None:
        self._storing = storing
        self._buffer = buffer
        self._api_keys = api_keys
        self._retention = retention
        """How long the relay keeps what it has not delivered: an attested receipt can be that old."""
        self._buffer_first = buffer_first

    def take(self, request: Request, now: datetime, told: Invocation) -> dict[str, Any]:
        """Verify one request and make it durable; answer it, and tell what a person needs to find it.

        Raises
        ------
        ProblemError
            The answer is not a success, and nothing was acknowledged.
        """
        if request.path == _MANIFESTS:
            return self._take_manifest(request, now, told)
        provider = _provider_of(request)
        trace, deadline = told.trace, told.deadline - _TIME_TO_ANSWER_S
        told.line["provider"] = provider.NAME
        told.metrics.add("Received", 1, BY_PROVIDER, provider.NAME)
        if not request.body:
            raise ProblemError(400, "Malformed request", "the body is empty")
        with trace.step("secret"):
            keys = self._keys(lambda: self._api_keys.current(time.monotonic(), deadline))
        with trace.step("verify") as step:
            origin = self._keys(lambda: self._origin(request, provider.NAME, keys, now))
            correlation = origin.trace or told.line["requestId"]
            trace.annotate(correlation=correlation, provider=provider.NAME)
            told.line |= {"trace": correlation, "attested": origin.attested}
            delivery = Delivery(_providers_headers(request.headers), request.body, origin.received_at)
            signatures = self._verify(provider, delivery, keys, deadline)
            step.annotate(attested=origin.attested)
        told.metrics.add("NotAuthentic", 0, BY_PROVIDER, provider.NAME)
        check_size(request.body)
        verified = VerifiedDelivery(
            provider=provider.NAME,
            headers=own_headers(delivery.headers),
            body=request.body,
            received_at=origin.received_at,
            routing=origin.routing,
            trace=correlation,
            verified_at=now,
            signatures=signatures,
        )
        results = self._keep(verified, deadline, told)
        told.line["items"] = results
        told.tell_results(verified, results)
        return _answer(results)

    def _take_manifest(self, request: Request, now: datetime, told: Invocation) -> dict[str, Any]:
        """Keep what a relay says that it acknowledged, which it attests as it does its events."""
        told.line["message"] = "manifest"
        if request.method != "POST":
            raise ProblemError(405, "Method not allowed", "a manifest is a POST", {"allow": "POST"})
        deadline = told.deadline - _TIME_TO_ANSWER_S
        keys = self._keys(lambda: self._api_keys.current(time.monotonic(), deadline))
        origin = self._keys(lambda: self._origin(request, _MANIFESTS.strip("/"), keys, now))
        if not origin.attested:
            raise ProblemError(401, "Not authentic", "a manifest has to be attested by the relay")
        check_size(request.body)
        try:
            manifest = parse_manifest(request.body)
        except MalformedManifestError as error:
            raise ProblemError(400, "Malformed request", str(error)) from None
        try:
            self._storing.keep_manifest(manifest, now + _MANIFESTS_KEPT, deadline)
        except (StoreUnavailableError, RejectedError) as error:
            raise ProblemError(
                503, "Store unavailable", "the manifest is not kept; send it again", _RETRY_AFTER
            ) from error
        told.line |= {"relay": manifest.relay, "place": manifest.place, "events": len(manifest.events)}
        return answer(200, {"outcome": "stored", "events": len(manifest.events)})

    def _keep(self, verified: VerifiedDelivery, deadline: float, told: Invocation) -> list[Result]:
        """Put the delivery into the table, and into the buffer what the table does not take; or the other way."""
        try:
            with told.trace.step("read"):
                items = verified.items()
        except MalformedDeliveryError as error:
            return self._wait([{"outcome": UNREADABLE, "reason": str(error)}], verified, deadline, told)
        if self._buffer_first and any(item.event for item in items):
            results = self._wait(untried(items), verified, deadline - _TIME_TO_BUFFER_S, told)
            if UNAVAILABLE not in (result["outcome"] for result in results):
                return results
        results = self._storing.store(verified, items, deadline - _TIME_TO_BUFFER_S, told)
        return self._wait(results, verified, deadline, told)

    def _wait(
        self, results: list[Result], verified: VerifiedDelivery, deadline: float, told: Invocation
    ) -> list[Result]:
        """Send the whole delivery to the buffer when anything authentic in it is not stored."""
        if not any(result["outcome"] in _NOT_STORED for result in results):
            return results
        outcome = BUFFERED
        with told.trace.step("buffer") as step:
            try:
                self._buffer.send(encode(verified), deadline, trace=told.trace.header)
            except QueueUnavailableError as error:
                step.fail(error)
                told.line["buffer"] = str(error)
                outcome = UNAVAILABLE
        return [{**result, "outcome": outcome} if result["outcome"] in _NOT_STORED else result for result in results]

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

    def _verify(
        self, provider: Provider, delivery: Delivery, keys: Mapping[str, Any], deadline: float
    ) -> Signature | list[Signature | None]:
        """Verify the delivery; when no key fits, once more with newer ones, so that a rotation needs no deploy."""

        def verified(known: Mapping[str, Any]) -> Signature | Sequence[Signature | NotAuthenticError]:
            return provider.verify(delivery, known.get(provider.NAME, {"keys": []}))

        signatures: Signature | Sequence[Signature | NotAuthenticError] = ()
        refusal: NotAuthenticError | None = None
        try:
            signatures = self._keys(partial(verified, keys))
        except NotAuthenticError as error:
            refusal = error
        if refusal or refused(signatures):
            newer = self._api_keys.newer(time.monotonic(), deadline)
            if newer is not None:
                signatures = self._keys(partial(verified, newer))
            elif refusal:
                raise refusal
        if isinstance(signatures, Signature):
            return signatures
        refusals = refused(signatures)
        if len(refusals) == len(signatures):
            raise refusals[0]
        return [each if isinstance(each, Signature) else None for each in signatures]

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


def _providers_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with the provider's own authorization, which the relay carries under another name than IAM's."""
    own = dict(headers)
    own.pop("authorization", None)
    if carried := own.pop(attestation.AUTHORIZATION, None):
        own["authorization"] = carried
    return own


def _answer(results: list[Result]) -> dict[str, Any]:
    """Success when every item is durable; else the answer that makes the provider send again."""
    outcomes = [result["outcome"] for result in results]
    if UNAVAILABLE in outcomes:
        detail = "neither the store nor the buffer takes events at present; send it again"
        raise ProblemError(503, "Store unavailable", detail, _RETRY_AFTER)
    if REFUSED in outcomes:
        place = outcomes.index(REFUSED)
        one_of = f"item {place + 1} of {len(results)}: " if len(results) > 1 else ""
        raise ProblemError(401, "Not authentic", f"{one_of}{results[place]['reason']}")
    public = [{"event_id": result.get("event_id"), "outcome": result["outcome"]} for result in results]
    single = outcomes[0] if len(set(outcomes)) == 1 else "mixed"
    return answer(202 if BUFFERED in outcomes else 200, {"outcome": single, "events": public})


def _from_environment(environment: Mapping[str, str] = os.environ) -> Webhook:
    table = Table(Client(DYNAMODB), environment["TABLE_NAME"], int(environment["INDEX_SHARDS"]))
    return Webhook(
        Storing(table),
        Queue(Client(SQS), environment["BUFFER_URL"]),
        ApiKeys(Client(SECRETS_MANAGER), environment["API_KEYS_SECRET"]),
        timedelta(days=int(environment["SPOOL_RETENTION_DAYS"])),
        buffer_first=environment["INGEST_MODE"] == "buffered",
    )


_webhook = _from_environment()


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """AWS Lambda's entry point for the function URL."""
    told = Invocation("webhook", "delivery", context)
    try:
        response = _webhook.take(read_request(event), datetime.now(UTC), told)
    except (ProblemError, DeliveryError) as error:
        response = _refuse(error, told)
    status = response["statusCode"]
    told.line |= {
        "level": "INFO" if status < 400 else "WARN" if status < 500 else "ERROR",  # noqa: PLR2004
        "status": status,
    }
    told.end()
    return response


def _refuse(error: ProblemError | DeliveryError, told: Invocation) -> dict[str, Any]:
    if isinstance(error, NotAuthenticError):
        told.metrics.add("NotAuthentic", 1, BY_PROVIDER, told.line["provider"])
    if not isinstance(error, ProblemError):
        status, title = (401, "Not authentic") if isinstance(error, NotAuthenticError) else (400, "Malformed request")
        error = ProblemError(status, title, str(error))
    told.metrics.add("Refused", 1, BY_REASON, error.title)
    told.line["problem"] = error.detail
    if error.__cause__:
        told.line["cause"] = str(error.__cause__)
    return problem(error, told.line["requestId"])
