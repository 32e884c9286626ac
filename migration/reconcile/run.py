"""One reconciliation: extract, compare, look again, and say what is confirmed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from migration.legacy.source import SourceError
from migration.reconcile import aws, legacy
from migration.reconcile.compare import differences, open_engine, payments_on_aws, totals
from migration.reconcile.rows import EVENT_KEY, NEVER_MOVED, PAYMENT_KEY, Compared
from migration.reconcile.sides import EVENT, PAYMENT, Difference, Sides, Subject
from migration.watermark import RelayAwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from migration.backfill import Marks
    from migration.deployment import Deployment
    from migration.legacy.source import Source
    from migration.reconcile.compare import Engine

_MOST_LOOKED_AT = 100_000
_AFTER_SWITCH = timedelta(seconds=10)
"""What the old system took so soon after AWS began to get everything may have been received before that."""


class TooManyError(Exception):
    """The sides differ so much that a second look by key makes no sense."""


@dataclass
class Result:
    """What was found."""

    began: datetime
    ended: datetime
    rows: dict[str, int]
    """How many rows each side has."""
    seconds: dict[str, float]
    """How long each step took."""
    totals: dict[str, list[dict[str, Any]]]
    """Payments and sums in minor units by currency, of each side, as they were read."""
    suspects: int
    confirmed: list[Difference] = field(default_factory=list)
    unsettled: list[Subject] = field(default_factory=list)
    """What was still being delivered when the time was over."""

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "began": self.began.isoformat(timespec="milliseconds"),
            "ended": self.ended.isoformat(timespec="milliseconds"),
            "rows": self.rows,
            "seconds": {name: round(took, 3) for name, took in self.seconds.items()},
            "totals": self.totals,
            "suspects": self.suspects,
            "confirmed": [each.told() for each in self.confirmed],
            "unsettled": [[each.kind, *each.key] for each in self.unsettled],
        }


class Reconciliation:
    """The two systems, and where one works with their rows."""

    def __init__(
        self, deployment: Deployment, source: Source, marks: Marks, work: Path, *, engine: str = "duckdb",
        segments: int = 4, exported: Path | None = None,
    ) -> None:  # fmt: skip
        mapping = source.mapping.payments
        self.compared = Compared(source.mapping.measures, mapping.compare_times, mapping.precision_ms)
        self.sides = Sides(deployment, source, self.compared)
        self.deployment = deployment
        self._source = source
        self._marks = marks
        self._work = work
        self._engine = engine
        self._segments = segments
        self._exported = exported

    def run(self, progress: Callable[[str, int], object], within_s: float) -> Result:
        """Compare everything, and look again at what differs until it is settled or the time is over."""
        self._work.mkdir(parents=True, exist_ok=True)
        began, seconds = datetime.now(UTC), {}
        clock = time.monotonic()
        rows, problems = legacy.extract(
            self._source, self.compared, self._work / "legacy", lambda n: progress("legacy", n)
        )
        if problems.counts:
            raise SourceError("; ".join(problems.told()))
        seconds["extract legacy"], clock = time.monotonic() - clock, time.monotonic()
        folder = self._work / "aws"
        if self._exported:
            aws.export(self._exported, folder, lambda n: progress("aws", n))
        else:
            aws.scan(self.deployment, folder, self._segments, lambda n: progress("aws", n))
        engine = open_engine(self._engine, self._work)
        self._add_up(engine, folder)
        seconds["extract aws"], clock = time.monotonic() - clock, time.monotonic()
        suspects, sums, counts = self._compare(engine)
        seconds["compare"], clock = time.monotonic() - clock, time.monotonic()
        result = Result(began, began, {"legacy": rows, **counts}, seconds, sums, len(suspects))
        result.confirmed, result.unsettled = confirm(self.sides, self._marks, suspects, within_s)
        seconds["look again"] = time.monotonic() - clock
        result.ended = datetime.now(UTC)
        return result

    def _add_up(self, engine: Engine, folder: Path) -> None:
        """AWS's side from its parts; kept, so that it can be compared again without being added up again."""
        parts = {name: engine.read(folder / f"{name}.parquet") for name in aws.PARTS}
        payments = payments_on_aws(parts, self.compared.measures, self.compared.precision_ms, NEVER_MOVED)
        payments.to_parquet(folder / "payments.parquet")

    def _compare(self, engine: Engine) -> tuple[list[Subject], dict[str, list[dict[str, Any]]], dict[str, int]]:
        sides = {name: engine.read(self._work / name / "payments.parquet") for name in ("legacy", "aws")}
        found = differences(engine, sides["legacy"], sides["aws"], PAYMENT_KEY, self.compared.fields)
        suspects = self._fetched(found, PAYMENT, ("provider", "account", "payment"))
        if self._source.mapping.events:
            suspects += self._events(engine)
        sums = {name: totals(side, self.compared.measures).to_pyarrow().to_pylist() for name, side in sides.items()}
        return suspects, sums, {"aws": int(sides["aws"].count().to_pyarrow().as_py())}

    def _events(self, engine: Engine) -> list[Subject]:
        """Events that one side has and the other lacks, of those received since AWS gets everything."""
        ours = engine.read(self._work / "aws" / "events.parquet")
        theirs = engine.read(self._work / "legacy" / "events.parquet")
        since = self._marks.watermark().to_aws_since
        missing = theirs.anti_join(ours, [*EVENT_KEY])
        if since and self._source.mapping.events and self._source.mapping.events.taken_at:
            first_ms = int((since + _AFTER_SWITCH).timestamp() * 1000)
            missing = missing.filter(missing.taken_ms >= first_ms)
        lacking = ours.anti_join(theirs, [*EVENT_KEY])
        return [subject for found in (missing, lacking) for subject in self._fetched(found, EVENT, EVENT_KEY)]

    @staticmethod
    def _fetched(found: Any, kind: str, names: tuple[str, ...]) -> list[Subject]:
        rows = found.select(*names).distinct().limit(_MOST_LOOKED_AT + 1).to_pyarrow().to_pylist()
        if len(rows) > _MOST_LOOKED_AT:
            raise TooManyError(
                f"over {_MOST_LOOKED_AT} {kind}s differ: is this the right database, was it backfilled "
                "(envmig backfill), and does the mapping say what its columns are?"
            )
        return [Subject(kind, (row[names[0]], row[names[1]], row[names[2]])) for row in rows]


