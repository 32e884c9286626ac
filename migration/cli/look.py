"""envmig payment, events and payments: looking, with the reader's rights, by key and by index."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adapters.items import Item, payment_key, read_state, text
from migration import lookup
from migration.cli.common import (
    Account,
    AsCsv,
    AsJson,
    Provider,
    Suffix,
    Target,
    a_day,
    known,
    listing,
    print_table,
    reporting,
    stop,
)
from migration.deployment import Deployment
from payments.event import Kind
from payments.state import totals

if TYPE_CHECKING:
    from collections.abc import Iterator

_MONTH = re.compile(r"\d{4}-\d\d")

Limit = Annotated[int, typer.Option(min=1, help="how many at most")]
After = Annotated[str, typer.Option(help="go on after this place, which the page before names at its end")]


def payment(
    provider: Provider,
    payment_id: Annotated[str, typer.Argument(metavar="ID", help="the provider's id of the payment")],
    account: Account = "-",
    target: Target = "local",
    suffix: Suffix = "prod",
    as_json: AsJson = False,
) -> None:
    """Show one payment: its state, its sums and its events in order."""
    with reporting():
        known(provider)
        table = lookup.Table(Deployment.find(target, suffix))
        found = table.payment(provider, account, payment_id)
    if found is None:
        stop(f"nothing is known of the payment {payment_id!r} of {provider}, account {account!r}")
    together = found.known
    status = together.status or "unknown"
    sums = [
        {"measure": measure, "minor_units": amount, "currency": currency}
        for (measure, currency), amount in sorted(together.sums.items())
    ]
    history = [_event_row(event) for event in found.events]
    if as_json:
        opened = found.opening.as_of.isoformat() if found.opening else None
        rows = [{"payment": payment_id, "status": status, "sums": sums, "opened_as_of": opened, "events": history}]
        listing(rows, [], as_json=True, as_csv=False)
        return
    console = Console()
    told = f"{found.state.event_count} events" if found.state else "no event"
    opening = f" and by the old database as of {found.opening.as_of:%Y-%m-%d %H:%M:%S}" if found.opening else ""
    console.print(f"[bold]{payment_id}[/bold] is {status}, told by {told}{opening}")
    for each in sums:
        console.print(f"  {each['measure']} {each['minor_units']} {each['currency']} (minor units)")
    print_table(history, ["happened", "type", "kind", "moved", "event"])


def events(
    provider: Annotated[str, typer.Option(help="whose events")],
    day: Annotated[str, typer.Option(help="the day of receipt, as 2026-11-23; today when left out")] = "",
    limit: Limit = 50,
    after: After = "",
    target: Target = "local",
    suffix: Suffix = "prod",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List what came in from a provider on a day, in order of receipt."""
    day = a_day(day or datetime.now(UTC).strftime("%Y-%m-%d"), "--day")
    with reporting():
        known(provider)
        found = lookup.Table(Deployment.find(target, suffix)).events_of_day(provider, day, after)
        page = list(islice(found, limit + 1))
    columns = ["received", "happened", "account", "type", "kind", "payment", "moved", "owner", "event"]
    count = listing(map(_event_row, page[:limit]), columns, as_json=as_json, as_csv=as_csv)
    _say_more(page, limit, count, f"nothing came in from {provider} on {day}")


def payments(
    status: Annotated[str, typer.Option(help=f"one of {', '.join(Kind)}")] = "",
    provider: Annotated[str, typer.Option(help="with --month: whose payments")] = "",
    merchant: Annotated[str, typer.Option(help="with --month: the merchant account; - where there is none")] = "-",
    month: Annotated[str, typer.Option(help="the month in which something happened to them, as 2026-11")] = "",
    limit: Limit = 50,
    after: After = "",
    target: Target = "local",
    suffix: Suffix = "prod",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List payments by status, or by merchant account and month."""
    if bool(status) == bool(month):
        stop("say which payments: --status STATUS, or --provider PROVIDER --merchant ACCOUNT --month MONTH")
    with reporting():
        table = lookup.Table(Deployment.find(target, suffix))
        if status:
            if status not in set(Kind):
                stop(f"--status {status!r} is none of {', '.join(Kind)}")
            page = list(islice(table.payments_of_status(status, after), limit + 1))
            keys = [item["PK"]["S"] for item in page[:limit]]
        else:
            if not _MONTH.fullmatch(month):
                stop(f"--month {month!r} is no month such as 2026-11")
            page = list(_first_of_each(table.events_of_month(known(provider), merchant, month, after), limit + 1))
            keys = [payment_key(provider, merchant, item["payment"]["S"]) for item in page[:limit]]
        rows = list(map(_payment_row, table.states(keys)))
    columns = ["provider", "account", "payment", "status", "last", "events", "sums"]
    count = listing(rows, columns, as_json=as_json, as_csv=as_csv)
    _say_more(page, limit, count, "there are no such payments")


def _first_of_each(found: Iterator[Item], limit: int) -> Iterator[Item]:
    """The first event of every payment. One whose events fall on two pages is on both."""
    seen: set[str] = set()
    for item in found:
        name = text(item, "payment")
        if name and name not in seen:
            seen.add(name)
            yield item
            if len(seen) == limit:
                return


def _event_row(item: Item) -> dict[str, Any]:
    moved = item.get("movement", {}).get("M")
    return {
        "received": text(item, "received_at"),
        "happened": text(item, "occurred_at") or text(item, "received_at"),
        "provider": text(item, "provider"),
        "account": text(item, "account"),
        "type": text(item, "type"),
        "kind": text(item, "kind"),
        "payment": text(item, "payment"),
        "moved": f"{moved['measure']['S']} {moved['minor_units']['N']} {moved['currency']['S']}" if moved else None,
        "owner": text(item, "owner"),
        "event": text(item, "event_id"),
    }


def _payment_row(item: Item) -> dict[str, Any]:
    state = read_state(item)
    milliseconds = int((state.version or "0").partition("#")[0])
    last = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds") if state.version else None
    sums = sorted(totals(state.movements).items())
    return {
        "provider": text(item, "provider"),
        "account": text(item, "account"),
        "payment": text(item, "payment"),
        "status": state.status,
        "last": last,
        "events": state.event_count,
        "sums": ", ".join(f"{measure} {amount} {currency}" for (measure, currency), amount in sums),
    }


def _say_more(page: list[Item], limit: int, count: int, nothing: str) -> None:
    if not count:
        stop(nothing)
    if len(page) > limit:
        Console(stderr=True).print(f"there are more: --after '{lookup.place_of(page[limit - 1])}'", soft_wrap=True)
