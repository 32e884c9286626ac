"""The dashboard as a picture: its widgets as they are deployed, drawn from the metrics that CloudWatch recorded."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POINTS = 60
"""How many points a line has at most."""
_PERIODS_S = (1, 5, 10, 30, 60, 300, 900, 3600)
_UNIT_INCHES = 0.55
"""One unit of a dashboard's grid, which is 24 wide."""
_AT_ONCE = 500
"""GetMetricData's own limit of queries."""

# The one form of search that the dashboard uses: all values of one more dimension than the environment.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
_SEARCH = re.compile(
    r"SEARCH\('\{(?P<namespace>\w+),Environment,(?P<dimension>\w+)\} "
    r'MetricName="(?P<metric>\w+)" Environment="(?P<environment>[^"]+)"\', \'(?P<stat>\w+)\'\)'
)


class Line(NamedTuple):
    """One line of a chart."""

    label: str
    times: list[datetime]
    values: list[float]


class _Series(NamedTuple):
    """One metric that a widget names or searches for."""

    namespace: str
    metric: str
    dimensions: dict[str, str]
    stat: str
    label: str


class Recorded:
    """The metrics that CloudWatch has recorded."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def widgets(self, name: str) -> list[dict[str, Any]]:
        """The widgets of a dashboard as they are deployed."""
        body = json.loads(self._client.get_dashboard(DashboardName=name)["DashboardBody"])
        widgets: list[dict[str, Any]] = body["widgets"]
        return widgets

    def lines(self, widget: dict[str, Any], span: timedelta) -> list[Line]:
        """What a widget shows of the last while; a metric without data has an empty line."""
        series = [each for entry in widget["properties"]["metrics"] for each in self._series(entry)]
        period_s = next(each for each in (*_PERIODS_S, 86_400) if span.total_seconds() / each <= _POINTS)
        queries = [
            {
                "Id": f"m{place}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": each.namespace,
                        "MetricName": each.metric,
                        "Dimensions": [{"Name": name, "Value": value} for name, value in each.dimensions.items()],
                    },
                    "Period": period_s,
                    "Stat": each.stat,
                },
            }
            for place, each in enumerate(series)
        ]
        now = datetime.now(UTC)
        told: dict[str, tuple[list[datetime], list[float]]] = {}
        for start in range(0, len(queries), _AT_ONCE):
            answer = self._client.get_metric_data(
                MetricDataQueries=queries[start : start + _AT_ONCE],
                StartTime=now - span,
                EndTime=now,
                ScanBy="TimestampAscending",
            )
            for result in answer["MetricDataResults"]:
                told[result["Id"]] = (result["Timestamps"], result["Values"])
        return [Line(each.label, *told.get(f"m{place}", ([], []))) for place, each in enumerate(series)]

    def _series(self, entry: list[Any]) -> Iterator[_Series]:
        if not isinstance(entry[0], dict):
            namespace, metric, *dimensions, how = entry
            named = dict(zip(dimensions[::2], dimensions[1::2], strict=True))
            yield _Series(namespace, metric, named, how["stat"], how["label"])
            return
        search = _SEARCH.fullmatch(entry[0]["expression"])
        if search is None:
            raise ValueError(f"a widget searches for what is not understood here: {entry[0]['expression']}")
        fixed = {"Environment": search["environment"]}
        pages = self._client.get_paginator("list_metrics").paginate(
            Namespace=search["namespace"],
            MetricName=search["metric"],
            Dimensions=[{"Name": name, "Value": value} for name, value in fixed.items()],
        )
        wanted = {"Environment", search["dimension"]}
        for page in pages:
            for metric in page["Metrics"]:
                dimensions_of = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
                if dimensions_of.keys() == wanted:
                    of = dimensions_of[search["dimension"]]
                    yield _Series(search["namespace"], search["metric"], dimensions_of, search["stat"], of)


def draw(charts: list[tuple[dict[str, Any], list[Line]]], span: timedelta, file: Path) -> None:
    """Draw widgets with their lines where the dashboard has them; the file's suffix names the format."""
    now: Any = datetime.now(UTC)
    height = max(widget["y"] + widget["height"] for widget, _ in charts)
    style: Any = {
        "font.size": 8,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "svg.hashsalt": "envmig",
        "date.converter": "concise",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(24 * _UNIT_INCHES, height * _UNIT_INCHES), layout="constrained")
        grid = figure.add_gridspec(height, 24)
        for widget, lines in charts:
            rows = slice(widget["y"], widget["y"] + widget["height"])
            columns = slice(widget["x"], widget["x"] + widget["width"])
            axes = figure.add_subplot(grid[rows, columns])
            axes.set_title(widget["properties"]["title"], loc="left", fontsize=9)
            drawn = [line for line in lines if line.values]
            for line in drawn:
                # Any: matplotlib takes datetimes, and its types do not say so.
                times: Any = line.times
                axes.plot(times, line.values, marker=".", label=line.label, linewidth=1.2)
            if drawn:
                axes.set_xlim(now - span, now)
                # Room above the lines for their names.
                axes.set_ylim(0, 1.45 * max(max(line.values) for line in drawn) or 1)
                axes.legend(fontsize=6, ncols=4, loc="upper left", frameon=False)
            else:
                axes.set_xticks([])
                axes.set_yticks([])
                axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="grey")
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
