"""The numbers of a look: from the relays' metrics, the queues, and a sample of what came in since the look before."""

from __future__ import annotations

import logging
import sqlite3
import time
import urllib.request
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client.parser import text_string_to_metric_families

from adapters.items import payment_key, read_event, read_state, text
from migration.cutover.gates import Numbers
from migration.legacy.source import SourceError
from migration.lookup import Table
from migration.opening import milliseconds
from migration.relay.errors import RelayError
from migration.relay.settings import load as load_settings
from migration.relay.spool import AWS, open_spool
from migration.watermark import RelayAwayError, Relays
from payments.state import fold
from providers import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.items import Item
    from migration.cutover.plan import Plan
    from migration.deployment import Deployment
    from migration.reconcile.sides import Key, Sides
    from payments.state import State

_log = logging.getLogger("envmig.cutover")

_OUT_OF_REACH = (
    OSError, ValueError, sqlite3.Error, BotoCoreError, ClientError, RelayAwayError, RelayError, SourceError,
)  # fmt: skip
"""What says that a relay, AWS or the old system cannot be asked, and nothing of what they would have said."""
_TIMEOUT_S = 5
_INDEX_FOLLOWS_S = 2.0
_REMEMBERED = 100_000
_PERCENTILE = 0.99
_INFINITE_S = 60.0
"""What stands for the last bucket's end, which has none."""


class Series(NamedTuple):
    """A relay's metrics at one moment."""

    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]

    @classmethod
    def read(cls, exposed: str) -> Series:
        """From what /metrics answers."""
        return cls({
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(exposed)
            for sample in family.samples
        })  # fmt: skip

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series that have these labels."""
        wanted = set(labels.items())
        return sum(value for (of, has), value in self.values.items() if of == name and wanted <= set(has))

    def since(self, before: Series | None) -> Series:
        """What was added since; a relay that began anew counts from nothing."""
        if before is None:
            return Series(dict.fromkeys(self.values, 0.0))
        return Series(
            {
                key: value - was if value >= (was := before.values.get(key, 0.0)) else value
                for key, value in self.values.items()
            }
        )

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """A histogram's cumulative buckets by their ends."""
        wanted = set(labels.items())
        found: dict[float, float] = {}
        for (of, has), value in self.values.items():
            if of == f"{name}_bucket" and wanted <= set(has):
                end = float(dict(has)["le"])
                found[end] = found.get(end, 0.0) + value
        return found


def percentile(buckets: dict[float, float], share: float = _PERCENTILE) -> float:
    """A percentile in seconds, by a straight line within its bucket as Prometheus reckons; 0 without any values."""
    ends = sorted(buckets)
    if not ends or not buckets[ends[-1]]:
        return 0.0
    rank = share * buckets[ends[-1]]
    begin, below = 0.0, 0.0
    for end in ends:
        if buckets[end] >= rank:
            top = _INFINITE_S if end == float("inf") else end
            return begin + (top - begin) * (rank - below) / (buckets[end] - below)
        begin, below = end, buckets[end]
    return begin


