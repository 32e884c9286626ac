"""Live traffic of several providers: signed, now and then twice or out of order, and again until acknowledged."""

from __future__ import annotations

import http.client
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from migration.samples import life
from migration.signing import sign

if TYPE_CHECKING:
    from collections.abc import Mapping

PROVIDERS = ("stripe", "standard", "adyen", "checkout", "square", "gocardless")
_SENT_TWICE = 0.1
_SWAPPED = 0.2
_OK = range(200, 300)


class Traffic:
    """Payments' whole lives, sent to a relay by a few senders until told to end."""

    def __init__(self, port: int, keys: Mapping[str, Any], per_s: float, senders: int = 4, seed: int = 7) -> None:
        self.port = port
        self.acknowledged = 0
        self.again = 0
        """Sent again because they were not acknowledged."""
        self.payments: list[tuple[str, str]] = []
        """Provider and id of those whose life is over, the latest last."""
        self._keys = keys
        self._pause_s = senders / per_s
        self._ending = threading.Event()
        self._counting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(seed + n),), daemon=True)  # noqa: S311
            for n in range(senders)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End when what was begun is acknowledged."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _send(self, dice: random.Random) -> None:
        while not self._ending.is_set():
            provider = dice.choice(PROVIDERS)
            lived = life(provider, datetime.now(UTC) - timedelta(minutes=10))
            deliveries = list(lived.deliveries)
            for place in range(1, len(deliveries)):
                if dice.random() < _SWAPPED:
                    deliveries[place - 1 : place + 1] = reversed(deliveries[place - 1 : place + 1])
            deliveries += [each for each in deliveries if dice.random() < _SENT_TWICE]
            for sent in deliveries:
                now = datetime.now(UTC)
                signed = sign(provider, sent.body, self._keys[provider], now)
                self._until_acknowledged(provider, signed.body, {**sent.headers, **signed.headers})
                time.sleep(self._pause_s * dice.uniform(0.5, 1.5))
            self.payments += [(provider, payment) for payment in lived.ledger]

    def _until_acknowledged(self, provider: str, body: bytes, headers: dict[str, str]) -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
            try:
                connection.request("POST", f"/webhooks/{provider}", body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status in _OK:
                    with self._counting:
                        self.acknowledged += 1
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            with self._counting:
                self.again += 1
            time.sleep(0.3)
