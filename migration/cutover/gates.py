"""Whether to go on, stay, or go back: a decision of the numbers alone. Reads no clock and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from migration.cutover.plan import Gates, Plan


class Numbers(NamedTuple):
    """What was measured since the look before, over all relays."""

    events: int
    """Acknowledged."""
    tries: int
    """Tries to deliver to AWS."""
    failed: int
    aws_p99_ms: float
    legacy_p99_ms: float
    lag_s: float
    dead_letters: int
    """As many as there are more than at the beginning."""
    mismatches: int
    """Requests that one side took and the other never will."""
    checked: int
    """Payments whose states were held against their events."""
    compared: int
    """Payments that were compared with the old system."""
    differing: int
    lost: tuple[str, ...] = ()
    """Events that were acknowledged and delivered, and are not there."""
    twice: tuple[str, ...] = ()
    """Payments that count more than their events tell."""
    backwards: tuple[str, ...] = ()
    """Payments whose state is behind what it was, or behind its events."""


class Action(StrEnum):
    """What to do."""

    STAY = "stay"
    ADVANCE = "advance"
    ROLL_BACK = "roll back"
    FINISH = "finish"


class Position(NamedTuple):
    """Where a cut-over is."""

    step: int
    since: datetime
    events: int
    """Acknowledged since then."""
    failures: int
    """Looks in a row at which a gate did not hold."""
    data_at: datetime
    """When there were last numbers with traffic in them."""
    paused: bool = False


class Decision(NamedTuple):
    """What to do and why, and where that leads."""

    action: Action
    why: str
    position: Position


def decide(plan: Plan, position: Position, numbers: Numbers | None, now: datetime) -> Decision:
    """Decide; None stands for numbers that could not be had.

    The order is that of the harm: what is lost or wrong goes back at once, then what fails again and again, then the
    want of data. Only then may it go on, and while it is paused it may not: the gates stay armed.
    """
    if numbers is not None and (hard := _hard(numbers)):
        return Decision(Action.ROLL_BACK, hard, position)
    if numbers is None or not numbers.events:
        silent = now - position.data_at
        if silent > timedelta(minutes=plan.no_data_minutes):
            return Decision(Action.ROLL_BACK, f"no data for {plan.no_data_minutes:g} minutes", position)
        return Decision(Action.STAY, "no data" if numbers is None else "no traffic", position)
    position = position._replace(events=position.events + numbers.events, data_at=now)
    if soft := soft_failures(plan.gates, numbers):
        position = position._replace(failures=position.failures + 1)
        told = f"{'; '.join(soft)} ({position.failures} of {plan.gates.failures} in a row)"
        if position.failures >= plan.gates.failures:
            return Decision(Action.ROLL_BACK, told, position)
        return Decision(Action.STAY, told, position)
    position = position._replace(failures=0)
    if position.paused:
        return Decision(Action.STAY, "paused", position)
    return _onward(plan, position, now)


def _onward(plan: Plan, position: Position, now: datetime) -> Decision:
    step = plan.steps[position.step]
    left = position.since + timedelta(minutes=step.least_minutes) - now
    if left > timedelta():
        return Decision(Action.STAY, f"all gates hold; {left.total_seconds():.0f} s are left of this step", position)
    if position.events < step.least_events:
        missing = step.least_events - position.events
        return Decision(Action.STAY, f"all gates hold; {missing} events are missing of this step's least", position)
    if position.step + 1 == len(plan.steps):
        return Decision(Action.FINISH, "all gates hold at the last step", position)
    onward = Position(position.step + 1, now, 0, 0, now)
    return Decision(Action.ADVANCE, f"all gates hold, on to {plan.steps[onward.step].percent:g} %", onward)


def _hard(numbers: Numbers) -> str:
    for found, says in (
        (numbers.lost, "acknowledged and lost"),
        (numbers.twice, "applied twice"),
        (numbers.backwards, "moved backwards"),
    ):
        if found:
            return f"{says}: {len(found)}, such as {found[0]}"
    return ""


class Reading(NamedTuple):
    """One gate: what was measured, and what it may be."""

    name: str
    measured: str
    limit: str
    holds: bool


def gate_readings(gates: Gates, numbers: Numbers) -> list[Reading]:
    """All gates, the hard ones first."""
    errors = numbers.failed / numbers.tries if numbers.tries else 0.0
    slowest = max(gates.p99_floor_ms, gates.p99_ratio * numbers.legacy_p99_ms)
    requests = numbers.mismatches / numbers.events if numbers.events else 0.0
    payments = numbers.differing / numbers.compared if numbers.compared else 0.0
    mismatches = max(requests, payments)
    hard = [("lost", numbers.lost), ("applied twice", numbers.twice), ("moved backwards", numbers.backwards)]
    return [
        *(Reading(name, str(len(found)), "0", not found) for name, found in hard),
        Reading("tries failed", f"{errors:.1%}", f"{gates.errors:.1%}", errors <= gates.errors),
        Reading("p99", f"{numbers.aws_p99_ms:.0f} ms", f"{slowest:.0f} ms", numbers.aws_p99_ms <= slowest),
        Reading("oldest waits", f"{numbers.lag_s:.0f} s", f"{gates.lag_s:g} s", numbers.lag_s <= gates.lag_s),
        Reading("new dead letters", str(numbers.dead_letters), str(gates.dead_letters),
                numbers.dead_letters <= gates.dead_letters),
        Reading("mismatch", f"{mismatches:.2%}", f"{gates.mismatches:.2%}", mismatches <= gates.mismatches),
    ]  # fmt: skip


def soft_failures(gates: Gates, numbers: Numbers) -> list[str]:
    """Which of the soft gates do not hold, with the numbers."""
    return [
        f"{each.name} {each.measured}, over {each.limit}"
        for each in gate_readings(gates, numbers)[_HARD:]
        if not each.holds
    ]


_HARD = 3
"""The first of the readings go back at once."""
