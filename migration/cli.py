"""The envmig command."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from migration import lookup
from migration.deployment import Deployment, NotDeployedError
from migration.samples import Sent, sample
from migration.send import send as send_webhook
from providers import NAMES

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Target = Annotated[str, typer.Option(help="local or aws")]
Suffix = Annotated[str, typer.Option(envvar="ENVIRONMENT_SUFFIX", help="the environment suffix")]


@app.callback()
def main() -> None:
    """Look at, and work with, a deployed payment-webhook system."""


@app.command()
def send(
    provider: Annotated[str, typer.Argument(help=f"one of {', '.join(NAMES)}")],
    file: Annotated[str | None, typer.Argument(help="the body; - for standard input; none for a sample")] = None,
    header: Annotated[list[str], typer.Option(help="one more header, as name:value")] = [],  # noqa: B006
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Send one webhook, signed as the provider signs and passed on as the relay does."""
    if provider not in NAMES:
        _stop(f"there is no provider {provider!r}; known are {', '.join(NAMES)}")
    now = datetime.now(UTC)
    try:
        sent = sample(provider, now) if file is None else Sent(_read(file), dict(_header(each) for each in header))
        answer = send_webhook(Deployment.find(target, suffix), provider, sent, now)
    except (NotDeployedError, LookupError, OSError) as error:
        _stop(str(error))
    print(answer.status, answer.body)
    if answer.status >= 300:  # noqa: PLR2004
        raise typer.Exit(1)


@app.command()
def payment(
    provider: Annotated[str, typer.Argument(help=f"one of {', '.join(NAMES)}")],
    payment_id: Annotated[str, typer.Argument(metavar="ID", help="the provider's id of the payment")],
    account: Annotated[str, typer.Option(help="the merchant account at the provider")] = "-",
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Show one payment: its state, its sums and its events in order."""
    try:
        found = lookup.payment(Deployment.find(target, suffix), provider, account, payment_id)
    except NotDeployedError as error:
        _stop(str(error))
    if found is None:
        _stop(f"nothing is known of the payment {payment_id!r} of {provider}, account {account!r}")
    console = Console()
    status = found.state.get("status", {}).get("S", "unknown")
    console.print(f"[bold]{payment_id}[/bold] is {status}, told by {found.state['event_count']['N']} events")
    for (measure, currency), amount in sorted(found.totals.items()):
        console.print(f"  {measure} {amount} {currency} (minor units)")
    timeline = Table("happened", "type", "kind", "moved", "event")
    for event in found.events:
        moved = event.get("movement", {}).get("M")
        timeline.add_row(
            event.get("occurred_at", event["received_at"])["S"],
            event["type"]["S"],
            event["kind"]["S"],
            f"{moved['minor_units']['N']} {moved['currency']['S']}" if moved else "",
            event["event_id"]["S"],
        )
    console.print(timeline)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        _stop(f"--header {text!r} is not of the form name:value")
    return name.strip().lower(), value.strip()


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _stop(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(1)
