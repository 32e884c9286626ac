"""What the relays say of how far they have come: the point before which everything has been delivered."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S = 5
_LOOK_EVERY_S = 0.25


class RelayAwayError(Exception):
    """A relay does not say how far it has come; the message says what to do."""


class Watermark(NamedTuple):
    """How far all relays have come together."""

    legacy: datetime
    """Everything received before this is in the old system, or will never be taken by it."""
    aws: datetime
    now: datetime
    """By the relays' own clocks, which times of receipt are told by."""
    to_aws_since: datetime | None
    """Since when everything is delivered to AWS too; None while it is not."""


class Relays:
    """The relays' status ports."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    def watermark(self) -> Watermark:
        """Ask all of them, or raise RelayAwayError."""
        told = [self._ask(address.rstrip("/")) for address in self._addresses]
        since = [each["to_aws_since"] for each in told]
        return Watermark(
            legacy=min(datetime.fromisoformat(each["legacy"]) for each in told),
            aws=min(datetime.fromisoformat(each["aws"]) for each in told),
            now=max(datetime.fromisoformat(each["now"]) for each in told),
            to_aws_since=max(datetime.fromisoformat(each) for each in since) if all(since) else None,
        )

    def wait(self, until: datetime, within_s: float, *, both: bool = False) -> Watermark:
        """Wait until AWS, or both sides, have everything that was received before a moment."""
        deadline = time.monotonic() + within_s
        while True:
            mark = self.watermark()
            if mark.aws >= until and (not both or mark.legacy >= until):
                return mark
            if time.monotonic() > deadline:
                behind = "aws" if mark.aws < until else "legacy"
                raise RelayAwayError(
                    f"what was received at {getattr(mark, behind).isoformat()} still waits for {behind} after "
                    f"{within_s:g} s: see the relay's status page for what holds it up, then run this again"
                )
            time.sleep(_LOOK_EVERY_S)

    @staticmethod
    def _ask(address: str) -> dict[str, str]:
        try:
            with urllib.request.urlopen(f"{address}/watermark", timeout=_TIMEOUT_S) as answer:  # noqa: S310
                told: dict[str, str] = json.loads(answer.read())
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise RelayAwayError(
                f"the relay's status port {address} does not answer ({error}): start the relay, or name its address "
                "with --relay"
            ) from error
        return told


class StandsStill:
    """A system that takes nothing in since a moment: what `--as-of` asserts, where no relay can be asked."""

    def __init__(self, since: datetime) -> None:
        self._since = since

    def watermark(self) -> Watermark:
        """Everything was delivered, and nothing has come since."""
        return Watermark(self._since, self._since, self._since, self._since)

    def wait(self, until: datetime, within_s: float, *, both: bool = False) -> Watermark:  # noqa: ARG002 (one shape)
        """Nothing is under way."""
        return self.watermark()


class Grace:
    """For want of a relay to ask: what was received a while ago has been delivered."""

    def __init__(self, seconds: float) -> None:
        self._grace = timedelta(seconds=seconds)

    def watermark(self) -> Watermark:
        """Now, less the while."""
        now = datetime.now(UTC)
        return Watermark(now - self._grace, now - self._grace, now, None)

    def wait(self, until: datetime, within_s: float, *, both: bool = False) -> Watermark:  # noqa: ARG002 (one shape)
        """Wait the while."""
        time.sleep(max(0.0, (until + self._grace - datetime.now(UTC)).total_seconds()))
        return self.watermark()
