"""The report as one page that needs nothing but itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

_SIZE = (9.0, 2.4)
_GAP = 8
"""How many times the usual pause between two looks is an interruption."""
_STYLE: Any = {
    "axes.grid": True, "axes.spines.right": False, "axes.spines.top": False, "date.converter": "concise",
    "font.size": 9, "grid.alpha": 0.3, "svg.hashsalt": "envmig", "svg.fonttype": "none",
}  # fmt: skip
_COLOURS = {"aws": "#d97706", "legacy": "#2b5fb8", "mixed": "#7c8794"}


def render(report: dict[str, Any], digest: str) -> str:
    """The page of a report, whose data have the digest."""
    templates = Environment(
        loader=PackageLoader("migration.evidence"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    last = (report["reconciliations"] or [None])[-1]
    # The two sides of a currency beneath each other.
    totals = sorted(
        ((row["currency"], side, row) for side, rows in (last["totals"] if last else {}).items() for row in rows),
        key=lambda each: (each[0], each[1] == "aws"),
    )
    return templates.get_template("report.html").render(
        report=report, digest=digest, charts=_charts(report), last=last, totals=totals
    )


def _charts(report: dict[str, Any]) -> list[tuple[str, Markup]]:
    looks = [look for look in report["looks"] if look["numbers"]]
    times: Any = [datetime.fromisoformat(look["at"]) for look in looks]

    def of(*names: str) -> list[list[float]]:
        return [[look["numbers"][name] for look in looks] for name in names]

    def traffic(axes: Axes) -> None:
        spans, seconds = report["traffic"]["spans"], report["traffic"]["seconds"]
        owners = sorted(report["traffic"]["total"])
        at: Any = [datetime.fromisoformat(span["from"]) for span in spans]
        rates = [[span["by_owner"].get(owner, 0) / seconds for span in spans] for owner in owners]
        axes.stackplot(at, rates, labels=owners, colors=[_COLOURS[owner] for owner in owners], step="post")
        axes.legend(loc="upper left", frameon=False, ncols=3)

    def share(axes: Axes) -> None:
        for step in report["steps"]:
            until = step["until"] or report["made_at"]
            ends: Any = [datetime.fromisoformat(step["from"]), datetime.fromisoformat(until)]
            axes.plot(ends, [step["percent"]] * 2, color=_COLOURS["aws"], linewidth=3, solid_capstyle="butt")
            if step["ended_because"] and not step["ended_because"].startswith(("all gates", "finished")):
                axes.plot(ends[1:], [step["percent"]], marker="v", color="#b3261e", markersize=8)
        axes.set_ylim(-4, 104)

    def line(axes: Axes, *named: tuple[str, str]) -> None:
        for (_, label), values in zip(named, of(*(name for name, _ in named)), strict=True):
            axes.plot(*_broken(times, values), marker=".", label=label, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", frameon=False, ncols=3)

    drawn: list[tuple[str, Callable[[Axes], None]]] = [
        ("Acknowledged webhooks a second, by owner", traffic),
        ("AWS's share of payments, %; a red mark where it went back", share),
        ("Oldest that waits for AWS, s", lambda axes: line(axes, ("lag_s", "lag"))),
        ("Delivery, 99th percentile, ms",
         lambda axes: line(axes, ("aws_p99_ms", "AWS"), ("legacy_p99_ms", "legacy"))),
        ("Mismatches, and payments that differ in the sample",
         lambda axes: line(axes, ("mismatches", "requests"), ("differing", "payments"))),
        ("Failed tries and new dead letters",
         lambda axes: line(axes, ("failed", "failed tries"), ("dead_letters", "dead letters"))),
    ]  # fmt: skip
    return [(title, _svg(draw)) for title, draw in drawn]


def _broken(times: list[datetime], values: list[float]) -> tuple[Any, list[float]]:
    """A line that is interrupted where nobody looked for long: between two runs nothing is known."""
    apart = sorted(after - before for before, after in pairwise(times))
    long = _GAP * apart[len(apart) // 2] if apart else timedelta()
    at: list[datetime] = []
    told: list[float] = []
    for time, value in zip(times, values, strict=True):
        if at and time - at[-1] > long:
            at.append(at[-1] + (time - at[-1]) / 2)
            told.append(float("nan"))
        at.append(time)
        told.append(value)
    return at, told


def _svg(draw: Callable[[Axes], None]) -> Markup:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    # matplotlib escapes what it writes into a picture.
    return Markup(written.getvalue().partition("<svg")[1] + written.getvalue().partition("<svg")[2])  # noqa: S704
