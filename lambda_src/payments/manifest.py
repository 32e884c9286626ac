"""What a relay says that it acknowledged: the keys of all distinct events of a window of time, in parts.

    {"relay": "host-1", "from": "2026-11-23T10:00:00Z", "until": "2026-11-23T10:05:00Z",
     "part": 1, "parts": 2, "events": ["EVT#stripe#-#evt_1", ...]}

A hash of them would name nothing, and differ with every redelivery.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

_LONGEST_WINDOW = timedelta(days=1)
_LONGEST_NAME = 64
_LONGEST_KEY = 2048


class Manifest(NamedTuple):
    """One part of a window's events."""

    relay: str
    began: datetime
    until: datetime
    part: int
    parts: int
    events: tuple[str, ...]
    """The partition keys of the events."""

    @property
    def place(self) -> str:
        """Where it stands among the day's manifests: by the end of its window."""
        until = self.until.isoformat(timespec="milliseconds")
        began = self.began.isoformat(timespec="milliseconds")
        return f"{until}#{self.relay}#{began}#{self.part:05d}"


class MalformedManifestError(ValueError):
    """The body is no manifest; the message says why."""


def parse_manifest(body: bytes) -> Manifest:
    """Read a manifest, or raise MalformedManifestError."""
    try:
        told = json.loads(body)
        manifest = Manifest(
            relay=told["relay"],
            began=_moment(told["from"]),
            until=_moment(told["until"]),
            part=told["part"],
            parts=told["parts"],
            events=tuple(told["events"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise MalformedManifestError(f"the body is no manifest: {type(error).__name__}: {error}") from None
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    relay: Any = manifest.relay
    if not isinstance(relay, str) or not 0 < len(relay) <= _LONGEST_NAME or not relay.isprintable() or "#" in relay:
        raise MalformedManifestError(f"'relay' is not a printable name of 1 to {_LONGEST_NAME} characters without #")
    if not timedelta() < manifest.until - manifest.began <= _LONGEST_WINDOW:
        raise MalformedManifestError("'until' is not after 'from' by a day at most")
    numbers: tuple[Any, Any] = (manifest.part, manifest.parts)
    if not all(type(number) is int for number in numbers) or not 1 <= manifest.part <= manifest.parts:
        raise MalformedManifestError("'part' is not a whole number from 1 to 'parts'")
    for key in manifest.events:
        if not isinstance(key, str) or not key.startswith("EVT#") or len(key.encode()) > _LONGEST_KEY:
            raise MalformedManifestError("'events' holds what is no key of an event")


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    return moment.astimezone(UTC)
