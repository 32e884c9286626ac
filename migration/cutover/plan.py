"""The plan of a cut-over: one TOML file. docs/cutover.md has an example."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from migration import toml


class PlanError(Exception):
    """The plan is not in its form; the message names the entry and what to write."""


@dataclass(frozen=True)
class Step:
    """One share of payments, and what has to pass before the next."""

    percent: float
    """AWS's share; 0 is parallel, 100 is aws."""
    least_minutes: float = 30.0
    least_events: int = 1000


@dataclass(frozen=True)
class Gates:
    """What has to hold."""

    errors: float = 0.01
    """The share of tries to deliver to AWS that may fail."""
    p99_ratio: float = 2.0
    """How many times the old system's 99th percentile AWS's may be."""
    p99_floor_ms: float = 250.0
    """What is faster than this is fast enough, whatever the old system takes."""
    lag_s: float = 60.0
    """How old the oldest that waits for AWS may be."""
    dead_letters: int = 0
    """How many more dead letters there may be than at the beginning."""
    mismatches: float = 0.001
    """The share of requests that one side took and the other never will, and of compared payments that differ."""
    failures: int = 3
    """How often in a row one of these may not hold before it goes back. What is lost or wrong goes back at once."""


@dataclass(frozen=True)
class RelayOf:
    """One relay: where its figures are, and how its routing is changed."""

    status: str
    """The address of its status port."""
    settings: Path | None = None
    """Its settings' file, on the same host as the controller."""
    command: tuple[str, ...] = ()
    """Else a command that changes its mode, such as ["ssh", "host-2", "envmig", "relay", "mode", "{mode}",
    "--percent", "{percent}", "--who", "{who}", "--why", "{why}"]; without a share it runs without --percent."""


@dataclass(frozen=True)
class Plan:
    """All of it."""

    relays: tuple[RelayOf, ...]
    steps: tuple[Step, ...] = tuple(Step(percent) for percent in (0, 1, 5, 25, 50, 100))
    gates: Gates = field(default_factory=Gates)
    journal: Path = Path("cutover.jsonl")
    """Every decision with the numbers that it was taken on; the controller goes on from it."""
    every_s: float = 15.0
    no_data_minutes: float = 10.0
    """How long it holds without any figures or traffic before it goes back."""
    sample: int = 200
    """How many payments of each look are checked, state against events, and AWS against the old system."""
    source: str = ""
    """The old database, where the sample is to be compared with it too."""
    mapping: Path | None = None
    target: str = "local"
    suffix: str = "prod"


def load(file: Path) -> Plan:
    """Read a plan, or raise PlanError."""
    try:
        plan = toml.load(Plan, file, "the plan", "docs/cutover.md")
    except toml.TomlError as error:
        raise PlanError(str(error)) from error
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    shares = [step.percent for step in plan.steps]
    if shares != sorted(set(shares)) or shares[0] < 0 or shares[-1] > 100:  # noqa: PLR2004 (per cent)
        raise PlanError(f"the steps' percent have to rise from 0 to 100 at most: {shares}")
    for relay in plan.relays:
        if bool(relay.settings) == bool(relay.command):
            raise PlanError(f"the relay {relay.status} needs either settings or command, and not both")
    if bool(plan.source) != bool(plan.mapping):
        raise PlanError("source and mapping go together")
    numbers = {
        "every_s": plan.every_s, "no_data_minutes": plan.no_data_minutes, "sample": plan.sample,
        "gates.failures": plan.gates.failures,
    }  # fmt: skip
    for name, number in numbers.items():
        if number <= 0:
            raise PlanError(f"{name} is not greater than 0: {number}")
