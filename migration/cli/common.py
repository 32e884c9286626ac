"""What the commands have in common: where they work, how they fail, and how they list."""

from __future__ import annotations

import csv
import json
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from migration.deployment import NotDeployedError
from providers import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Target = Annotated[str, typer.Option(help="local or aws")]
Suffix = Annotated[str, typer.Option(envvar="ENVIRONMENT_SUFFIX", help="the environment suffix")]
Provider = Annotated[str, typer.Argument(help=f"one of {', '.join(NAMES)}")]
Account = Annotated[str, typer.Option(help="the merchant account at the provider; - where it names none")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object a line")]
AsCsv = Annotated[bool, typer.Option("--csv", help="print comma-separated values with a head line")]


def stop(message: str) -> NoReturn:
    """End the command with an error."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(1)


@contextmanager
def reporting() -> Iterator[None]:
    """Say what went wrong in words instead of a traceback."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if "AccessDenied" in code:
            stop(f"AWS denies it: {error.response['Error'].get('Message', code)} (docs/operations.md names the role)")
        if "Expired" in code:
            stop("the AWS credentials have expired: sign in again")
        stop(str(error))
    except (NotDeployedError, LookupError, OSError, BotoCoreError) as error:
        stop(str(error))


def known(provider: str) -> str:
    """The provider's name, or an error that lists those there are."""
    if provider not in NAMES:
        stop(f"there is no provider {provider!r}; known are {', '.join(NAMES)}")
    return provider


def a_day(text: str, option: str) -> str:
    """The text if it is a day, or an error that names the option."""
    if not _DAY.fullmatch(text):
        stop(f"{option} {text!r} is no day such as 2026-11-23")
    return text


_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def listing(rows: Iterable[Mapping[str, Any]], columns: list[str], *, as_json: bool, as_csv: bool) -> int:
    """Print rows as a table for people, or for machines; give their number."""
    count = 0
    if as_json:
        for count, row in enumerate(rows, 1):  # noqa: B007 (counted for the caller)
            print(json.dumps(row))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore")
        writer.writeheader()
        for count, row in enumerate(rows, 1):  # noqa: B007
            writer.writerow(row)
    else:
        told = list(rows)
        count = len(told)
        if count:
            print_table(told, columns)
    return count


def print_table(rows: Iterable[Mapping[str, Any]], columns: list[str]) -> None:
    """Print rows in columns, as wide as they are: an id that is cut off cannot be copied."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(row.get(column) or "") for column in columns))
    Console(width=_WIDEST).print(table)


_WIDEST = 1000
