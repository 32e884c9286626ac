"""envmig reconcile: do the two systems agree, and with --repair, bringing them together."""

from __future__ import annotations

import getpass
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from migration.cli.common import Suffix, Target, reporting, stop
from migration.cli.old import MappingFile, RelayAddresses, SourceUrl, telling
from migration.deployment import Deployment
from migration.legacy.mapping import load as load_mapping
from migration.legacy.source import Source
from migration.relay.errors import RelayError
from migration.relay.settings import load as load_settings
from migration.relay.spool import Spool, open_spool
from migration.watermark import Grace, Relays

if TYPE_CHECKING:
    from migration.backfill import Marks
    from migration.reconcile.run import Result
    from migration.reconcile.sides import Difference

_SHOWN = 20
_UNSETTLED = 3


def reconcile(
    source: SourceUrl,
    mapping: MappingFile,
    relay: RelayAddresses = None,
    grace: Annotated[float, typer.Option(min=0, help="for want of a relay: how long a delivery takes, s")] = 10,
    within: Annotated[float, typer.Option(min=1, help="how long to wait for what is under way, s")] = 120,
    engine: Annotated[str, typer.Option(help="duckdb or spark")] = "duckdb",
    segments: Annotated[int, typer.Option(min=1, max=64, help="how many parts of the table are read at once")] = 4,
    export: Annotated[Path | None, typer.Option(help="a downloaded point-in-time export, instead of reading")] = None,
    work: Annotated[Path | None, typer.Option(help="where the Parquet files stay; deleted when left out")] = None,
    out: Annotated[Path | None, typer.Option(help="write what was found there, for the report")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="say how to bring both together")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="with --repair: do it")] = False,
    spool: Annotated[
        list[Path] | None, typer.Option("--spool-of", help="with --repair: a relay's settings; again for others")
    ] = None,
    log: Annotated[Path, typer.Option(help="with --apply: what was done is added there")] = Path("repairs.jsonl"),
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Compare the old database with AWS; exit code 1 when a difference is confirmed, 3 when some did not settle."""
    # Ibis and Arrow take a second to import, and no other command needs them.
    from migration.reconcile.aws import ExportError  # noqa: PLC0415
    from migration.reconcile.compare import EngineError  # noqa: PLC0415
    from migration.reconcile.run import Reconciliation, TooManyError  # noqa: PLC0415

    if engine not in {"duckdb", "spark"}:
        stop(f"there is no engine {engine!r}: duckdb or spark")
    if apply and not repair:
        stop("--apply goes with --repair")
    with reporting(), telling(), tempfile.TemporaryDirectory(prefix="reconcile") as own:
        reading = Source(source, load_mapping(mapping))
        marks: Marks = Relays(relay) if relay else Grace(grace)
        marks.watermark()
        run = Reconciliation(
            Deployment.find(target, suffix), reading, marks, work or Path(own), engine=engine, segments=segments,
            exported=export,
        )  # fmt: skip
        try:
            with Progress(console=Console(stderr=True), transient=True) as progress:
                tasks: dict[str, TaskID] = {}

                def advance(side: str, rows: int) -> None:
                    if side not in tasks:
                        tasks[side] = progress.add_task(f"reading {side}", total=None)
                    progress.advance(tasks[side], rows)

                result = run.run(advance, within)
        except (EngineError, ExportError, TooManyError) as error:
            stop(str(error))
        _tell(result)
        if out:
            out.write_text(json.dumps(result.told(), indent=1))
        left = result.confirmed
        if repair and left:
            left = _repair(run, left, [_opened(file) for file in spool or []], log, apply=apply)
    if left:
        raise typer.Exit(1)
    if result.unsettled:
        raise typer.Exit(_UNSETTLED)


def _repair(
    run: Any, differences: list[Difference], spools: list[Spool], log: Path, *, apply: bool
) -> list[Difference]:
    from migration.rebuild import Rebuild  # noqa: PLC0415
    from migration.reconcile.repair import DrainFunction, Repair  # noqa: PLC0415

    repairing = Repair(
        DrainFunction(run.deployment), Rebuild(run.deployment), run.sides, spools, log=log, who=getpass.getuser()
    )
    try:
        steps = repairing.plan(differences)
        if not apply:
            for step in steps:
                print(step.told())
            print("nothing was changed: run it again with --apply")
            return differences
        for step, became in repairing.apply(steps):
            print(f"{step.told()}: {became}")
        left = repairing.check(differences)
    finally:
        for each in spools:
            each.close()
    print(f"{len(differences) - len(left)} of {len(differences)} agree now; {log} has what was done")
    return left


def _opened(file: Path) -> Spool:
    try:
        return open_spool(load_settings(file).spool)
    except RelayError as error:
        stop(str(error))


def _tell(result: Result) -> None:
    for side, sums in result.totals.items():
        print(f"{side}: {result.rows[side]} rows")
        for row in sums:
            money = ", ".join(f"{name} {row[name]}" for name in row if name not in {"currency", "payments"})
            print(f"  {row['currency'] or 'no money'}: {row['payments']} payments, {money} (minor units)")
    print(f"{result.suspects} differed at the first look, {len(result.confirmed)} are confirmed, "
          f"{len(result.unsettled)} did not settle")  # fmt: skip
    for each in result.confirmed[:_SHOWN]:
        print(f"{each.subject.kind} {' '.join(each.subject.key)}: {each.what}")
        for side in ("legacy", "aws"):
            for row in getattr(each, side):
                print(f"  {side}: {' '.join(f'{name}={value}' for name, value in row)}")
    if len(result.confirmed) > _SHOWN:
        print(f"and {len(result.confirmed) - _SHOWN} more: --out writes all of them")
