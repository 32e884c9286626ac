"""envmig report: what an auditor reads, and whether it is what was signed."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migration.cli.common import stop
from migration.cutover.plan import PlanError
from migration.cutover.plan import load as load_plan
from migration.evidence.report import EvidenceError
from migration.relay.errors import RelayError
from migration.relay.settings import load as load_settings
from migration.relay.spool import open_spool

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(help="Write the report of a migration, and verify one.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def report(
    context: typer.Context,
    plan: Annotated[Path, typer.Option(help="the cut-over's plan")] = Path("plan.toml"),
    key: Annotated[Path, typer.Option(help="the key that signs: envmig report new-key")] = Path("report.key"),
    out: Annotated[Path, typer.Option(help="the folder for report.json, report.html and report.sig.json")] = Path(
        "report"
    ),
    reconciliation: Annotated[
        list[Path] | None, typer.Option("--reconciliation", help="what reconcile --out wrote; again for others")
    ] = None,
) -> None:
    """Write the report: data, one page that needs nothing else, and a signature over both."""
    if context.invoked_subcommand:
        return
    # The charts' library takes half a second to import.
    from migration.evidence.report import collect  # noqa: PLC0415
    from migration.evidence.signing import write  # noqa: PLC0415

    with _telling():
        planned = load_plan(plan)
        settings = [load_settings(relay.settings) for relay in planned.relays if relay.settings]
        spools = [(each.name, open_spool(each.spool)) for each in settings]
        try:
            told = collect(planned, spools, reconciliation or [], getpass.getuser())
            digest = write(told, out, key)
        finally:
            for _, spool in spools:
                spool.close()
    print(f"{out}/report.html and report.json, signed: {digest}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="the report's folder")],
    public_key: Annotated[Path, typer.Option(help="the signer's public key, from the signer")],
) -> None:
    """Say whether a report is what was signed."""
    from migration.evidence.signing import verify as check  # noqa: PLC0415

    with _telling():
        print(f"it is what was signed: {check(folder, public_key)}")


@app.command()
def new_key(file: Annotated[Path, typer.Argument(help="the file to make")]) -> None:
    """Make a key that signs reports."""
    from migration.evidence.signing import new_key as make  # noqa: PLC0415

    with _telling():
        print(f"{file}: keep it; give {make(file)} to whoever is to verify")


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (EvidenceError, PlanError, RelayError) as error:
        stop(str(error))
