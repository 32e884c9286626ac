"""Backfill: what the old database knows of its payments becomes opening items, while traffic goes on.

A page is read as of a moment, and the relays say beforehand up to when the old system has taken everything in:
that is the as-of point. A payment that was touched between that point and the reading may be in its row or not; when
all pages are written, those payments are read again, with a newer point, until none was touched meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import tenacity
from botocore.exceptions import ClientError

from adapters.items import text
from migration.legacy.source import PaymentKey, UnreadableRowError
from migration.lookup import Table
from migration.opening import Opening, milliseconds
from providers import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from migration.deployment import Deployment
    from migration.legacy.source import OldPayment, Source
    from migration.watermark import Watermark

_PAGE = 500
_IN_TRANSACTION = 100
"""TransactWriteItems' own limit."""
_EXAMPLES = 5
_ROUNDS = 40
_SKEW = timedelta(seconds=5)
"""How far the old database's clock may be from the relays'."""
_AWS_WITHIN_S = 120.0
_INDEX_FOLLOWS_S = 2.0
"""At most a second or so."""
_SLOWEST_PER_S = 10.0
_FASTER = 1.1
_SLOWER = 0.5

_THROTTLED = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"})
_REFUSALS = frozenset({
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException",
    "TransactionInProgressException", "InternalServerError", "ServiceUnavailable",
})  # fmt: skip


class BackfillError(Exception):
    """The backfill cannot go on; the message says why and what to do."""


class Progress(Protocol):
    """Who is told how many rows more were done."""

    def __call__(self, rows: int) -> object:
        """So many."""


class Marks(Protocol):
    """What says how far the relays have come."""

    def watermark(self) -> Watermark:
        """As it is now."""

    def wait(self, until: datetime, within_s: float, *, both: bool = False) -> Watermark:
        """When AWS has everything received before a moment."""


class Problems:
    """What is wrong with rows: how many have each problem, and some of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, problem: str, example: str, count: int = 1) -> None:
        """Count rows that have a problem."""
        self.counts[problem] += count
        shown = self.examples.setdefault(problem, [])
        if len(shown) < _EXAMPLES:
            shown.append(example)

    def told(self) -> list[str]:
        """For people."""
        return [
            f"{count} rows: {problem}; such as {', '.join(self.examples[problem])}"
            for problem, count in self.counts.most_common()
        ]


@dataclass
class Summary:
    """What the old database has, or what of it was written."""

    payments: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    sums: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Minor units by measure and currency."""
    began: datetime | None = None
    ended: datetime | None = None

    def add(self, payment: OldPayment) -> None:
        """Count a payment."""
        self.payments += 1
        self.by_status[payment.status] += 1
        for measure, amount in payment.sums.items():
            self.sums[measure, payment.currency] += amount
        self.began = min(self.began or payment.changed_at, payment.changed_at)
        self.ended = max(self.ended or payment.changed_at, payment.changed_at)


