"""The report's data: everything that was decided and found, from the journal, the spools and the reconciliations.

Its form is report.schema.json beside this file.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migration.cutover import journal as lines
from migration.cutover.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migration.cutover.plan import Plan
    from migration.relay.spool import Spool

SCHEMA = Path(__file__).with_name("report.schema.json")
FORM = "urn:envmig:report:1"
"""Which form it has; a change that a reader would have to know of changes the number."""

_BUCKETS = 120
"""Into how many spans of time the traffic is counted."""


class EvidenceError(Exception):
    """The report cannot be made or is not what was signed; the message says why."""


def collect(
    plan: Plan, spools: Sequence[tuple[str, Spool]], reconciliations: Sequence[Path], who: str
) -> dict[str, Any]:
    """Gather the report's data.

    Parameters
    ----------
    spools
        Each relay's spool by its name.
    reconciliations
        What `envmig reconcile --out` wrote, in any order.
    """
    written = Journal(plan.journal).lines()
    found = sorted((_reconciliation(file) for file in reconciliations), key=lambda each: str(each["began"]))
    last = found[-1] if found else None
    return {
        "form": FORM,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": who,
        "software": f"envmig {version('envmig')}",
        "environment": plan.suffix,
        "verdict": _verdict(written, last),
        "steps": _steps(written),
        "looks": [_look(line) for line in written if line["what"] == lines.LOOKED],
        "asked": [
            {name: line[name] for name in ("at", "asked", "who", "why")}
            for line in written if line["what"] == lines.ASKED
        ],
        "routings": [change for name, spool in spools for change in _routings(name, spool)],
        "traffic": _traffic([spool for _, spool in spools]),
        "reconciliations": found,
    }  # fmt: skip


def _verdict(written: list[dict[str, Any]], last: dict[str, Any] | None) -> dict[str, Any]:
    """What it comes down to: how the cut-over ended, and whether the two sides agree."""
    ended = [line for line in written if line["what"] == lines.ENDED]
    looks = [line["numbers"] for line in written if line["what"] == lines.LOOKED and line["numbers"]]
    return {
        "cutover": ended[-1]["how"] if ended else "running" if written else "not begun",
        "rollbacks": sum(line["how"] != "finished" for line in ended),
        "lost": sum(len(numbers["lost"]) for numbers in looks),
        "applied_twice": sum(len(numbers["twice"]) for numbers in looks),
        "moved_backwards": sum(len(numbers["backwards"]) for numbers in looks),
        "agree": None if last is None else not last["confirmed"] and not last["unsettled"],
        "differences": None if last is None else len(last["confirmed"]),
    }


def _steps(written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each share of AWS's, from when to when, and why it ended."""
    steps: list[dict[str, Any]] = []

    def begin(at: str, percent: float) -> None:
        steps.append({"percent": percent, "from": at, "until": None, "ended_because": None})

    def end(at: str, why: str) -> None:
        if steps and steps[-1]["until"] is None:
            steps[-1] |= {"until": at, "ended_because": why}

    for line in written:
        if line["what"] == lines.BEGAN:
            begin(line["at"], line["steps"][0])
        elif line["what"] == lines.LOOKED and line["action"] == "advance":
            end(line["at"], line["why"])
            begin(line["at"], line["percent"])
        elif line["what"] == lines.ENDED:
            end(line["at"], f"{line['how']}: {line['why']}")
    return steps


def _look(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("at", "percent", "action", "why", "numbers")}


def _routings(name: str, spool: Spool) -> list[dict[str, Any]]:
    return [
        {
            "relay": name,
            "at": _moment(row["at_ms"]),
            "mode": row["mode"],
            "percent": row["hundredths"] / 100,
            "epoch": row["epoch"],
            "who": row["who"],
            "why": row["why"],
        }
        for row in reversed(spool.routings(10_000))
    ]


def _traffic(spools: Sequence[Spool]) -> dict[str, Any]:
    """Webhooks that the relays acknowledged, by their owner, over the time that the spools still hold."""
    counted: Counter[tuple[int, str]] = Counter()
    for spool in spools:
        counted.update(dict(spool.by_second_and_owner()))
    if not counted:
        return {"seconds": 0, "total": {}, "spans": []}
    first, last = min(second for second, _ in counted), max(second for second, _ in counted)
    seconds = max(1, -(-(last - first + 1) // _BUCKETS))
    spans: dict[int, Counter[str]] = {first + n * seconds: Counter() for n in range((last - first) // seconds + 1)}
    total: Counter[str] = Counter()
    for (second, owner), count in counted.items():
        spans[first + (second - first) // seconds * seconds][owner] += count
        total[owner] += count
    return {
        "seconds": seconds,
        "total": dict(total),
        "spans": [{"from": _moment(at * 1000), "by_owner": dict(counts)} for at, counts in spans.items()],
    }


def _reconciliation(file: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(file.read_text())
        names = ("began", "ended", "rows", "totals", "suspects", "confirmed", "unsettled")
        return {name: told[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{file} is not what envmig reconcile --out writes: {error}") from error


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