class Settles(Protocol):
    """Both sides by key, as Sides has them."""

    def differing(self, subjects: Iterable[Subject]) -> list[Difference]:
        """Those of which the two do not say the same."""

    def buffer_emptied(self, within_s: float) -> bool:
        """Whether nothing waits on AWS."""


def confirm(
    sides: Settles, marks: Marks, suspects: list[Subject], within_s: float
) -> tuple[list[Difference], list[Subject]]:
    """Look again at what differs: the differences that are confirmed, and what did not settle in time.

    Both sides are read, then one waits until everything that was received up to that reading has been delivered to
    both, and they are read again. What differs twice and has not moved in between is not under way: it is confirmed.
    """
    deadline = time.monotonic() + within_s
    confirmed: list[Difference] = []
    before: dict[Subject, Difference] = {each.subject: each for each in sides.differing(suspects)}
    while before:
        read_at = marks.watermark().now
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return confirmed, list(before)
        try:
            marks.wait(read_at, left_s, both=True)
        except RelayAwayError:
            return confirmed, list(before)
        if not sides.buffer_emptied(deadline - time.monotonic()):
            return confirmed, list(before)
        now = {each.subject: each for each in sides.differing(before)}
        settled = [each for each in now.values() if each == before[each.subject]]
        confirmed += settled
        before = {subject: each for subject, each in now.items() if each not in settled}
    return confirmed, []
