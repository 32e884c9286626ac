"""envmig backfill: the old database's payments become openings on AWS."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.text import Text

from migration.backfill import Backfill, Checkpoint, Pace
from migration.cli.common import Suffix, Target, reporting, stop
from migration.cli.old import RELAY, MappingFile, RelayAddresses, SourceUrl, telling
from migration.deployment import Deployment
from migration.legacy.mapping import load as load_mapping
from migration.legacy.source import Source
from migration.watermark import Relays, StandsStill

if TYPE_CHECKING:
    from migration.backfill import Marks, Summary


def backfill(
    source: SourceUrl,
    mapping: MappingFile,
    relay: RelayAddresses = None,
    as_of: Annotated[str, typer.Option(help="instead of a relay: since when the old system stands still")] = "",
    checkpoint: Annotated[Path | None, typer.Option(help="the file that keeps how far it has come")] = None,
    rate: Annotated[float, typer.Option(min=1, help="the most openings a second")] = 5000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check, tell what there is, and write nothing")] = False,
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Write what the old database knows of its payments, while traffic goes on."""
    with reporting(), telling():
        mapped = load_mapping(mapping)
        reading = Source(source, mapped)
        marks: Marks = StandsStill(_moment(as_of)) if as_of else Relays(relay or [RELAY])
        run = Backfill(reading, marks)
        kept = Checkpoint(checkpoint or Path(f"backfill.{suffix}.json"), mapped.digest)
        goes_on = not dry_run and kept.load()
        with _progress() as progress:
            total = reading.count()
            if goes_on:
                progress.console.print(f"going on after {kept.after}: {kept.done.written} openings were written")
            else:
                task = progress.add_task("checking", total=total)
                summary, problems = run.check(lambda rows: progress.advance(task, rows))
                if problems.counts:
                    for line in problems.told():
                        print(line)
                    stop("nothing was written: mend the mapping or the rows, then run this again")
                _tell(summary)
            if dry_run:
                print("nothing was written: that was a dry run")
                return
            deployment = Deployment.find(target, suffix)
            task = progress.add_task("writing", total=total, completed=kept.done.written + kept.skipped)
            left = run.run(deployment, Pace(rate), kept, lambda rows: progress.advance(task, rows))
        done = kept.done
        print(f"{done.written} openings written, {done.newer_there} were there as new or newer, "
              f"{kept.skipped} payments began when AWS had all of their events already")  # fmt: skip
        if left:
            stop(f"{len(left)} payments were touched each time they were read, such as {' '.join(left[0])}: "
                 "run this again when there is less traffic")  # fmt: skip


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: RichTask) -> Text:
        """As text."""
        return Text(f"{task.speed or 0:,.0f} rows/s")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
        console=Console(stderr=True),
    )  # fmt: skip


def _tell(summary: Summary) -> None:
    span = f", from {summary.began:%Y-%m-%d} to {summary.ended:%Y-%m-%d}" if summary.began and summary.ended else ""
    print(f"{summary.payments} payments{span}")
    for status, count in summary.by_status.most_common():
        print(f"  {status}: {count}")
    for (measure, currency), amount in sorted(summary.sums.items()):
        print(f"  {measure} {amount} {currency} (minor units)")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        stop(f"--as-of {text!r} is no time such as 2026-11-23T10:00:00Z")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
