"""What AWS does by itself and the emulator does not: takes X-Ray's datagrams, and reads metrics out of the logs.

It runs beside the emulator, in a process of its own, for as long as the emulator does. Traces are kept in
traces.jsonl, and metrics go into the emulator's CloudWatch, where alarms see them.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.cloud import Cloud
from local_aws.emulator import REGION

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACES = "traces.jsonl"
"""One segment or subsegment a line, as it was sent."""

_LARGEST_FILE = 20_000_000
_LARGEST_DATAGRAM = 65_536
_POLL_S = 1.0
_METRICS_AT_ONCE = 500
_GROUPS = "/aws/lambda/envmig-"
_GRACE_S = 20.0
"""How long the emulator may take to start."""


class Agent(NamedTuple):
    """The agent of one folder for local state."""

    home: Path

    def take_traces(self, wire: socket.socket) -> None:
        """Keep every datagram in X-Ray's form, and the newest of a bounded number of bytes."""
        file = self.home / TRACES
        while True:
            head, _, document = wire.recv(_LARGEST_DATAGRAM).partition(b"\n")
            if b'"format"' not in head:
                continue
            if file.exists() and file.stat().st_size > _LARGEST_FILE:
                file.replace(file.with_suffix(".old.jsonl"))
            with file.open("ab") as kept:
                kept.write(document.replace(b"\n", b" ") + b"\n")

    def take_metrics(self, cloud: Cloud, since_ms: int) -> int:
        """Put what the functions' logs hold of metrics since a moment into CloudWatch; the moment to go on from."""
        newest = since_ms
        for group in cloud.logs.describe_log_groups(logGroupNamePrefix=_GROUPS)["logGroups"]:
            pages = cloud.logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=since_ms + 1, filterPattern="CloudWatchMetrics"
            )
            for page in pages:
                found: dict[str, list[Any]] = {}
                for event in page["events"]:
                    newest = max(newest, event["timestamp"])
                    for namespace, datum in embedded(event["message"]):
                        found.setdefault(namespace, []).append(datum)
                for namespace, data in found.items():
                    for start in range(0, len(data), _METRICS_AT_ONCE):
                        cloud.cloudwatch.put_metric_data(
                            Namespace=namespace, MetricData=data[start : start + _METRICS_AT_ONCE]
                        )
        return newest


def embedded(line: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The metrics of a line in the embedded format, by namespace, as PutMetricData takes them."""
    try:
        told = json.loads(line)
        directives, at_ms = told["_aws"]["CloudWatchMetrics"], told["_aws"]["Timestamp"]
    except (KeyError, TypeError, ValueError):
        return
    for directive in directives:
        for names in directive["Dimensions"]:
            dimensions = [{"Name": name, "Value": str(told[name])} for name in names]
            for metric in directive["Metrics"]:
                value = told[metric["Name"]]
                yield (
                    directive["Namespace"],
                    {
                        "MetricName": metric["Name"],
                        "Unit": metric.get("Unit", "None"),
                        "Dimensions": dimensions,
                        "Timestamp": datetime.fromtimestamp(at_ms / 1000, UTC),
                        "Values": value if isinstance(value, list) else [value],
                    },
                )


def main() -> None:
    """Run until the emulator is gone."""
    home = Path(sys.argv[1])
    agent = Agent(home)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))
        (home / "agent-port").write_text(str(wire.getsockname()[1]))
        threading.Thread(target=agent.take_traces, args=(wire,), daemon=True).start()
        began = time.time()
        newest = int(began * 1000)
        cloud: Cloud | None = None
        mine = 0
        while True:
            time.sleep(_POLL_S)
            told = _emulator(home)
            if told is None:
                if time.time() - began > _GRACE_S:
                    return
                continue
            if cloud is None:
                cloud, mine = Cloud(told["endpoint"], REGION, {}), told["pid"]
            elif told["pid"] != mine:
                # Another emulator has another agent.
                return
            began = 0.0
            # An emulator that is busy or about to end; what was missed is found by the next look.
            with contextlib.suppress(ClientError, BotoCoreError):
                newest = agent.take_metrics(cloud, newest)


def _emulator(home: Path) -> dict[str, Any] | None:
    """What is recorded of the running emulator, or None."""
    try:
        told: dict[str, Any] = json.loads((home / "emulator.json").read_text())
    except (OSError, ValueError):
        return None
    return told if psutil.pid_exists(told["pid"]) else None


if __name__ == "__main__":
    main()
