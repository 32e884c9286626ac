"""Telling AWS what was acknowledged: the distinct events of each window of time, once all of them should be there."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from migration.relay.spool import AWS
from migration.relay.targets import Fate
from payments import attestation

if TYPE_CHECKING:
    from migration.relay.spool import Spool
    from migration.relay.targets import AwsTarget
    from payments.routing import Routing

_log = logging.getLogger("envmig.relay")

_WINDOW_MS = 300_000
_EVENTS_IN_PART = 2000
"""With keys of the longest kind a part stays under the function URL's limit."""


class Manifests:
    """The manifests of one relay."""

    def __init__(self, name: str, spool: Spool, target: AwsTarget) -> None:
        self._name = name
        self._spool = spool
        self._target = target

    def window(self, now_ms: int) -> tuple[int, int] | None:
        """The next window that is over; None when there is none yet."""
        told = self._spool.told_until()
        if told is None:
            # A new spool begins with the window in which it was made.
            self._spool.told(now_ms - now_ms % _WINDOW_MS).result()
            return None
        return (told, told + _WINDOW_MS) if told + _WINDOW_MS <= now_ms else None

    async def tell(self, began_ms: int, until_ms: int, routing: Routing) -> bool:
        """Send a window's manifest in its parts; whether it is done.

        A window that has requests on their way to AWS waits: what the spool still has is not lost.
        """
        events, pending = await asyncio.to_thread(self._spool.acknowledged, began_ms, until_ms, AWS)
        if pending:
            return False
        parts = [events[start : start + _EVENTS_IN_PART] for start in range(0, len(events), _EVENTS_IN_PART)]
        for number, part in enumerate(parts, start=1):
            body = json.dumps(
                {
                    "relay": self._name,
                    "from": moment(began_ms),
                    "until": moment(until_ms),
                    "part": number,
                    "parts": len(parts),
                    "events": part,
                }
            ).encode()
            headers = {
                "content-type": "application/json",
                attestation.RECEIVED_AT: datetime.now(UTC).isoformat(timespec="milliseconds"),
                attestation.ROUTING: str(routing),
                attestation.TRACE: f"manifest-{until_ms}-{number}",
            }
            said = await self._target.post("/manifests", "manifests", headers, body)
            if said.fate is not Fate.DELIVERED:
                _log.warning("the manifest since %s was not taken: %s %s", began_ms, said.status, said.text)
                return False
        await asyncio.wrap_future(self._spool.told(until_ms))
        return True


def moment(at_ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
