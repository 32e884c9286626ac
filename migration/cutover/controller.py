"""The controller: looks, decides, writes the decision down, and only then acts on it."""

from __future__ import annotations

import getpass
import logging
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from migration.cutover import journal as lines
from migration.cutover.gates import Action, Position, decide, soft_failures
from migration.cutover.journal import Journal, Past, told
from migration.relay.errors import RelayError
from migration.relay.settings import load as load_settings
from migration.relay.spool import open_spool
from payments.routing import Mode, Routing

if TYPE_CHECKING:
    from collections.abc import Callable

    from migration.cutover.gates import Decision, Numbers
    from migration.cutover.plan import Plan, RelayOf, Step
    from migration.figures import Figures

_log = logging.getLogger("envmig.cutover")

_CONTROL_EVERY_S = 0.5
_COMMAND_WITHIN_S = 60
_ALL = 100
_GOES_BACK_TRIES = 30


class CutoverError(Exception):
    """The cut-over cannot go on; the message says why and what to do."""


class Measures(Protocol):
    """What gives the numbers."""

    def dead_letters(self) -> int:
        """How many there are."""

    def begin(self, dead_letters: int, since: datetime | None = None) -> None:
        """How many there were at the beginning, and since when nobody has looked."""

    def look(self) -> Numbers | None:
        """The numbers since the look before."""


class Routings:
    """Changing how all relays route."""

    def __init__(self, relays: tuple[RelayOf, ...]) -> None:
        self._relays = relays

    def set(self, mode: Mode, percent: float, who: str, why: str) -> None:
        """Change those that route otherwise, or raise CutoverError; what was changed before that stays so."""
        for relay in self._relays:
            try:
                self._set(relay, mode, percent, who, why)
            except (RelayError, OSError, subprocess.SubprocessError) as error:
                raise CutoverError(
                    f"the relay {relay.status} could not be changed to {mode}: {error}. Change it by hand "
                    "(envmig relay mode), for the relays may route differently now"
                ) from error

    @staticmethod
    def _set(relay: RelayOf, mode: Mode, percent: float, who: str, why: str) -> None:
        if relay.settings is None:
            values = {"mode": mode, "percent": f"{percent:g}", "who": who, "why": why}
            words = [word.format(**values) for word in relay.command]
            if mode is not Mode.CANARY and "--percent" in words:
                place = words.index("--percent")
                del words[place : place + 2]
            subprocess.run(words, check=True, timeout=_COMMAND_WITHIN_S)
            return
        settings = load_settings(relay.settings)
        spool = open_spool(settings.spool)
        try:
            wanted = Routing(mode, round(percent * 100) if mode is Mode.CANARY else 0, settings.salt, 0)
            now = spool.routing()
            if now is None or now._replace(epoch=0) != wanted:
                spool.route(wanted.mode, wanted.hundredths, wanted.salt, who, why).result()
        finally:
            spool.close()


def routing_of(step: Step) -> tuple[Mode, float]:
    """The relays' mode at a step."""
    if step.percent <= 0:
        return Mode.PARALLEL, 0.0
    return (Mode.AWS, 0.0) if step.percent >= _ALL else (Mode.CANARY, step.percent)


