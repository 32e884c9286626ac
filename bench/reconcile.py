"""Reconciliation of two sides with 100 differing rows: reading both, and comparing them.

Usage: scripts/bench.sh reconcile [--rows N] [--read N] [--json]

Beside it in the same run: reladiff on the same rows in two PostgreSQL tables. The old side is read from PostgreSQL by
a server-side cursor, AWS's from a point-in-time export; the comparison is a process of its own, whose peak of memory
is told.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from bench.system import ROOT
from demo.legacy import write_mapping
from demo.postgres import Postgres
from migration.legacy.mapping import load
from migration.legacy.source import Source, address
from migration.opening import Opening
from migration.reconcile import aws, legacy
from migration.reconcile.compare import differences, open_engine, payments_on_aws
from migration.reconcile.rows import NEVER_MOVED, PAYMENT_KEY, Compared
from payments.event import Kind

_DIFFERING = 100
_FILL = """
CREATE TABLE {table} AS SELECT n AS id, 'stripe' AS psp, '-' AS merchant,
    'pi_' || md5(n::text) AS reference, (ARRAY['EUR', 'USD'])[1 + n % 2] AS currency,
    (ARRAY['PAID', 'CLEARED', 'REFUNDED'])[1 + n % 3] AS state, 40 AS state_rank,
    timestamptz '2025-01-01' + n * interval '1 second' AS changed_at, timestamptz '2025-01-01' AS created_at,
    (1 + n::bigint * 7919 % 50000)::bigint AS reserved_cents,
    (1 + n::bigint * 7919 % 50000 + {wrong})::bigint AS paid_cents,
    0::bigint AS refunded_cents, 0::bigint AS disputed_cents
FROM generate_series(1, {rows}) n
"""


def compare(folder: Path, engine: str) -> None:
    """The comparison alone, as a process of its own: seconds, differences and the peak of memory."""
    compared = Compared(("authorised", "captured", "refunded", "disputed"), times=True, precision_ms=1)
    opened = open_engine(engine, folder)
    began = time.monotonic()
    sides = [opened.read(folder / name / "payments.parquet") for name in ("legacy", "aws")]
    found = differences(opened, sides[0], sides[1], PAYMENT_KEY, compared.fields).to_pyarrow().num_rows
    took = time.monotonic() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"compare_s": round(took, 2), "differences": found, "peak_mb": round(peak_mb)}))


def filled(postgres: Postgres, rows: int) -> None:
    """Both sides as tables of one database."""
    engine = sa.create_engine(address(postgres.url), isolation_level="AUTOCOMMIT")
    every = max(1, rows // _DIFFERING)
    wrong = f"CASE WHEN n % {every} = 5 AND n < {every * _DIFFERING} THEN 1 ELSE 0 END"
    with engine.connect() as connection:
        for table, expression in (("transactions", "0"), ("other_side", wrong)):
            connection.execute(sa.text(_FILL.format(table=table, wrong=expression, rows=rows)))
            connection.execute(sa.text(f"ALTER TABLE {table} ADD PRIMARY KEY (id)"))
        connection.execute(sa.text("CREATE TABLE webhook_log (psp text, merchant text, event_id text,"
                                   " reference text, taken_at timestamptz)"))  # fmt: skip
    engine.dispose()


def exported(file: Path, rows: int) -> None:
    """An export of as many openings."""
    at = datetime(2025, 1, 1, tzinfo=UTC)
    file.parent.mkdir(parents=True)
    with gzip.open(file, "wt", compresslevel=1) as out:
        for number in range(rows):
            sums = {("authorised", "EUR"): 4200 + number % 100, ("captured", "EUR"): 4200}
            opening = Opening("stripe", "-", f"pi_{number:012d}", Kind.CAPTURED, at, at, sums)
            out.write(json.dumps({"Item": opening.item()}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows a side that are compared")
    parser.add_argument("--read", type=int, default=500_000, help="items that are read from an export")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--compare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compare:
        compare(arguments.compare, "duckdb")
        return
    told: dict[str, float] = {"rows": arguments.rows}
    with tempfile.TemporaryDirectory(prefix="bench-reconcile") as own, Postgres() as postgres:
        folder = Path(own)
        filled(postgres, arguments.rows)
        write_mapping(folder / "mapping.toml")
        mapping = folder / "mapping.toml"
        other = folder / "other.toml"
        other.write_text(mapping.read_text().replace('"transactions"', '"other_side"'))
        compared = Compared(("authorised", "captured", "refunded", "disputed"), times=True, precision_ms=1)
        for name, file in (("legacy", mapping), ("aws", other)):
            source = Source(postgres.url, load(file))
            began = time.monotonic()
            legacy.extract(source, compared, folder / name, lambda _: None)
            if name == "legacy":
                told["read_legacy_rows_per_s"] = round(arguments.rows / (time.monotonic() - began))
            source.close()
        exported(folder / "export" / "data" / "1.json.gz", arguments.read)
        began = time.monotonic()
        aws.export(folder / "export", folder / "parts", lambda _: None)
        told["read_export_items_per_s"] = round(arguments.read / (time.monotonic() - began))
        engine = open_engine("duckdb", folder)
        began = time.monotonic()
        parts = {name: engine.read(folder / "parts" / f"{name}.parquet") for name in aws.PARTS}
        payments_on_aws(parts, compared.measures, 1, NEVER_MOVED).to_parquet(folder / "added.parquet")
        told["add_up_items_per_s"] = round(arguments.read / (time.monotonic() - began))
        command = [sys.executable, "-m", "bench.reconcile", "--compare", own]
        runs = [json.loads(subprocess.check_output(command, cwd=ROOT, text=True)) for _ in range(3)]
        for what in ("compare_s", "peak_mb"):
            values = sorted(run[what] for run in runs)
            told |= {f"{what}_min": values[0], f"{what}_median": values[1], f"{what}_max": values[2]}
        told["differences"] = runs[0]["differences"]
        told |= reladiff(postgres.url)
    if arguments.json:
        print(json.dumps(told))
        return
    for name, value in told.items():
        print(f"  {name:<26} {value:>14,}")


def reladiff(url: str) -> dict[str, float]:
    """The same two tables by reladiff."""
    program = ROOT / ".local" / "bench-venv" / "bin" / "reladiff"
    names = ["currency", "state", "changed_at", "reserved_cents", "paid_cents", "refunded_cents", "disputed_cents"]
    columns = [option for name in names for option in ("-c", name)]
    command = [str(program), url, "transactions", url, "other_side", "-k", "id", *columns, "--stats", "--json"]
    began = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    if ran.returncode:
        sys.exit(ran.stderr)
    return {"reladiff_s": round(time.monotonic() - began, 2)}


if __name__ == "__main__":
    main()
