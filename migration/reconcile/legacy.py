"""The old side as Parquet, by a server-side cursor and as of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from migration.backfill import Problems
from migration.legacy.source import UnreadableRowError
from migration.reconcile.rows import EVENTS, Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from migration.legacy.source import Source
    from migration.reconcile.rows import Compared

_AT_ONCE = 5000


def extract(
    source: Source, compared: Compared, folder: Path, progress: Callable[[int], object]
) -> tuple[int, Problems]:
    """Read the payments, and the events where the old system notes them; how many, and what cannot be told."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = Problems()
    with Writer(folder / "payments.parquet", compared.schema()) as payments:
        for rows in source.stream(_AT_ONCE):
            told = []
            for row in rows:
                try:
                    told.append(compared.old(source.read(row)))
                except UnreadableRowError as error:
                    problems.add(error.problem, f"{row['payment']!r} ({error})")
            payments.add(told)
            progress(len(rows))
    if source.mapping.events:
        with Writer(folder / "events.parquet", EVENTS.append(pa.field("taken_ms", pa.int64()))) as events:
            for rows in source.stream_events(_AT_ONCE):
                events.add(source.read_event(row).row() for row in rows)
                progress(len(rows))
    return payments.rows, problems
