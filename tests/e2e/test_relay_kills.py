"""The relay killed with SIGKILL at random moments under load: what it acknowledged is never lost.

ENVMIG_KILLS says how often; a long run kills it 200 times: ENVMIG_KILLS=200 scripts/test.sh tests/e2e/test_relay_kills.py
"""

from __future__ import annotations

import http.client
import json
import os
import random
import secrets
import threading
import time
from pathlib import Path
from typing import Self

from adapters.items import partition_key
from migration.relay.spool import TARGETS
from tests.e2e.client import System, wait_for
from tests.e2e.relays import Legacy, Relay
from tests.e2e.test_relay import charge

KILLS = int(os.environ.get("ENVMIG_KILLS", "4"))
SENDERS = 4
_PAUSE_S = 0.03


class Load:
    """Senders that send again what was not acknowledged, as providers do, until they are told to end."""

    def __init__(self, system: System, relay: Relay) -> None:
        self.acknowledged: list[str] = []
        self.unexpected: list[int] = []
        self._system = system
        self._relay = relay
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def _send(self) -> None:
        while not self._ending.is_set():
            sent, key = charge(self._system, f"pi_{secrets.token_hex(8)}")
            while not self._ending.is_set():
                try:
                    status, _ = self._relay.post("stripe", *sent, timeout=5)
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)
                    continue
                if status == 200:
                    self.acknowledged.append(key)
                    # AWS's emulator stores a hundred a second: what is sent has to be delivered in the end.
                    time.sleep(_PAUSE_S)
                    break
                if status != 503:
                    self.unexpected.append(status)
                time.sleep(0.05)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


def test_no_acknowledged_event_is_lost(system: System, tmp_path: Path) -> None:
    random_ = random.Random(KILLS)
    with Legacy() as legacy:
        relay = Relay(system, tmp_path, legacy.url)
        relay.start()
        try:
            relay.mode("parallel")
            with Load(system, relay) as load:
                for _ in range(KILLS):
                    time.sleep(random_.uniform(0.05, 1.5))
                    relay.kill()
                    relay.start()
                before = len(load.acknowledged)
                wait_for(lambda: len(load.acknowledged) > before)

            def drained() -> bool:
                spool = relay.spool()
                try:
                    return not any(spool.counts(target).pending for target in TARGETS)
                finally:
                    spool.close()

            wait_for(drained, within_s=120 + 3 * KILLS)
        finally:
            relay.stop()
        taken = {partition_key("EVT", "stripe", "-", json.loads(body)["id"]) for body in legacy.bodies()}
        acknowledged = set(load.acknowledged)
        assert load.unexpected == []
        assert len(acknowledged) > KILLS
        assert acknowledged <= taken
        missing = [key for key in acknowledged if "EVENT" not in system.items(key)]
        assert missing == []
        print(f"{KILLS} kills: {len(acknowledged)} acknowledged, {len(legacy.taken)} taken by legacy, 0 lost")
