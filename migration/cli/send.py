"""envmig send."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from migration import send as sending
from migration.cli.common import Provider, Suffix, Target, known, reporting, stop
from migration.deployment import Deployment
from migration.samples import Sent, sample


def send(
    provider: Provider,
    file: Annotated[str | None, typer.Argument(help="the body; - for standard input; none for a sample")] = None,
    header: Annotated[list[str], typer.Option(help="one more header, as name:value")] = [],  # noqa: B006
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Send one webhook, signed as the provider signs and passed on as the relay does."""
    now = datetime.now(UTC)
    with reporting():
        known(provider)
        sent = sample(provider, now) if file is None else Sent(_read(file), dict(map(_header, header)))
        answer = sending.send(Deployment.find(target, suffix), provider, sent, now)
    print(answer.status, answer.body)
    if answer.status >= 300:  # noqa: PLR2004
        raise typer.Exit(1)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        stop(f"--header {text!r} is not of the form name:value")
    return name.strip().lower(), value.strip()


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
