"""Traces as the local agent keeps them: put together by their correlation id, across functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_X_RAYS_LONGEST_SEARCH = timedelta(hours=6)
_TRACES_AT_ONCE = 5
"""X-Ray's own limit: https://docs.aws.amazon.com/xray/latest/api/API_BatchGetTraces.html"""


class Part(NamedTuple):
    """A segment or one of its subsegments."""

    name: str
    began: float
    ended: float
    depth: int
    annotations: dict[str, Any]
    fault: str | None


class Whole(NamedTuple):
    """Everything that belongs to one delivery."""

    correlation: str
    trace_ids: tuple[str, ...]
    parts: list[Part]

    @property
    def began(self) -> float:
        """When its first part began, in seconds since 1970."""
        return min(part.began for part in self.parts)

    @property
    def ended(self) -> float:
        """When its last part ended."""
        return max(part.ended for part in self.parts)


def load(file: Path) -> list[dict[str, Any]]:
    """The documents of the agent's file and of the one before it; a line that is being written is left out."""
    documents = []
    for each in (file.with_suffix(".old.jsonl"), file):
        if each.exists():
            for line in each.read_bytes().splitlines():
                try:
                    documents += _flat(json.loads(line))
                except ValueError:
                    continue
    return documents


def _flat(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A document, and those within it as if they had been sent by themselves."""
    within = {"trace_id": document["trace_id"], "parent_id": document["id"], "type": "subsegment"}
    return [document, *(part for each in document.pop("subsegments", []) for part in _flat({**each, **within}))]


def together(documents: Iterable[dict[str, Any]]) -> list[Whole]:
    """Deliveries in the order in which they began.

    A batch of the drain's serves several deliveries: each has its own steps and shares the drain's segment.
    """
    listed = list(documents)
    of_delivery: dict[str, list[dict[str, Any]]] = {}
    for document in listed:
        if correlation := document.get("annotations", {}).get("correlation"):
            of_delivery.setdefault(correlation, []).append(document)
    by_id = {document["id"]: document for document in listed}
    wholes = []
    for correlation, mine in of_delivery.items():
        parents = {document.get("parent_id"): by_id.get(document.get("parent_id", "")) for document in mine}
        drawn = [*mine, *(parent for parent in parents.values() if parent and parent not in mine)]
        ids = {document["id"] for document in drawn}
        trace_ids = tuple(dict.fromkeys(document["trace_id"] for document in drawn))
        parts = sorted((_part(each, int(each.get("parent_id") in ids)) for each in drawn), key=_place)
        wholes.append(Whole(correlation, trace_ids, parts))
    return sorted(wholes, key=lambda whole: whole.began)


def _place(part: Part) -> tuple[float, int]:
    return part.began, part.depth


def _part(document: dict[str, Any], depth: int) -> Part:
    exceptions = document.get("cause", {}).get("exceptions", [])
    return Part(
        document["name"],
        document["start_time"],
        # X-Ray shows what is still going on without an end.
        document.get("end_time", document["start_time"]),
        depth,
        document.get("annotations", {}),
        str(exceptions[0]["message"]) if exceptions else None,
    )


def find_in_x_ray(client: Any, correlation: str | None, limit: int) -> list[dict[str, Any]]:
    """The documents of the last hours' traces in X-Ray, of one correlation id or of the latest."""
    now = datetime.now(UTC)
    request: dict[str, Any] = {"StartTime": now - _X_RAYS_LONGEST_SEARCH, "EndTime": now}
    if correlation:
        request["FilterExpression"] = f"annotation.correlation = {json.dumps(correlation)}"
    pages = client.get_paginator("get_trace_summaries").paginate(**request)
    ids = [summary["Id"] for page in pages for summary in page["TraceSummaries"]]
    # An id begins with the second in which its trace did.
    latest = sorted(ids, key=lambda trace: trace.split("-")[1])[-limit:]
    documents: list[dict[str, Any]] = []
    for start in range(0, len(latest), _TRACES_AT_ONCE):
        for trace in client.batch_get_traces(TraceIds=latest[start : start + _TRACES_AT_ONCE])["Traces"]:
            documents += (part for segment in trace["Segments"] for part in _flat(json.loads(segment["Document"])))
    return documents
