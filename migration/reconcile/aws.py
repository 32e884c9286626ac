"""The AWS side as Parquet: by a scan in parallel segments, or from a point-in-time export that was downloaded."""

from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from adapters.items import read_event, read_state, text
from migration.opening import milliseconds, read_opening
from migration.reconcile.rows import Writer, nfc
from payments.state import movement_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from adapters.items import Item
    from migration.deployment import Deployment

_KEY = [("provider", pa.string()), ("account", pa.string()), ("payment", pa.string())]
_MONEY = [("measure", pa.string()), ("currency", pa.string()), ("minor_units", pa.int64())]
PARTS = {
    "states": pa.schema([*_KEY, ("status", pa.string()), ("version", pa.string())]),
    "movements": pa.schema([*_KEY, ("movement", pa.string()), *_MONEY]),
    "openings": pa.schema([*_KEY, ("status", pa.string()), ("version", pa.string()), ("as_of_ms", pa.int64())]),
    "opening_sums": pa.schema([*_KEY, *_MONEY]),
    "events": pa.schema(
        [*_KEY, ("event", pa.string()), ("movement", pa.string()), ("received_ms", pa.int64()),
         ("owner", pa.string())]
    ),
}  # fmt: skip
"""The files of a side that keeps movements and openings, which one expression adds up to payments' rows."""


class ExportError(Exception):
    """The folder holds no export of the table."""


class Parts:
    """The files while they are written; several segments may write at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writers = {name: Writer(folder / f"{name}.parquet", schema) for name, schema in PARTS.items()}
        self._writing = threading.Lock()

    def add(self, items: list[Item]) -> None:
        """Add items, whatever they are of."""
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
        for item in items:
            _READERS.get(text(item, "entity") or "", _skip)(item, rows)
        with self._writing:
            for name, some in rows.items():
                self._writers[name].add(some)

    def close(self) -> dict[str, int]:
        """End the files; how many rows each has."""
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.push(writer)
        return {name: writer.rows for name, writer in self._writers.items()}


def _skip(item: Item, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Bodies, evidence and validation's own items are no rows of either side."""


def _key(item: Item) -> dict[str, str]:
    return {name: nfc(item[name]["S"]) for name, _ in _KEY}


def _state(item: Item, rows: dict[str, list[dict[str, Any]]]) -> None:
    key, state = _key(item), read_state(item)
    rows["states"].append({**key, "status": state.status and str(state.status), "version": state.version})
    for movement, money in state.movements.items():
        measure = movement.split("#", 2)[1]
        rows["movements"].append({**key, "movement": movement, "measure": measure, "currency": money.currency,
                                  "minor_units": money.minor_units})  # fmt: skip


def _opening(item: Item, rows: dict[str, list[dict[str, Any]]]) -> None:
    key, opening = _key(item), read_opening(item)
    rows["openings"].append({**key, "status": str(opening.status), "version": opening.version,
                             "as_of_ms": milliseconds(opening.as_of)})  # fmt: skip
    for (measure, currency), amount in opening.sums.items():
        rows["opening_sums"].append({**key, "measure": measure, "currency": currency, "minor_units": amount})


def _event(item: Item, rows: dict[str, list[dict[str, Any]]]) -> None:
    event, received_at = read_event(item)
    movement = event.movement and movement_key(event.movement.measure, event.movement.id)
    rows["events"].append(
        {
            "provider": event.provider, "account": nfc(event.account), "event": nfc(event.id),
            "payment": event.payment and nfc(event.payment), "movement": movement,
            "received_ms": milliseconds(received_at), "owner": text(item, "owner"),
        }
    )  # fmt: skip


_READERS: dict[str, Callable[[Item, dict[str, list[dict[str, Any]]]], None]] = {
    "state": _state,
    "opening": _opening,
    "event": _event,
}


def scan(deployment: Deployment, folder: Path, segments: int, progress: Callable[[int], object]) -> dict[str, int]:
    """Read the whole table with the operator's rights; how many rows each part has.

    States and openings come from the table, events from an index, which does not carry their bodies.
    """
    parts = Parts(folder)
    name = deployment.output("data", "table_name")
    index = deployment.output("data", "table_indexes")["by_day"]
    of_table = {
        "TableName": name,
        "FilterExpression": "entity IN (:state, :opening)",
        "ExpressionAttributeValues": {":state": {"S": "state"}, ":opening": {"S": "opening"}},
    }
    of_index = {"TableName": name, "IndexName": index}

    def segment(request: dict[str, Any], number: int) -> None:
        client = deployment.client("operator", "dynamodb")
        pages = client.get_paginator("scan").paginate(**request, Segment=number, TotalSegments=segments)
        for page in pages:
            parts.add(page["Items"])
            progress(len(page["Items"]))

    try:
        with ThreadPoolExecutor(segments) as pool:
            for request in (of_table, of_index):
                list(pool.map(lambda number, request=request: segment(request, number), range(segments)))
    finally:
        counts = parts.close()
    return counts


def export(exported: Path, folder: Path, progress: Callable[[int], object]) -> dict[str, int]:
    """Read an export to S3 in DynamoDB's JSON, as `aws s3 sync` brings it; how many rows each part has.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
    """
    files = sorted(exported.rglob("*.json.gz"))
    if not files:
        raise ExportError(f"{exported} holds no *.json.gz of an export: sync its AWSDynamoDB folder there")
    parts = Parts(folder)
    try:
        for file in files:
            for items in _chunks(file):
                parts.add(items)
                progress(len(items))
    finally:
        counts = parts.close()
    return counts


def _chunks(file: Path) -> Iterator[list[Item]]:
    items: list[Item] = []
    with gzip.open(file, "rt") as lines:
        for line in lines:
            items.append(json.loads(line)["Item"])
            if len(items) == 1000:  # noqa: PLR2004 (any bound will do)
                yield items
                items = []
    yield items