class Written(NamedTuple):
    """What became of openings."""

    written: int = 0
    newer_there: int = 0
    """An opening of the same or a newer as-of point is there already."""

    def __add__(self, other: tuple[int, ...]) -> Written:  # type: ignore[override] # they add up, not together
        return Written(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Checkpoint:
    """How far a run has come, in a file that is replaced whole."""

    def __init__(self, file: Path, digest: str) -> None:
        self._file = file
        self._digest = digest
        self.after: list[Any] | None = None
        self.since: datetime | None = None
        """The first page's as-of point: what was touched later is read again at the end."""
        self.done = Written()
        self.skipped = 0
        self.paged = False
        """Whether all pages are written."""

    def load(self) -> bool:
        """Go on from the file; whether there was a run to go on with."""
        try:
            told = json.loads(self._file.read_text())
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise BackfillError(
                f"the checkpoint {self._file} cannot be read: {error}; delete it to begin anew"
            ) from error
        if told["mapping"] != self._digest:
            raise BackfillError(
                f"the checkpoint {self._file} is of another mapping: delete it to begin anew, or name another "
                "with --checkpoint"
            )
        if told["complete"]:
            return False
        self.after, self.paged, self.skipped = told["after"], told["paged"], told["skipped"]
        self.since = datetime.fromisoformat(told["since"]) if told["since"] else None
        self.done = Written(*told["done"])
        return True

    def save(self, *, complete: bool = False) -> None:
        """Replace the file, in one step that a kill cannot halve."""
        told = {
            "mapping": self._digest,
            "after": self.after,
            "since": self.since.isoformat() if self.since else None,
            "done": list(self.done),
            "skipped": self.skipped,
            "paged": self.paged,
            "complete": complete,
        }
        beside = self._file.with_name(f"{self._file.name}.new")
        with beside.open("w") as opened:
            json.dump(told, opened)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(self._file)


class Pace:
    """How fast to write: faster while the table takes it, half as fast when it does not."""

    def __init__(self, most_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s = most_per_s
        self._most = most_per_s
        self._clock = clock
        self._next = clock()

    def wait_s(self, rows: int) -> float:
        """How long to wait before so many rows are written."""
        now = self._clock()
        wait = max(0.0, self._next - now)
        self._next = max(now, self._next) + rows / self.per_s
        return wait

    def taken(self) -> None:
        """The table took it."""
        self.per_s = min(self._most, self.per_s * _FASTER)

    def throttled(self) -> None:
        """It did not."""
        self.per_s = max(_SLOWEST_PER_S, self.per_s * _SLOWER)


class Openings:
    """Writing openings with the operator's rights, each on the condition that no newer one is there."""

    def __init__(self, deployment: Deployment, pace: Pace) -> None:
        self._client = deployment.client("operator", "dynamodb")
        self._name = deployment.output("data", "table_name")
        self._pace = pace

    def write(self, openings: Sequence[Opening]) -> Written:
        """Write all of them that are newer than what is there."""
        done = Written()
        for start in range(0, len(openings), _IN_TRANSACTION):
            done += self._some(list(openings[start : start + _IN_TRANSACTION]))
        return done

    def _some(self, openings: list[Opening]) -> Written:
        left, newer = openings, 0
        waiting = tenacity.wait_random_exponential(multiplier=0.1, max=20)
        for tries in range(1, 1000):
            if not left:
                return Written(0, newer)
            time.sleep(self._pace.wait_s(len(left)))
            try:
                self._client.transact_write_items(TransactItems=[self._put(opening) for opening in left])
            except ClientError as error:
                reasons = error.response.get("CancellationReasons", [])
                failed = {n for n, reason in enumerate(reasons) if reason.get("Code") == "ConditionalCheckFailed"}
                if failed:
                    # One refusal cancels all: again without those that are there already.
                    newer += len(failed)
                    left = [opening for n, opening in enumerate(left) if n not in failed]
                    continue
                throttled = any(reason.get("Code") in _THROTTLED for reason in reasons)
                if not throttled and error.response["Error"]["Code"] not in _REFUSALS:
                    raise
                self._pace.throttled()
                state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
                state.attempt_number = min(tries, 12)
                time.sleep(waiting(state))
                continue
            self._pace.taken()
            return Written(len(left), newer)
        raise BackfillError("the table has refused the same openings a thousand times: see why, then run this again")

    def _put(self, opening: Opening) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._name,
                "Item": opening.item(),
                # What the old database says now counts more than what it said before, and never less.
                "ConditionExpression": "attribute_not_exists(PK) OR as_of_ms < :as_of",
                "ExpressionAttributeValues": {":as_of": {"N": str(milliseconds(opening.as_of))}},
            }
        }