class Controller:
    """One run of a plan."""

    def __init__(
        self, plan: Plan, measures: Measures, routings: Routings, figures: Figures | None = None,
        *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._measures = measures
        self._routings = routings
        self._figures = figures
        self._clock = clock
        self._sleep = sleep
        self._journal = Journal(plan.journal)
        self._who = f"cutover ({getpass.getuser()})"

    def run(self, tell: Callable[[str], object], *, again: bool = False) -> str:
        """Go through the steps; how it ended: finished, rolled back or aborted.

        Raises
        ------
        CutoverError
            It ended before, or a relay cannot be changed.
        """
        past = Past(self._journal.fresh())
        if past.position is None or (past.ended and again):
            position = self._begin()
        elif past.ended:
            raise CutoverError(
                f"the journal {self._plan.journal} says that this cut-over has ended ({past.ended}): "
                "begin anew with --again, once the reason is gone"
            )
        else:
            position = past.position._replace(paused=past.paused)
            # What came while no controller ran is looked at by the first look.
            self._measures.begin(past.dead_letters or 0, position.data_at)
            tell(f"going on at {self._plan.steps[position.step].percent:g} %, since {position.since.isoformat()}")
        self._route(position, "the cut-over goes on" if past.position else "the cut-over begins")
        while True:
            asked = self._asked(position)
            if asked is None:
                return self._end("aborted", "somebody asked for it", tell)
            position = asked
            numbers = self._measures.look()
            decision = decide(self._plan, position, numbers, self._clock())
            self._note(decision, numbers)
            position = decision.position
            tell(f"{self._plan.steps[position.step].percent:g} %: {decision.action}: {decision.why}")
            if decision.action is Action.ROLL_BACK:
                return self._end("rolled back", decision.why, tell)
            if decision.action is Action.FINISH:
                return self._end("finished", decision.why, tell)
            if decision.action is Action.ADVANCE:
                self._route(position, decision.why)
            stopped = self._wait(position)
            if stopped is None:
                return self._end("aborted", "somebody asked for it", tell)
            position = stopped

    def _begin(self) -> Position:
        now = self._clock()
        position = Position(step=0, since=now, events=0, failures=0, data_at=now)
        dead_letters = self._measures.dead_letters()
        self._measures.begin(dead_letters)
        shares = [step.percent for step in self._plan.steps]
        self._journal.write(
            lines.BEGAN, position=told(position), dead_letters=dead_letters, who=self._who, steps=shares
        )
        return position

    def _wait(self, position: Position) -> Position | None:
        """Wait for the next look, with an ear for what is asked; None when it is to end."""
        until = self._clock().timestamp() + self._plan.every_s
        while (left := until - self._clock().timestamp()) > 0:
            self._sleep(min(_CONTROL_EVERY_S, left))
            asked = self._asked(position)
            if asked is None:
                return None
            position = asked
        return position

    def _asked(self, position: Position) -> Position | None:
        for line in self._journal.fresh():
            if line["what"] == lines.ASKED:
                if line["asked"] == lines.ABORT:
                    return None
                position = position._replace(paused=line["asked"] == lines.PAUSE)
        return position

    def _route(self, position: Position, why: str) -> None:
        step = self._plan.steps[position.step]
        mode, percent = routing_of(step)
        self._routings.set(mode, percent, self._who, why)
        self._put({"AwsShare": step.percent})

    def _note(self, decision: Decision, numbers: Numbers | None) -> None:
        self._journal.write(
            lines.LOOKED,
            action=decision.action,
            why=decision.why,
            percent=self._plan.steps[decision.position.step].percent,
            numbers=numbers._asdict() if numbers else None,
            position=told(decision.position),
        )
        if numbers:
            failures = len(soft_failures(self._plan.gates, numbers)) if numbers.events else 0
            self._put({"CutoverFailures": failures})

    def _end(self, how: str, why: str, tell: Callable[[str], object]) -> str:
        if how != "finished":
            # Before it is written down: what goes back must not wait for a disk.
            self._go_back(f"{how}: {why}", tell)
            self._put({"RolledBack": 1, "AwsShare": 0})
        self._journal.write(lines.ENDED, how=how, why=why)
        tell(f"{how}: {why}")
        return how

    def _go_back(self, why: str, tell: Callable[[str], object]) -> None:
        """Set the relays to parallel, again and again: a spool that is locked for a moment must not keep it."""
        for left in reversed(range(_GOES_BACK_TRIES)):
            try:
                self._routings.set(Mode.PARALLEL, 0, self._who, why)
            except CutoverError as error:
                tell(str(error))
                if not left:
                    raise
                self._sleep(1)
            else:
                return

    def _put(self, values: dict[str, float]) -> None:
        if self._figures:
            self._figures.put(values)


def ask(plan: Plan, what: str, why: str) -> None:
    """Ask the controller for something; an abort does not need one that runs."""
    journal = Journal(plan.journal)
    who = getpass.getuser()
    if what == lines.ABORT:
        Routings(plan.relays).set(Mode.PARALLEL, 0, who, f"aborted: {why or 'by hand'}")
    journal.write(lines.ASKED, asked=what, who=who, why=why)


def status(plan: Plan) -> dict[str, Any]:
    """Where a cut-over is, and what was decided last."""
    written = Journal(plan.journal).lines()
    past = Past(written)
    looks = [line for line in written if line["what"] == lines.LOOKED]
    if past.position is None:
        return {"state": "not begun"}
    return {
        "state": past.ended or ("paused" if past.paused else "running"),
        "percent": plan.steps[past.position.step].percent,
        "since": past.position.since.isoformat(timespec="seconds"),
        "events": past.position.events,
        "failures_in_a_row": past.position.failures,
        "last_look": looks[-1] if looks else None,
    }
