"""What the commands have in common that read the old database: their options, and how they fail."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migration.backfill import BackfillError
from migration.cli.common import stop
from migration.legacy.mapping import MappingError
from migration.legacy.source import SourceError, UnreadableRowError
from migration.watermark import RelayAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator

SourceUrl = Annotated[
    str, typer.Option("--source", envvar="ENVMIG_SOURCE", help="the old database, as postgresql://user@host/name")
]
MappingFile = Annotated[Path, typer.Option("--mapping", help="which column is what: docs/backfill.md")]
RelayAddresses = Annotated[
    list[str] | None, typer.Option("--relay", help="a relay's status port; again for every other relay")
]
RELAY = "http://127.0.0.1:8081"


@contextmanager
def telling() -> Iterator[None]:
    """Say what went wrong with the old database, its mapping or a relay, in words."""
    try:
        yield
    except (MappingError, SourceError, RelayAwayError, BackfillError) as error:
        stop(str(error))
    except UnreadableRowError as error:
        stop(f"a row cannot be told in our words: {error}. See all such: envmig backfill --dry-run")
