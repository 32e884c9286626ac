"""One expression that compares the two sides, on DuckDB here and on Spark where one machine is outgrown.

Everything here is Ibis: nothing knows which engine runs it, but for how one is opened.
"""

from __future__ import annotations

import inspect
import os
import sys
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple

import ibis
import ibis.expr.datatypes as dt
from ibis import _

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ibis import Table

MISSING_ON_AWS = "missing on AWS"
MISSING_IN_LEGACY = "missing in legacy"
DIFFERS = "differs"

_KEY = ["provider", "account", "payment"]
_CURRENCY = "currency"
_MEMORY = "1500MB"


class EngineError(Exception):
    """An engine cannot be opened; the message says what is missing."""


class Engine(NamedTuple):
    """What runs the expressions."""

    connection: Any
    """Ibis's."""
    hash: str
    """The engine's own function that makes 64 bits of any values. Ibis's `hash` makes 32 on Spark."""

    def read(self, file: Path) -> Table:
        """A side's file."""
        table: Table = self.connection.read_parquet(file)
        return table


def open_engine(name: str, work: Path) -> Engine:
    """duckdb, or spark in local mode or wherever Spark's own settings say."""
    if name == "duckdb":
        connection = ibis.duckdb.connect(
            memory_limit=_MEMORY, temp_directory=str(work / "spilled"), preserve_insertion_order=False
        )
        return Engine(connection, "hash")
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415 (hundreds of megabytes, for those who want it)
    except ImportError as error:
        raise EngineError(
            "the engine spark needs PySpark and Java 17: docs/reconcile.md says how to have them"
        ) from error
    # Its workers have to be of this Python.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.appName("envmig-reconcile")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "8")
        .getOrCreate()
    )
    return Engine(ibis.pyspark.connect(session), "xxhash64")


def payments_on_aws(parts: dict[str, Table], measures: Sequence[str], precision_ms: int, never_moved: str) -> Table:
    """Each payment's row, or rows by currency, from states, movements, openings and events.

    The rule is that of migration.opening.effective: an opening's sums, and beside them the movements that were first
    told by an event received at its as-of point or later.
    """
    first = (
        parts["events"]
        .filter(_.movement.notnull())
        .group_by([*_KEY, "movement"])
        .aggregate(first_ms=_.received_ms.min())
    )
    counted = (
        parts["movements"]
        .left_join(parts["openings"].select(*_KEY, "as_of_ms"), _KEY)
        .select(*_KEY, "movement", "measure", _CURRENCY, "minor_units", "as_of_ms")
        .left_join(first, [*_KEY, "movement"])
        .filter(_.as_of_ms.isnull() | _.first_ms.isnull() | (_.first_ms >= _.as_of_ms))
        .select(*_KEY, "measure", _CURRENCY, "minor_units")
    )
    sums = (
        counted.union(parts["opening_sums"].select(*_KEY, "measure", _CURRENCY, "minor_units"))
        .group_by([*_KEY, _CURRENCY])
        .aggregate(
            **{
                measure: ibis.coalesce(_.minor_units.sum(where=_.measure == measure), 0).cast("int64")
                for measure in measures
            }
        )
    )
    sums = sums.filter(reduce(or_, (sums[measure] != 0 for measure in measures)))
    opened = parts["openings"].select(*_KEY, opened_status="status", opened_version="version")
    both = (
        parts["states"]
        .outer_join(opened, _KEY)
        .select(*_KEY, *(f"{name}_right" for name in _KEY), "status", "version", "opened_status", "opened_version")
    )
    moved = both.version.notnull() & (both.opened_version.isnull() | (both.version > both.opened_version))
    statuses = both.select(
        **{name: ibis.coalesce(both[name], both[f"{name}_right"]) for name in _KEY},
        status=ibis.coalesce(ibis.ifelse(moved, both.status, both.opened_status), never_moved),
        changed_ms=_coarse(
            ibis.coalesce(ibis.ifelse(moved, both.version, both.opened_version).substr(0, 15).cast("int64"), 0),
            precision_ms,
        ),
    )
    joined = statuses.left_join(sums, _KEY)
    return joined.select(
        *_KEY,
        currency=ibis.coalesce(joined.currency, ""),
        status=joined.status,
        **{measure: ibis.coalesce(joined[measure], 0) for measure in measures},
        changed_ms=joined.changed_ms,
    )


def _coarse(at_ms: Any, precision_ms: int) -> Any:
    return at_ms - at_ms % precision_ms


def differences(engine: Engine, legacy: Table, aws: Table, key: Sequence[str], fields: Sequence[str]) -> Table:
    """What one side lacks, and where the two differ: the key, what it is, and each field of both sides.

    Nearly all rows are the same on both sides: they are joined by their keys with 64 bits of a hash in the place of
    the fields, which spares half of the memory and of the time. What is suspect so is then compared field by field.
    """
    ours, theirs = (_fingerprinted(engine, side, key, fields) for side in (legacy, aws))
    joined = ours.outer_join(theirs, [*key])
    suspects = joined.filter(
        joined.fingerprint.isnull()
        | joined.fingerprint_right.isnull()
        | (joined.fingerprint != joined.fingerprint_right)
    )
    suspects = suspects.select(**{name: ibis.coalesce(suspects[name], suspects[f"{name}_right"]) for name in key})
    # Fetched, for an engine would work it out once for each side.
    few = ibis.memtable(suspects.to_pyarrow())
    return _exactly(legacy.semi_join(few, [*key]), aws.semi_join(few, [*key]), key, fields)


def _fingerprinted(engine: Engine, side: Table, key: Sequence[str], fields: Sequence[str]) -> Table:
    columns = [side[name] for name in fields]
    signature = (tuple(column.type() for column in columns), dt.int64 if engine.hash == "xxhash64" else dt.uint64)

    def hashed() -> None:
        """Stands for the engine's own function, which takes as many values as it is given."""

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in fields]
    hashed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made = ibis.udf.scalar.builtin(hashed, name=engine.hash, signature=signature)
    return side.select(*key, fingerprint=made(*columns))


def _unequal(left: Any, right: Any) -> Any:
    return ibis.coalesce(left != right, left.isnull() != right.isnull())


def _exactly(legacy: Table, aws: Table, key: Sequence[str], fields: Sequence[str]) -> Table:
    other = aws.select(**{f"aws_{name}": name for name in (*key, *fields)})
    joined = legacy.select(*key, *fields).outer_join(other, [(name, f"aws_{name}") for name in key])
    missing = [joined[f"aws_{key[0]}"].isnull(), joined[key[0]].isnull()]
    unequal = [_unequal(joined[name], joined[f"aws_{name}"]) for name in fields]
    told = joined.filter(reduce(or_, [*missing, *unequal]))
    return told.select(
        **{name: ibis.coalesce(told[name], told[f"aws_{name}"]) for name in key},
        difference=ibis.cases(
            (told[f"aws_{key[0]}"].isnull(), MISSING_ON_AWS),
            (told[key[0]].isnull(), MISSING_IN_LEGACY),
            else_=DIFFERS,
        ),
        **{f"legacy_{name}": told[name] for name in fields},
        **{f"aws_{name}": told[f"aws_{name}"] for name in fields},
    )


def totals(payments: Table, measures: Sequence[str]) -> Table:
    """How many payments a side has in each currency, and the sums of their money in minor units."""
    return (
        payments.group_by(_CURRENCY)
        .aggregate(payments=_.count(), **{measure: payments[measure].sum().cast("int64") for measure in measures})
        .order_by(_CURRENCY)
    )
