"""envmig rebuild: states that are not what their events add up to."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from adapters.items import payment_key, text
from migration import lookup
from migration.cli.common import Account, Provider, Suffix, Target, a_day, known, reporting, stop
from migration.deployment import Deployment
from migration.rebuild import Rebuild, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migration.rebuild import Finding


def rebuild(
    provider: Provider,
    payment_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="the provider's id of the payment")] = None,
    day: Annotated[str, typer.Option(help="instead of one payment: all with an event received on that day")] = "",
    account: Account = "-",
    apply: Annotated[bool, typer.Option("--apply", help="write; without it nothing is changed")] = False,
    resume: Annotated[Path | None, typer.Option(help="with --day: a file that keeps how far it has come")] = None,
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Compare states with their events, and with --apply fold the wrong ones anew."""
    if bool(payment_id) == bool(day):
        stop("say which payments: an ID, or --day 2026-11-23")
    if day:
        a_day(day, "--day")
    verdicts: Counter[Verdict] = Counter()
    with reporting():
        known(provider)
        deployment = Deployment.find(target, suffix)
        rebuilding = Rebuild(deployment)
        if payment_id:
            keys: Iterator[tuple[str, str]] = iter([(payment_key(provider, account, payment_id), "")])
        else:
            after = resume.read_text().strip() if resume and resume.exists() else ""
            keys = _payments_of_day(lookup.Table(deployment), provider, day, after)
        for key, place in track(keys, "comparing", total=None, transient=True, disable=bool(payment_id)):
            finding = rebuilding.examine(key)
            if finding is None:
                stop(f"nothing is known of the payment {payment_id!r} of {provider}, account {account!r}")
            if apply and finding.verdict is Verdict.WRONG:
                finding = rebuilding.repair(finding)
            verdicts[finding.verdict] += 1
            _tell(finding)
            if resume and place:
                resume.write_text(place)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "no payments"
    print(f"{at}: {told}")
    if verdicts[Verdict.WRONG]:
        print("nothing was changed: run it again with --apply")
    if verdicts[Verdict.WRONG] or verdicts[Verdict.CHANGED]:
        raise typer.Exit(1)


def _payments_of_day(table: lookup.Table, provider: str, day: str, after: str) -> Iterator[tuple[str, str]]:
    """Every payment with an event of the day, once, and the place of that event."""
    seen: set[str] = set()
    for item in table.events_of_day(provider, day, after):
        payment = text(item, "payment")
        key = payment_key(provider, item["account"]["S"], payment) if payment else None
        if key and key not in seen:
            seen.add(key)
            yield key, lookup.place_of(item)


def _tell(finding: Finding) -> None:
    if finding.verdict is not Verdict.RIGHT:
        print(f"{finding.key} {finding.verdict}")
        for difference in finding.differences():
            print(f"  {difference}")
