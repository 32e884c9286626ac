"""envmig cutover: raise AWS's share step by step while the gates hold."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migration.cli.common import AsJson, reporting, stop
from migration.cli.old import telling
from migration.cutover import journal
from migration.cutover.controller import Controller, CutoverError, Routings, ask
from migration.cutover.controller import status as status_of
from migration.cutover.plan import PlanError, load
from migration.deployment import Deployment
from migration.figures import Figures
from migration.legacy.mapping import load as load_mapping
from migration.legacy.source import Source
from migration.relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migration.cutover.plan import Plan
    from migration.reconcile.sides import Sides

app = typer.Typer(help="Raise AWS's share of payments step by step, and take it back when a gate does not hold.")

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="the plan: docs/cutover.md")]
Why = Annotated[str, typer.Option(help="kept in the journal")]
_WENT_BACK = 2


@app.command()
def run(
    plan: PlanFile,
    again: Annotated[bool, typer.Option("--again", help="begin anew after it has ended")] = False,
) -> None:
    """Run the plan, or go on with it; exit code 2 when it went back."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    # The metrics' parser and the clients take a while to import.
    from migration.cutover.measuring import Measuring  # noqa: PLC0415

    with reporting(), telling(), _telling():
        planned = load(plan)
        deployment = Deployment.find(planned.target, planned.suffix)
        figures = Figures(deployment.client("operator", "cloudwatch"), planned.suffix)
        measuring = Measuring(planned, deployment, _sides(planned, deployment))
        controller = Controller(planned, measuring, Routings(planned.relays), figures)
        ended = controller.run(lambda line: print(line, flush=True), again=again)
    if ended != "finished":
        raise typer.Exit(_WENT_BACK)


@app.command()
def status(plan: PlanFile, as_json: AsJson = False) -> None:
    """Say where it is, and what was decided last."""
    with _telling():
        told = status_of(load(plan))
    if as_json:
        print(json.dumps(told))
        return
    print(f"{told['state']}" + (f" at {told['percent']:g} % since {told['since']}" if "percent" in told else ""))
    if last := told.get("last_look"):
        print(f"{told['events']} events at this step; last look {last['at']}: {last['action']}: {last['why']}")
        for name, value in (last["numbers"] or {}).items():
            print(f"  {name} {value}")


@app.command()
def pause(plan: PlanFile, why: Why = "") -> None:
    """Stay at this step; the gates stay armed."""
    _ask(plan, journal.PAUSE, why)


@app.command()
def resume(plan: PlanFile, why: Why = "") -> None:
    """Go on after a pause."""
    _ask(plan, journal.RESUME, why)


@app.command()
def abort(plan: PlanFile, why: Why = "") -> None:
    """Go back to parallel now, whether or not a controller runs."""
    _ask(plan, journal.ABORT, why)


def _ask(plan: Path, what: str, why: str) -> None:
    with _telling():
        ask(load(plan), what, why)
    print("the relays are in parallel" if what == journal.ABORT else f"asked to {what}")


def _sides(plan: Plan, deployment: Deployment) -> Sides | None:
    if not plan.mapping:
        return None
    from migration.reconcile.rows import Compared  # noqa: PLC0415
    from migration.reconcile.sides import Sides  # noqa: PLC0415

    mapping = load_mapping(plan.mapping)
    compared = Compared(mapping.measures, mapping.payments.compare_times, mapping.payments.precision_ms)
    return Sides(deployment, Source(plan.source, mapping), compared)


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (PlanError, CutoverError, RelayError) as error:
        stop(str(error))
