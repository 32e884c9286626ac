"""Openings a second that a backfill writes to the emulator, beside a bare batch writer of the same items.

Usage: scripts/bench.sh backfill [--rows N] [--runs N] [--json]

The backfill reads PostgreSQL, maps, writes each opening on its condition, and keeps a checkpoint a page. The batch
writer has the items in memory, writes them without a condition, 25 at a time, and knows nothing of where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from bench.system import shown, spread, system
from demo.legacy import Ledger, write_mapping
from demo.postgres import Postgres
from migration.backfill import Backfill, Checkpoint, Pace, opening_of
from migration.deployment import Deployment
from migration.legacy.mapping import load
from migration.legacy.source import Source
from migration.watermark import StandsStill


def bare(table: str, endpoint: str, items: list[dict[str, Any]]) -> float:
    """Items a second by BatchWriteItem."""
    client = boto3.Session("test", "test", region_name="us-east-1").client("dynamodb", endpoint_url=endpoint)
    began = time.monotonic()
    for start in range(0, len(items), 25):
        asked: Any = {table: [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]}
        while asked:
            asked = client.batch_write_item(RequestItems=asked)["UnprocessedItems"]
    return len(items) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {"backfill": [], "bare batch writer": []}
    with tempfile.TemporaryDirectory(prefix="bench-backfill") as own, Postgres() as postgres:
        folder = Path(own)
        Ledger(postgres.url).fill(arguments.rows, 1, datetime.now(UTC))
        write_mapping(folder / "mapping.toml")
        mapping = load(folder / "mapping.toml")
        source = Source(postgres.url, mapping)
        at = datetime.now(UTC)
        items = [opening_of(source.read(row), at).item() for rows in source.stream(5000) for row in rows]
        for run in range(arguments.runs):
            # A deployment each: what is there already would be refused by one of them, and not by the other.
            with system():
                deployment = Deployment.find("local", "bench")
                checkpoint = Checkpoint(folder / f"{run}.json", mapping.digest)
                filling = Backfill(source, StandsStill(at))
                began = time.monotonic()
                filling.pages(deployment, Pace(100_000), checkpoint, lambda _: None)
                rates["backfill"].append(arguments.rows / (time.monotonic() - began))
            with system() as bench:
                endpoint = bench.environment["AWS_ENDPOINT_URL"]
                rates["bare batch writer"].append(bare(bench.environment["TABLE_NAME"], endpoint, items))
        source.close()
    results = {name: spread(values) for name, values in rates.items()}
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{arguments.rows} openings, rows a second, minimum / median / maximum")
    for name, values in results.items():
        print(f"  {name:<18} {shown(values)}")


if __name__ == "__main__":
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    main()
