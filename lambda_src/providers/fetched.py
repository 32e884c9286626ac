"""Public keys that a provider publishes: fetched over HTTPS, kept for an hour, at a bounded rate."""

from __future__ import annotations

import http.client
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from providers.errors import KeysUnavailableError, NotAuthenticError

_FRESH_S = 3600.0
_AGAIN_AFTER_S = 5.0
"""After a failure the next try waits: a forger must not be able to make us call out at his own rate."""
_TIMEOUT_S = 2.0
_LARGEST = 64 * 1024
_MOST_KEPT = 64


class _Kept(NamedTuple):
    content: bytes
    until: float


class Fetched:
    """The documents of one provider, by their address."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._not_before = float("-inf")

    def get(self, url: str, question: bytes = b"") -> bytes:
        """What is at an HTTPS address, or what answers a question that is posted to it; no redirect is followed.

        Raises
        ------
        NotAuthenticError
            The provider knows no such document.
        KeysUnavailableError
            The address cannot be reached, or may not be asked again so soon.
        """
        now = time.monotonic()
        kept = self._kept.get((url, question))
        if kept and now < kept.until:
            return kept.content
        if now < self._not_before:
            raise KeysUnavailableError("a key could not be fetched a moment ago; it is tried again soon")
        try:
            status, content = _exchange(url, question)
        except (OSError, http.client.HTTPException) as error:
            self._not_before = now + _AGAIN_AFTER_S
            raise KeysUnavailableError(f"{urlsplit(url).netloc}: {type(error).__name__}: {error}") from error
        if status != 200 or len(content) > _LARGEST:  # noqa: PLR2004
            self._not_before = now + _AGAIN_AFTER_S
            if 400 <= status < 500:  # noqa: PLR2004
                raise NotAuthenticError("the provider knows no such key")
            raise KeysUnavailableError(f"{urlsplit(url).netloc} answered {status}")
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[url, question] = _Kept(content, now + _FRESH_S)
        return content


def _exchange(url: str, question: bytes) -> tuple[int, bytes]:
    address = urlsplit(url)
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
    try:
        method = "POST" if question else "GET"
        headers = {"content-type": "application/json"} if question else {}
        connection.request(method, address.path or "/", question or None, headers)
        response = connection.getresponse()
        return response.status, response.read(_LARGEST + 1)
    finally:
        connection.close()
