"""The API keys' secret: cached for a while, fetched again at a bounded rate when a signature does not match."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from adapters.aws_json import AwsError
from providers.errors import KeysUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.aws_json import Client

_FRESH_S = 300.0
_STALE_S = 3600.0
"""How long cached keys serve while Secrets Manager is out of reach."""
_REFETCH_EVERY_S = 10.0
"""A forger must not be able to make us call Secrets Manager at his own rate."""


class ApiKeys:
    """The secret's JSON document."""

    def __init__(self, client: Client, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id
        self._keys: Mapping[str, Any] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def current(self, now: float, deadline: float) -> Mapping[str, Any]:
        """The keys, at most five minutes old, or an hour while Secrets Manager cannot be reached.

        Parameters
        ----------
        now, deadline
            On the monotonic clock, in seconds.

        Raises
        ------
        KeysUnavailableError
            There are none.
        """
        if now - self._fetched_at <= _FRESH_S:
            return self._keys
        if now - self._tried_at > _REFETCH_EVERY_S or not self._keys:
            try:
                return self._fetch(now, deadline)
            except KeysUnavailableError:
                if now - self._fetched_at > _STALE_S:
                    raise
        elif now - self._fetched_at > _STALE_S:
            raise KeysUnavailableError("Secrets Manager has been out of reach for too long")
        return self._keys

    def newer(self, now: float, deadline: float) -> Mapping[str, Any] | None:
        """Keys fetched again because a signature did not match; None when they are the same, or too soon."""
        if now - self._tried_at <= _REFETCH_EVERY_S:
            return None
        before = self._keys
        try:
            keys = self._fetch(now, deadline)
        except KeysUnavailableError:
            return None
        return keys if keys != before else None

    def _fetch(self, now: float, deadline: float) -> Mapping[str, Any]:
        self._tried_at = now
        try:
            answer = self._client.call("GetSecretValue", {"SecretId": self._secret_id}, deadline)
        except AwsError as error:
            raise KeysUnavailableError(str(error)) from error
        try:
            keys = json.loads(answer["SecretString"])
        except (KeyError, ValueError):
            keys = None
        if not isinstance(keys, dict):
            raise KeysUnavailableError("the secret holds no JSON object")
        self._keys = keys
        self._fetched_at = now
        return keys
