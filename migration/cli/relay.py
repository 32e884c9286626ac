"""envmig relay: the on-premises relay, its routing, and what a target would not take."""

from __future__ import annotations

import getpass
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from migration.cli.common import AsJson, listing, stop
from migration.relay.errors import RelayError
from migration.relay.seal import new_key as make_key
from migration.relay.settings import load
from migration.relay.spool import TARGETS, open_spool
from payments.routing import Mode

if TYPE_CHECKING:
    from migration.relay.settings import Settings
    from migration.relay.spool import Spool

app = typer.Typer(help="Run the relay, and change how it routes.", no_args_is_help=False)

Config = Annotated[
    Path, typer.Option("--config", envvar="ENVMIG_RELAY", help="the settings' file, as docs/relay.md describes it")
]
_CONFIG = Path("relay.toml")


@app.callback(invoke_without_command=True)
def run(context: typer.Context, config: Config = _CONFIG) -> None:
    """Run the relay until it is told to end."""
    context.obj = config
    if context.invoked_subcommand:
        return
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # A line a request of the clients' would hide our own.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # The servers and clients take a second to import, and no other command needs them.
    import uvloop  # noqa: PLC0415

    from migration.relay.service import Service  # noqa: PLC0415

    settings = _settings(config)
    try:
        service = Service(settings)
    except RelayError as error:
        stop(str(error))
    print(
        f"{settings.name}: webhooks at http://{settings.listen.address}:{settings.listen.port}/webhooks/, "
        f"status at http://{settings.listen.address}:{settings.listen.status_port}/, routing {service.routing.mode}",
        flush=True,
    )
    uvloop.run(service.run())


@app.command()
def mode(
    context: typer.Context,
    to: Annotated[Mode, typer.Argument(help="where webhooks go from now on")],
    percent: Annotated[float, typer.Option(min=0, max=100, help="AWS's share of payments; canary alone has one")] = 0,
    why: Annotated[str, typer.Option(help="kept with the change")] = "",
    who: Annotated[str, typer.Option(help="kept with the change; the caller when left out")] = "",
) -> None:
    """Change the routing of what comes from now on; what was received keeps its owner."""
    hundredths = round(percent * 100)
    if (to is Mode.CANARY) != bool(hundredths):
        stop("canary needs --percent, and no other mode has one" if hundredths else "canary needs --percent above 0")
    if abs(hundredths - percent * 100) > 1e-6:  # noqa: PLR2004 (what a float cannot hold)
        stop(f"--percent {percent} is finer than a hundredth")
    settings, spool = _opened(context)
    try:
        routing = spool.route(to, hundredths, settings.salt, who or getpass.getuser(), why).result()
    except RelayError as error:
        stop(str(error))
    finally:
        spool.close()
    share = f" {percent:g} %" if hundredths else ""
    print(f"{to}{share}, epoch {routing.epoch}: a relay that runs takes it within a second")


@app.command()
def changes(context: typer.Context, as_json: AsJson = False) -> None:
    """List the changes of the routing, the latest first."""
    _, spool = _opened(context)
    rows = [
        {
            "epoch": row["epoch"],
            "at": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["at_ms"] / 1000)),
            "mode": row["mode"],
            "percent": row["hundredths"] / 100,
            "who": row["who"],
            "why": row["why"],
        }
        for row in spool.routings()
    ]
    spool.close()
    listing(rows, ["epoch", "at", "mode", "percent", "who", "why"], as_json=as_json, as_csv=False)


@app.command()
def parked(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="legacy or aws")],
    retry: Annotated[bool, typer.Option("--retry", help="have all that are listed tried again")] = False,
    limit: Annotated[int, typer.Option(min=1, help="how many at most")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what a target will not take as it is, and what it said."""
    if target not in TARGETS:
        stop(f"there is no target {target!r}: name {' or '.join(TARGETS)}")
    _, spool = _opened(context)
    rows = spool.parked(target, limit)
    again = sum(spool.retry(target, row[0]).result() for row in rows) if retry else 0
    spool.close()
    columns = ["id", "provider", "trace", "said"]
    listing([dict(zip(columns, row, strict=True)) for row in rows], columns, as_json=as_json, as_csv=False)
    if retry:
        Console(stderr=True).print(f"{again} are tried again")


@app.command()
def new_key(file: Annotated[Path, typer.Argument(help="the file to make")]) -> None:
    """Make a key for the spool."""
    try:
        make_key(file)
    except RelayError as error:
        stop(str(error))
    print(f"{file}: keep it apart from the spool's backups; without it the spool cannot be read")


def _settings(config: Path) -> Settings:
    try:
        return load(config)
    except RelayError as error:
        stop(str(error))


def _opened(context: typer.Context) -> tuple[Settings, Spool]:
    settings = _settings(context.obj)
    try:
        return settings, open_spool(settings.spool)
    except RelayError as error:
        stop(str(error))
