"""Repair: what was confirmed to differ is brought together by the paths that events take anyway, and checked after.

An event that AWS lacks goes through the drain, out of a relay's spool and with the verification that was recorded
when it came; one that the old system lacks is delivered to it once more. A state that is not what its events add
up to is folded anew. Whatever is left then is for a person to decide.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from adapters.envelope import encode
from adapters.items import partition_key, payment_key
from handlers import REPLAY
from migration.rebuild import Verdict
from migration.reconcile.compare import MISSING_IN_LEGACY
from migration.reconcile.sides import EVENT, PAYMENT, Subject
from migration.relay.spool import AWS, LEGACY
from payments.routing import parse_routing
from providers.verified import VerifiedDelivery, own_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from migration.deployment import Deployment
    from migration.rebuild import Finding
    from migration.reconcile.sides import Difference, Lacking
    from migration.relay.spool import Kept, Spool

_SETTLES_WITHIN_S = 30.0


class Step(NamedTuple):
    """One thing that is to be done, or was."""

    does: str
    subject: Subject
    spool: Spool | None = None
    request: int = 0

    def told(self) -> str:
        """For people."""
        where = f" (request {self.request} of a relay)" if self.request else ""
        return f"{self.does}: {self.subject.kind} {' '.join(self.subject.key)}{where}"


REPLAYS = "replay through the drain"
REDELIVERS = "deliver to legacy again"
REBUILDS = "fold the state anew"
LEAVES = "nothing can be done here"


class Looks(Protocol):
    """Both sides by key, as Sides has them."""

    def differing(self, subjects: Iterable[Subject]) -> list[Difference]:
        """Those of which the two do not say the same."""

    def lacking(self, events: Iterable[Subject]) -> list[Lacking]:
        """Which events one of them does not have."""


class Drains(Protocol):
    """Who stores a message as the drain does."""

    def replay(self, message: str) -> str:
        """What became of it."""


class Rebuilds(Protocol):
    """Who folds states anew, as Rebuild does."""

    def examine(self, key: str) -> Finding | None:
        """A state beside its events."""

    def repair(self, finding: Finding) -> Finding:
        """Write the fold."""


class DrainFunction:
    """The drain of a deployment, with the operator's rights."""

    def __init__(self, deployment: Deployment) -> None:
        self._lambda = deployment.client("operator", "lambda")
        self._name = deployment.output("compute", "drain_function_name")

    def replay(self, message: str) -> str:
        """Send one message through it."""
        record = {"messageId": "1", "body": message, "eventSource": REPLAY}
        answer = self._lambda.invoke(FunctionName=self._name, Payload=json.dumps({"Records": [record]}).encode())
        told = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            return f"the drain failed: {told.get('errorMessage', told)}"
        return str(told.get("reasons", {}).get(record["messageId"], "stored"))


class Repair:
    """What is needed to repair."""

    def __init__(
        self, drain: Drains, rebuild: Rebuilds, sides: Looks, spools: list[Spool], *, log: Path, who: str
    ) -> None:
        self._drain = drain
        self._rebuild = rebuild
        self._sides = sides
        self._spools = spools
        self._log = log
        self._who = who

    def plan(self, differences: list[Difference]) -> list[Step]:
        """What there is to do, each thing once; nothing is changed."""
        keys = {_key(each.subject): each for each in differences}
        found = [(spool, spool.requests_of(keys.keys())) for spool in self._spools]
        steps: dict[tuple[str, int, int], Step] = {}
        for key, difference in keys.items():
            mine = [(spool, request) for spool, of in found for request in of.get(key, ())]
            for step in self._steps(difference, mine):
                place = id(step.spool) if step.spool else hash(step.subject)
                steps.setdefault((step.does, place, step.request), step)
        return list(steps.values())

    def _steps(self, difference: Difference, mine: list[tuple[Spool, int]]) -> Iterator[Step]:
        subject = difference.subject
        if subject.kind == EVENT:
            does = REDELIVERS if difference.what == MISSING_IN_LEGACY else REPLAYS
            if not mine:
                yield Step(LEAVES, subject)
            for spool, request in mine[:1]:
                yield Step(does, subject, spool, request)
            return
        lacking = False
        for spool, request in mine:
            events = [Subject(EVENT, _parts(event)) for event in spool.events_of(request)]
            for missing in self._sides.lacking(events):
                lacking = True
                yield Step(REPLAYS if missing.on_aws else REDELIVERS, subject, spool, request)
        finding = self._rebuild.examine(payment_key(*subject.key))
        if finding and finding.verdict is Verdict.WRONG:
            lacking = True
            yield Step(REBUILDS, subject)
        if not lacking:
            yield Step(LEAVES, subject)

    def apply(self, steps: list[Step]) -> Iterator[tuple[Step, str]]:
        """Do what was planned, log it, and say what became of each."""
        for step in sorted(steps, key=lambda step: step.does == REBUILDS):
            became = self._apply(step)
            self._note(step, became)
            yield step, became

    def _apply(self, step: Step) -> str:
        if step.does == REBUILDS:
            finding = self._rebuild.examine(payment_key(*step.subject.key))
            if finding is None or finding.verdict is not Verdict.WRONG:
                return "right by now"
            return str(self._rebuild.repair(finding).verdict)
        if step.spool is None:
            return "left to a person"
        if step.does == REDELIVERS:
            asked = step.spool.redeliver(LEGACY, step.request).result()
            return "handed to the relay" if asked else "no longer in the spool"
        kept = step.spool.one(step.request, AWS)
        return self._replay(kept) if kept else "no longer in the spool"

    def _replay(self, kept: Kept) -> str:
        received_at = datetime.fromtimestamp(kept.received_ms / 1000, UTC)
        verified = VerifiedDelivery(
            provider=kept.provider,
            headers=own_headers(kept.headers),
            body=kept.body,
            received_at=received_at,
            routing=parse_routing(kept.routing),
            trace=kept.trace,
            verified_at=received_at,
            signatures=kept.signatures,
        )
        return self._drain.replay(encode(verified))

    def check(self, differences: list[Difference]) -> list[Difference]:
        """What still differs, once what was done has had the time to take effect."""
        deadline = time.monotonic() + _SETTLES_WITHIN_S
        while True:
            left = self._sides.differing(each.subject for each in differences)
            if not left or time.monotonic() > deadline:
                for each in differences:
                    self._note_check(each, still=any(one.subject == each.subject for one in left))
                return left
            time.sleep(1)

    def _note(self, step: Step, became: str) -> None:
        self._write({"did": step.does, "kind": step.subject.kind, "key": list(step.subject.key),
                     "request": step.request or None, "became": became})  # fmt: skip

    def _note_check(self, difference: Difference, *, still: bool) -> None:
        self._write({"checked": difference.told(), "still_differs": still})

    def _write(self, what: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._log.open("a") as log:
            log.write(json.dumps({"at": at, "who": self._who, **what}) + "\n")


def _key(subject: Subject) -> str:
    return payment_key(*subject.key) if subject.kind == PAYMENT else partition_key("EVT", *subject.key)


def _parts(event: str) -> tuple[str, str, str]:
    provider, account, identity = (part.replace("%23", "#").replace("%25", "%") for part in event.split("#")[1:])
    return provider, account, identity