class Measuring:
    """What is needed to measure."""

    def __init__(self, plan: Plan, deployment: Deployment, sides: Sides | None) -> None:
        self._plan = plan
        self._table = Table(deployment, "operator")
        self._sqs = deployment.client("operator", "sqs")
        self._dead_letters_url = deployment.output("data", "dead_letters_url")
        self._sides = sides
        self._relays = Relays([relay.status for relay in plan.relays])
        self._before: dict[str, Series] = {}
        self._looked_until: datetime | None = None
        self._seen: dict[str, str] = {}
        """The newest version that was seen of each payment's state."""
        self._dead_letters_before = 0
        self._spools = [open_spool(load_settings(relay.settings).spool) for relay in plan.relays if relay.settings]
        self._not_there: set[str] = set()
        """Events that were acknowledged, and not there at the look before."""

    def dead_letters(self) -> int:
        """How many there are now."""
        told = self._sqs.get_queue_attributes(
            QueueUrl=self._dead_letters_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(told["Attributes"]["ApproximateNumberOfMessages"])

    def begin(self, dead_letters: int, since: datetime | None = None) -> None:
        """Dead letters that are there are no fault of the cut-over's; what came since a moment is looked at."""
        self._dead_letters_before = dead_letters
        self._looked_until = since

    def look(self) -> Numbers | None:
        """The numbers since the look before; None when they cannot be had, and then the next look makes up for it."""
        before, until = self._before, self._looked_until
        try:
            return self._look()
        except _OUT_OF_REACH as error:
            _log.warning("there are no numbers: %s: %s", type(error).__name__, error)
            self._before, self._looked_until = before, until
            return None

    def _look(self) -> Numbers:
        now = {relay.status: Series.read(_exposed(relay.status)) for relay in self._plan.relays}
        mark = self._relays.watermark()
        added = [series.since(self._before.get(status)) for status, series in now.items()]
        self._before = now
        until = min(mark.aws, mark.legacy)
        since, self._looked_until = self._looked_until or until, until
        items = self._came_in(since, until)
        checked = self._check(items)
        lost = self._lost(since, until)
        compared, differing = self._compare(items)
        histogram = "envmig_relay_delivery_seconds"
        return Numbers(
            events=int(sum(each.total("envmig_relay_answers_total", status="200") for each in added)),
            tries=int(sum(each.total("envmig_relay_tries_total", target="aws") for each in added)),
            failed=int(sum(
                each.total("envmig_relay_tries_total", target="aws", fate=fate)
                for each in added for fate in ("retry", "park")
            )),
            aws_p99_ms=max(percentile(each.buckets(histogram, target="aws")) for each in added) * 1000,
            legacy_p99_ms=max(percentile(each.buckets(histogram, target="legacy")) for each in added) * 1000,
            lag_s=max(each.total("envmig_relay_oldest_seconds", target="aws") for each in now.values()),
            dead_letters=max(0, self.dead_letters() - self._dead_letters_before),
            mismatches=int(sum(each.total("envmig_relay_mismatches_total") for each in added)),
            checked=checked.payments,
            compared=compared,
            differing=differing,
            lost=(*lost, *checked.lost),
            twice=tuple(checked.twice),
            backwards=tuple(checked.backwards),
        )  # fmt: skip

    def _came_in(self, since: datetime, until: datetime) -> list[Item]:
        """Events that were received in a span of time, as the index has them."""
        if until <= since:
            return []
        place = since.isoformat(timespec="milliseconds")
        items = []
        day = since
        while day.date() <= until.date():
            for provider in NAMES:
                after = place if day.date() == since.date() else ""
                for item in self._table.events_of_day(provider, day.strftime("%Y-%m-%d"), after):
                    if item["received_sort"]["S"] >= until.isoformat(timespec="milliseconds"):
                        break
                    items.append(item)
            day += timedelta(days=1)
        return items

    def _lost(self, since: datetime, until: datetime) -> list[str]:
        """Acknowledged events that are not there at two looks, with nothing that waits in the buffer in between."""
        acknowledged = {
            event
            for spool in self._spools
            for event in spool.acknowledged(milliseconds(since), milliseconds(until), AWS)[0]
        }
        missing = set(self._table.missing([*acknowledged, *self._not_there]))
        lost = self._not_there & missing
        if lost and not self._table.buffer_emptied(0):
            lost = set()
        self._not_there = missing - lost
        return sorted(lost)

    def _check(self, items: list[Item]) -> _Checked:
        """Hold a sample's events and states against each other; what is wrong counts when it stays so."""
        payments = dict.fromkeys(
            payment_key(item["provider"]["S"], item["account"]["S"], payment)
            for item in items if (payment := text(item, "payment"))
        )  # fmt: skip
        sample = list(payments)[-self._plan.sample :]
        checked = self._examine(sample)
        suspects = {*checked.twice, *checked.backwards, *checked.lost}
        if suspects:
            time.sleep(_INDEX_FOLLOWS_S)
            again = self._examine(suspects)
            checked = _Checked(
                checked.payments,
                [key for key in again.lost if key in checked.lost],
                [key for key in again.twice if key in checked.twice],
                [key for key in again.backwards if key in checked.backwards],
            )
        return checked

    def _examine(self, keys: Iterable[str]) -> _Checked:
        lost: list[str] = []
        twice: list[str] = []
        backwards: list[str] = []
        wanted = list(keys)
        states = {item["PK"]["S"]: read_state(item) for item in self._table.states(wanted)}
        for key in wanted:
            folded = fold(map(read_event, self._table.history(key)))
            state = states.get(key)
            if state is None or state.event_count < folded.event_count:
                lost.append(key)
            elif _counts_more(state, folded):
                twice.append(key)
            seen = self._seen.get(key, "")
            version = (state.version if state else None) or ""
            if version.encode() < max(seen.encode(), (folded.version or "").encode()) or (
                state and folded.status and state.version == folded.version and state.status != folded.status
            ):
                backwards.append(key)
            self._seen.pop(key, None)
            self._seen[key] = max(seen, version, key=str.encode)
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return _Checked(len(wanted), lost, twice, backwards)

    def _compare(self, items: list[Item]) -> tuple[int, int]:
        """How many payments of a sample were compared with the old system, and how many differ and stay so."""
        if self._sides is None:
            return 0, 0
        # Imported by those alone who compare: Arrow and Ibis come with it.
        from migration.reconcile.run import confirm  # noqa: PLC0415
        from migration.reconcile.sides import PAYMENT, Subject  # noqa: PLC0415

        keys: dict[Key, None] = dict.fromkeys(
            (item["provider"]["S"], item["account"]["S"], payment)
            for item in items if (payment := text(item, "payment"))
        )  # fmt: skip
        subjects = [Subject(PAYMENT, key) for key in list(keys)[-self._plan.sample :]]
        suspects = [each.subject for each in self._sides.differing(subjects)]
        confirmed, _ = confirm(self._sides, self._relays, suspects, self._plan.every_s) if suspects else ([], [])
        return len(subjects), len(confirmed)


class _Checked(NamedTuple):
    payments: int
    lost: list[str]
    twice: list[str]
    backwards: list[str]


def _counts_more(state: State, folded: State) -> bool:
    """Whether a state counts what its events do not tell."""
    return state.event_count > folded.event_count or any(
        folded.movements.get(name) != money for name, money in state.movements.items()
    )


def _exposed(address: str) -> str:
    with urllib.request.urlopen(f"{address.rstrip('/')}/metrics", timeout=_TIMEOUT_S) as answer:  # noqa: S310
        exposed: Any = answer.read().decode()
    return str(exposed)
