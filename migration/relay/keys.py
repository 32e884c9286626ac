"""The providers' keys on the relay's host: kept in memory, read again in time and when a signature does not fit."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from providers.errors import KeysUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migration.relay import settings

_AGAIN_AFTER_S = 10.0
"""A forger must not be able to make us read them at his own rate."""


class ProviderKeys:
    """The secret's JSON document."""

    def __init__(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._read = read
        self._keys: Mapping[str, Any] | None = None
        self._tried_at = float("-inf")

    def current(self) -> Mapping[str, Any]:
        """The keys as they were last read, or KeysUnavailableError before they were."""
        if self._keys is None:
            raise KeysUnavailableError("the providers' keys have not been read yet")
        return self._keys

    async def refresh(self) -> None:
        """Read them again; KeysUnavailableError leaves those that are there."""
        self._tried_at = time.monotonic()
        self._keys = await asyncio.to_thread(self._read)

    async def newer(self) -> Mapping[str, Any] | None:
        """Keys read again because a signature did not fit; None when they are the same, or too soon."""
        if time.monotonic() - self._tried_at < _AGAIN_AFTER_S:
            return None
        before = self._keys
        try:
            await self.refresh()
        except KeysUnavailableError:
            return None
        return self._keys if self._keys != before else None


def reader(where: settings.Keys, aws: settings.Aws) -> Callable[[], Mapping[str, Any]]:
    """What reads the keys from where they are, and raises KeysUnavailableError."""
    if where.file:
        file = where.file

        def from_file() -> Mapping[str, Any]:
            try:
                return _document(file.read_text())
            except OSError as error:
                raise KeysUnavailableError(f"the keys' file cannot be read: {error}") from error

        return from_file
    client = boto3.client("secretsmanager", region_name=aws.region, endpoint_url=aws.endpoint or None)

    def from_secret() -> Mapping[str, Any]:
        try:
            return _document(client.get_secret_value(SecretId=where.secret)["SecretString"])
        except (BotoCoreError, ClientError) as error:
            raise KeysUnavailableError(f"the secret {where.secret} cannot be read: {error}") from error

    return from_secret


def _document(text: str) -> Mapping[str, Any]:
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        raise KeysUnavailableError("the keys are no JSON object")
    return keys
