"""envmig validate: the scheduled checks, on demand."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from adapters.aws_json import DYNAMODB, AwsError, Client
from adapters.reader import Reader
from handlers.validation import Walk, manifest_steps
from migration.cli.common import AsJson, Suffix, Target, a_day, known, listing, reporting, stop
from migration.deployment import Deployment
from providers import NAMES

if TYPE_CHECKING:
    from payments.validation import Finding

_SPAN_S = 60.0
"""How long AWS may keep a walk waiting before it is given up."""


def validate(
    since: Annotated[str, typer.Option(help="the first day, as 2026-11-23; today when left out")] = "",
    provider: Annotated[str, typer.Option(help="one provider; all when left out")] = "",
    target: Target = "local",
    suffix: Suffix = "prod",
    as_json: AsJson = False,
) -> None:
    """Check that events, bodies and states add up, and name what does not."""
    now = datetime.now(UTC)
    since = a_day(since or now.strftime("%Y-%m-%d"), "--since")
    day = datetime.fromisoformat(since).replace(tzinfo=UTC)
    days = [(day + timedelta(days=n)).strftime("%Y-%m-%d") for n in range(max(0, (now - day).days) + 1)]
    names = [known(provider)] if provider else list(NAMES)
    findings: list[Finding] = []
    events, began = 0, time.monotonic()
    with reporting():
        reader = _reader(Deployment.find(target, suffix))
        try:
            with Progress(console=Console(stderr=True), transient=True) as progress:
                task = progress.add_task("checking", total=len(days) * len(names))
                for each in days if not provider else []:
                    for step in manifest_steps(reader, each, "0", now, time.monotonic() + _SPAN_S):
                        findings += step.findings
                for name in names:
                    for each in days:
                        for step in Walk(reader, name, each).whole(now, "9", _SPAN_S):
                            findings += step.findings
                            events += step.events
                            progress.update(task, description=f"{name} {each}: {events} events")
                        progress.advance(task)
        except AwsError as error:
            stop(str(error))
        finally:
            reader.close()
    rows = [{"check": finding.check, "subject": finding.subject, "says": finding.says} for finding in findings]
    listing(rows, ["check", "subject", "says"], as_json=as_json, as_csv=False)
    counts = ", ".join(f"{count} {check}" for check, count in sorted(Counter(f.check for f in findings).items()))
    took = time.monotonic() - began
    told = (
        f"{events} events since {since}: {counts or 'all adds up'} ({took:.1f} s, {reader.read_units:g} read units)"
    )
    Console(stderr=as_json).print(told, soft_wrap=True)
    if findings:
        raise typer.Exit(1)


def _reader(deployment: Deployment) -> Reader:
    """The Lambda's own reader, with the reader's credentials."""
    keys = deployment.credentials("reader")
    environment = {
        "AWS_REGION": deployment.region,
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        **({"AWS_SESSION_TOKEN": keys.token} if keys.token else {}),
    }
    if deployment.target == "local":
        environment["AWS_ENDPOINT_URL"] = deployment.outputs["local"]["endpoint"]
    table, shards = deployment.output("data", "table_name"), int(deployment.output("data", "index_shards"))
    return Reader(Client(DYNAMODB, environment), table, shards)