class Backfill:
    """One run."""

    def __init__(self, source: Source, marks: Marks, page: int = _PAGE) -> None:
        self._source = source
        self._marks = marks
        self._page = page

    def check(self, progress: Progress) -> tuple[Summary, Problems]:
        """Read everything and write nothing: what there is, and what of it cannot be taken."""
        summary, problems = Summary(), Problems()
        count, some = self._source.duplicates(_EXAMPLES)
        for example in some:
            problems.add("several rows have the same key", example, 0)
        if count:
            problems.counts["several rows have the same key"] = count
        for rows in self._source.stream(2000):
            for row in rows:
                try:
                    payment = self._source.read(row)
                except UnreadableRowError as error:
                    problems.add(error.problem, f"{row['payment']!r} ({error})")
                    continue
                if payment.provider not in NAMES:
                    problems.add(f"there is no provider {payment.provider!r}", payment.payment)
                    continue
                summary.add(payment)
            progress(len(rows))
        return summary, problems

    def run(self, deployment: Deployment, pace: Pace, checkpoint: Checkpoint, progress: Progress) -> list[PaymentKey]:
        """Write the pages, then those again that were touched meanwhile; what is still being touched at the end."""
        openings, since = self.pages(deployment, pace, checkpoint, progress)
        left = self._settle(openings, Table(deployment, "operator"), checkpoint, since)
        checkpoint.save(complete=not left)
        return left

    def pages(
        self, deployment: Deployment, pace: Pace, checkpoint: Checkpoint, progress: Progress
    ) -> tuple[Openings, datetime]:
        """Write the pages alone; who wrote them, and since when AWS gets everything."""
        openings = Openings(deployment, pace)
        since = self._since()
        while not checkpoint.paged:
            mark = self._marks.watermark()
            page = self._source.page(checkpoint.after, self._page)
            checkpoint.since = checkpoint.since or mark.legacy
            payments = [self._source.read(row) for row in page.rows]
            old = [each for each in payments if not _all_events_there(each, since)]
            checkpoint.done += openings.write([opening_of(payment, mark.legacy) for payment in old])
            checkpoint.skipped += len(payments) - len(old)
            checkpoint.after = page.last
            checkpoint.paged = len(page.rows) < self._page
            checkpoint.save()
            progress(len(page.rows))
        return openings, since

    def _since(self) -> datetime:
        """Since when AWS gets everything; the as-of points have to be later, so that nothing falls between."""
        mark = self._marks.watermark()
        if mark.to_aws_since is None:
            raise BackfillError(
                "the relay delivers to the old system alone: what comes in while its database is read would be "
                "missing on AWS. First: envmig relay mode parallel"
            )
        deadline = time.monotonic() + _AWS_WITHIN_S
        while mark.legacy < mark.to_aws_since:
            if time.monotonic() > deadline:
                raise BackfillError(
                    f"the old system has not yet taken what was received before {mark.to_aws_since.isoformat()}, "
                    "when AWS began to get everything: see the relay's status page, then run this again"
                )
            time.sleep(0.5)
            mark = self._marks.watermark()
        return mark.to_aws_since or mark.now

    def _settle(self, openings: Openings, table: Table, checkpoint: Checkpoint, since: datetime) -> list[PaymentKey]:
        """Read again what was touched while it was read, until nothing was."""
        began = checkpoint.since or self._marks.watermark().legacy
        wanted: set[PaymentKey] | None = None
        for _ in range(_ROUNDS):
            read_at = self._marks.watermark().now
            self._marks.wait(read_at, _AWS_WITHIN_S)
            # A relay takes what waits in the buffer for delivered, and an index follows its table.
            if not table.buffer_emptied(_AWS_WITHIN_S):
                raise BackfillError("events wait in the buffer: see docs/runbooks/buffer-age.md, then run this again")
            time.sleep(_INDEX_FOLLOWS_S)
            touched = set(_touched(table, began, read_at))
            wanted = touched if wanted is None else wanted & touched
            if not wanted:
                return []
            mark = self._marks.wait(read_at, _AWS_WITHIN_S, both=True)
            began = mark.legacy
            payments = [each for each in self._source.payments(wanted) if not _all_events_there(each, since)]
            checkpoint.done += openings.write([opening_of(payment, mark.legacy) for payment in payments])
            wanted = {payment.key for payment in payments}
        return sorted(wanted or ())


def _touched(table: Table, since: datetime, until: datetime) -> Iterator[PaymentKey]:
    """The payments of which something was received in a span of time."""
    first = since - timedelta(milliseconds=1)
    last = until.isoformat(timespec="milliseconds")
    for provider in NAMES:
        day = first
        while day.date() <= until.date():
            for item in table.events_of_day(provider, day.strftime("%Y-%m-%d"), _place(first, day)):
                if item["received_sort"]["S"] > f"{last}#\U0010ffff":
                    break
                if payment := text(item, "payment"):
                    yield provider, item["account"]["S"], payment
            day += timedelta(days=1)


def _place(first: datetime, day: datetime) -> str:
    return first.isoformat(timespec="milliseconds") if day.date() == first.date() else ""


def _all_events_there(payment: OldPayment, since: datetime) -> bool:
    """Whether AWS has every event of a payment from its beginning, so that there is nothing to open with."""
    return payment.created_at is not None and payment.created_at > since + _SKEW


def opening_of(payment: OldPayment, as_of: datetime) -> Opening:
    """A payment's opening, as of when the old system had taken all that was received before a moment."""
    return Opening(
        payment.provider,
        payment.account,
        payment.payment,
        payment.status,
        payment.changed_at,
        as_of,
        {(measure, payment.currency): amount for measure, amount in payment.sums.items() if amount},
    )
