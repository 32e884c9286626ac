"""Where webhooks are delivered: the legacy system by plain HTTP, AWS by its function URL, signed afresh each time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

import aiohttp
import boto3
from botocore.exceptions import BotoCoreError, ClientError

from adapters.sigv4 import Credentials, signed_headers
from migration.relay.errors import RelayError
from payments import attestation
from payments.attestation import AttestationKey
from providers.errors import KeysUnavailableError
from providers.keys import InvalidKeysError, usable_keys
from providers.verified import own_headers

if TYPE_CHECKING:
    from migration.relay import settings
    from migration.relay.keys import ProviderKeys
    from migration.relay.spool import Kept

OWNER = "x-envmig-owner"
"""What legacy is told beside the provider's request: who acts on it."""

_PASSING = frozenset({408, 425, 429})
_SUCCESS = range(200, 300)
_REFUSAL = range(400, 500)
_LOOK_UP_AGAIN_S = 10.0
_FRESH_CREDENTIALS_S = 30.0
_LONGEST_SAYING = 300


class Fate(Enum):
    """What became of a try."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PARK = "park"


class Said(NamedTuple):
    """What a target said to a try."""

    fate: Fate
    status: int
    """0 when there was no answer."""
    text: str


class Target(Protocol):
    """Somewhere to deliver to."""

    name: str

    async def send(self, kept: Kept) -> Said:
        """Try once; an answer and its absence are both told, and nothing is raised."""

    async def close(self) -> None:
        """Close the connections."""


class LegacyTarget:
    """The legacy system: the provider's own headers and its raw body."""

    name = "legacy"

    def __init__(self, where: settings.Legacy) -> None:
        self._url = where.url.rstrip("/")
        self._session = _session(where.at_once, where.timeout_s)

    async def send(self, kept: Kept) -> Said:
        """Try once."""
        headers = {
            **kept.headers,
            OWNER: kept.owner,
            attestation.RECEIVED_AT: _received_at(kept),
            attestation.ROUTING: kept.routing,
            attestation.TRACE: kept.trace,
        }
        try:
            async with self._session.post(
                f"{self._url}/{kept.provider}", data=kept.body, headers=headers, allow_redirects=False
            ) as answer:
                text = (await answer.read())[:_LONGEST_SAYING].decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _no_answer(error)
        if answer.status in _SUCCESS:
            return Said(Fate.DELIVERED, answer.status, "")
        parked = answer.status in _REFUSAL and answer.status not in _PASSING
        return Said(Fate.PARK if parked else Fate.RETRY, answer.status, text)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class AwsTarget:
    """The webhook function behind its URL."""

    name = "aws"

    def __init__(self, where: settings.Aws, keys: ProviderKeys) -> None:
        self._where = where
        self._keys = keys
        self._session = _session(where.at_once, where.timeout_s)
        self._boto3 = boto3.Session(region_name=where.region)
        self._url = where.url
        self._looked_up_at = float("-inf")
        self._credentials: Credentials | None = None
        self._credentials_at = float("-inf")

    async def send(self, kept: Kept) -> Said:
        """Deliver a webhook as the provider sent it, with what the relay attests."""
        headers = own_headers(kept.headers)
        if authorization := kept.headers.get("authorization"):
            headers[attestation.AUTHORIZATION] = authorization
        headers |= {
            attestation.RECEIVED_AT: _received_at(kept),
            attestation.ROUTING: kept.routing,
            attestation.TRACE: kept.trace,
        }
        return await self.post(f"/webhooks/{kept.provider}", kept.provider, headers, kept.body)

    async def post(self, path: str, attested_for: str, headers: dict[str, str], body: bytes) -> Said:
        """Attest, sign and post once."""
        try:
            headers[attestation.ATTESTATION] = attestation.attest(
                headers, body, attested_for, self._attestation_key()
            )
            url = await self._function_url()
            address, signed = self._signed(url, path, body, await self._current_credentials())
        except (KeysUnavailableError, InvalidKeysError, RelayError) as error:
            return Said(Fate.RETRY, 0, str(error))
        try:
            async with self._session.post(
                address, data=body, headers={**headers, **signed}, allow_redirects=False
            ) as answer:
                text = (await answer.read())[:_LONGEST_SAYING].decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._forget_url()
            return _no_answer(error)
        if answer.status in _SUCCESS:
            return Said(Fate.DELIVERED, answer.status, text)
        if answer.content_type != "application/problem+json":
            # Not the function's own answer: the URL or the right to call it is gone, which says nothing of the event.
            self._forget_url()
            return Said(Fate.RETRY, answer.status, text)
        parked = answer.status in _REFUSAL and answer.status not in _PASSING
        return Said(Fate.PARK if parked else Fate.RETRY, answer.status, text)

    def _attestation_key(self) -> AttestationKey:
        usable = usable_keys(self._keys.current().get("relay", {"keys": []}), datetime.now(UTC))
        for key in usable:
            return AttestationKey(key.id, key.secret.encode())
        raise KeysUnavailableError("the keys hold none of the relay's own")

    def _signed(self, url: str, path: str, body: bytes, credentials: Credentials) -> tuple[str, dict[str, str]]:
        host = urlsplit(url).netloc
        signed = signed_headers(
            {"host": host},
            body,
            service="lambda",
            region=self._where.region,
            credentials=credentials,
            at=datetime.now(UTC),
            path=path,
        )
        # An emulator is reached at its own address, and told by the host's name which function is meant.
        return f"{self._where.endpoint or url}{path}", signed

    async def _function_url(self) -> str:
        if not self._url:
            if time.monotonic() - self._looked_up_at < _LOOK_UP_AGAIN_S:
                raise RelayError("the function URL could not be looked up a moment ago")
            self._looked_up_at = time.monotonic()
            self._url = await asyncio.to_thread(self._look_up)
        return self._url

    def _look_up(self) -> str:
        client = self._boto3.client("lambda", endpoint_url=self._where.endpoint or None)
        try:
            found = client.get_function_url_config(FunctionName=self._where.function)
        except (BotoCoreError, ClientError) as error:
            raise RelayError(f"the URL of {self._where.function} cannot be looked up: {error}") from error
        finally:
            client.close()
        return str(found["FunctionUrl"]).rstrip("/")

    def _forget_url(self) -> None:
        # Looked up again by the next try, at a bounded rate.
        if not self._where.url and time.monotonic() - self._looked_up_at > _LOOK_UP_AGAIN_S:
            self._url = ""

    async def _current_credentials(self) -> Credentials:
        """Those of the standard chain, which refreshes them; asked for now and then, for that may take its time."""
        if self._credentials is None or time.monotonic() - self._credentials_at > _FRESH_CREDENTIALS_S:
            self._credentials = await asyncio.to_thread(self._ask_for_credentials)
            self._credentials_at = time.monotonic()
        return self._credentials

    def _ask_for_credentials(self) -> Credentials:
        try:
            found = self._boto3.get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        except (BotoCoreError, ClientError) as error:
            raise RelayError(f"AWS credentials cannot be had: {error}") from error
        if frozen is None or frozen.access_key is None or frozen.secret_key is None:
            raise RelayError(
                "there are no AWS credentials in the standard chain; docs/relay.md shows how to give some"
            )
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _received_at(kept: Kept) -> str:
    return datetime.fromtimestamp(kept.received_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _session(at_once: int, timeout_s: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once, ttl_dns_cache=30),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # What the provider did not send is not made up.
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


def _no_answer(error: BaseException) -> Said:
    return Said(Fate.RETRY, 0, f"{type(error).__name__}: {error}"[:_LONGEST_SAYING])
