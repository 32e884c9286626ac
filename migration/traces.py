"""Traces as the local agent keeps them: put together by their correlation id, across functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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
                    documents.append(json.loads(line))
                except ValueError:
                    continue
    return documents


def together(documents: Iterable[dict[str, Any]]) -> list[Whole]:
    """Deliveries in the order in which they began.

    A batch of the drain's serves several deliveries: each has its own steps and shares the drain's segment.
    """
    listed = list(documents)
    of_delivery: dict[str, list[dict[str, Any]]] = {}
    for document in listed:
        if correlation := document.get("annotations", {}).get("correlation"):
            of_delivery.setdefault(correlation, []).append(document)
    segments = {document["id"]: document for document in listed if document.get("type") != "subsegment"}
    wholes = []
    for correlation, mine in of_delivery.items():
        parents = {
            document["parent_id"]: segments.get(document["parent_id"]) for document in mine if "parent_id" in document
        }
        documents_ = [*mine, *(parent for parent in parents.values() if parent and parent not in mine)]
        trace_ids = tuple(dict.fromkeys(document["trace_id"] for document in documents_))
        parts = sorted((_part(document) for document in documents_), key=lambda part: (part.began, part.depth))
        wholes.append(Whole(correlation, trace_ids, parts))
    return sorted(wholes, key=lambda whole: whole.began)


def _part(document: dict[str, Any]) -> Part:
    exceptions = document.get("cause", {}).get("exceptions", [])
    return Part(
        document["name"],
        document["start_time"],
        document["end_time"],
        1 if document.get("type") == "subsegment" else 0,
        document.get("annotations", {}),
        str(exceptions[0]["message"]) if exceptions else None,
    )
