"""CloudWatch metrics in the embedded format: lines of their own in the log, which CloudWatch reads as metrics.

Never an id as a dimension: each value of a dimension is a metric that is paid for. The names are listed here, and
the compute layer's alarms and dashboard may use no other.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMESPACE = "Envmig"

COUNTS = frozenset(
    {
        "Buffered", "ColdStarts", "Conflicts", "DeadLetters", "Duplicates", "EventsValidated", "MaskedCards",
        "Mismatches", "Received", "Refused", "Stored", "ValidationRuns", "Waiting",
    }
)  # fmt: skip
SHARES = frozenset({"NotAuthentic", "StoredLate"})
"""0 or 1 for each of many, so that the average is the share of those that are: an alarm needs no arithmetic."""

MILLISECONDS = frozenset({"BufferTime", "EventAge", "ReadTime", "SecretTime", "StoreTime", "VerifyTime"})

BY_PROVIDER = "Provider"
BY_OWNER = "Owner"
BY_REASON = "Reason"

_MOST_VALUES = 100
"""The most values of one metric in a line."""


class Metrics:
    """What one invocation adds to the metrics."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment.get("ENVIRONMENT", "")
        self._values: dict[tuple[bool, str, str], dict[str, list[float]]] = {}

    def add(self, name: str, value: float = 1, dimension: str = "", of: str = "") -> None:
        """Add a value to a metric of the environment, and of what else it is told by."""
        self._add(name, value, (True, dimension, of))

    def add_only(self, name: str, value: float, dimension: str, of: str) -> None:
        """Add a value to the metric of a dimension alone: the environment's was told by another."""
        self._add(name, value, (False, dimension, of))

    def _add(self, name: str, value: float, key: tuple[bool, str, str]) -> None:
        values = self._values.setdefault(key, {}).setdefault(name, [])
        if name in COUNTS and values:
            values[0] += value
        else:
            values.append(value)

    def lines(self) -> Iterator[str]:
        """The lines to print: one, unless a metric has different values by different dimensions, or too many."""
        left = self._values
        while left:
            told: dict[str, Any] = {"Environment": self._environment}
            directives: list[str] = []
            later: dict[tuple[bool, str, str], dict[str, list[float]]] = {}
            for key, metrics in left.items():
                alone, dimension, of = key
                values = {name: _some(given) for name, given in metrics.items()}
                mine = {dimension: of, **values} if dimension else values
                if any(told.get(name, value) != value for name, value in mine.items()):
                    later[key] = metrics
                    continue
                told |= mine
                directives.append(_directive(alone, dimension, tuple(values)))
                if rest := {
                    name: given[_MOST_VALUES:] for name, given in metrics.items() if len(given) > _MOST_VALUES
                }:
                    later[key] = rest
            at_ms = time.time_ns() // 1_000_000
            head = f'{{"_aws":{{"Timestamp":{at_ms},"CloudWatchMetrics":[{",".join(directives)}]}},'
            yield head + json.dumps(told)[1:]
            left = later


def _some(values: list[float]) -> float | list[float]:
    """As many values as a line takes."""
    return values[0] if len(values) == 1 else values[:_MOST_VALUES]


@lru_cache(maxsize=256)
def _directive(alone: bool, dimension: str, names: tuple[str, ...]) -> str:  # noqa: FBT001 (a cache's key)
    """What a line declares; of the few that there are, each is written once."""
    sets = [["Environment"]] if alone else []
    if dimension:
        sets.append(["Environment", dimension])
    declared = [{"Name": name, "Unit": "Milliseconds" if name in MILLISECONDS else "Count"} for name in names]
    return json.dumps({"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": declared})
