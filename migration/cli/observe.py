"""envmig logs, traces and dashboard: what the functions said, how long each step took, and how it all went."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from migration import traces as tracing
from migration.cli.common import AsJson, Suffix, Target, reporting, stop
from migration.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migration.traces import Whole

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_POLL_S = 1.0
_BAR = 40

Find = Annotated[str, typer.Option(help="only lines with this text: a correlation id, an event, a payment")]


def logs(
    function: Annotated[str, typer.Option(help="webhook, drain or validate; all when left out")] = "",
    find: Find = "",
    since: Annotated[str, typer.Option(help="how far back, as 10m, 2h or 7d")] = "10m",
    follow: Annotated[bool, typer.Option("--follow", help="go on with what comes")] = False,
    target: Target = "local",
    suffix: Suffix = "prod",
    as_json: AsJson = False,
) -> None:
    """Show what the functions said: a line a delivery."""
    began = int((time.time() - _seconds(since, "--since")) * 1000)
    with reporting():
        deployment = Deployment.find(target, suffix)
        client = deployment.client("reader", "logs")
        names = [function] if function else ["webhook", "drain", "validate"]
        groups = [f"/aws/lambda/envmig-{name}-{suffix}" for name in names]
        console = Console(soft_wrap=True)
        newest, told = dict.fromkeys(groups, began), 0
        while True:
            for line in _lines(client, groups, newest):
                if find in line:
                    told += 1
                    print(line) if as_json else console.print(_readable(json.loads(line)))
            if not follow:
                break
            time.sleep(_POLL_S)
    if not told:
        stop(f"nothing was said in the last {since}" + (f" with {find!r} in it" if find else ""))


def _lines(client: Any, groups: list[str], newest: dict[str, int]) -> Iterator[str]:
    """The functions' own lines since a time, oldest first; metrics and Lambda's own lines are left out."""
    found: list[tuple[int, str]] = []
    for group in groups:
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=newest[group] + 1)
        for page in pages:
            for event in page["events"]:
                newest[group] = max(newest[group], event["timestamp"])
                line = event["message"].strip()
                if line.startswith('{"message"'):
                    found.append((event["timestamp"], line))
    yield from (line for _, line in sorted(found))


def _readable(line: dict[str, Any]) -> Text:
    """A line for people: what came, what became of it, how long it took."""
    style = {"WARN": "yellow", "ERROR": "red"}.get(line["level"], "")
    outcomes = [
        f"{item.get('event_id', item.get('reason'))} {item['outcome']}"
        for message in line.get("messages", [line])
        for item in message.get("items", [message] if "outcome" in message else [])
    ]
    parts = [
        line["timestamp"], line["message"], line.get("provider", ""), str(line.get("status", "")),
        "; ".join(outcomes),
        line.get("problem", ""), f"{line['duration_ms']} ms", line.get("trace", ""), "cold" if line["cold"] else "",
    ]  # fmt: skip
    return Text("  ".join(part for part in parts if part), style=style)


def traces(
    correlation: Annotated[
        str | None, typer.Argument(help="one delivery's correlation id; the last when left out")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many at most")] = 5,
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Show the last deliveries step by step, through webhook, buffer and drain; on aws, of the last six hours."""
    with reporting():
        deployment = Deployment.find(target, suffix)
        if target == "local":
            documents = tracing.load(Path(deployment.outputs["local"]["traces"]))
        else:
            documents = tracing.find_in_x_ray(deployment.client("reader", "xray"), correlation, limit)
        wholes = tracing.together(documents)
    if correlation:
        wholes = [whole for whole in wholes if whole.correlation == correlation]
    if not wholes:
        stop(f"there is no trace of {correlation!r}" if correlation else "there are no traces yet: send a webhook")
    console = Console(soft_wrap=True)
    for whole in wholes[-limit:]:
        _draw(whole, console)


def _draw(whole: Whole, console: Console) -> None:
    """One delivery as a waterfall."""
    length = max(whole.ended - whole.began, 1e-6)
    at = datetime.fromtimestamp(whole.began, UTC).isoformat(timespec="milliseconds")
    console.print(
        Text(f"{whole.correlation}  {at}  {length * 1000:.1f} ms  X-Ray {', '.join(whole.trace_ids)}", "bold")
    )
    for part in whole.parts:
        first = round((part.began - whole.began) / length * _BAR)
        width = max(1, round((part.ended - part.began) / length * _BAR))
        bar = " " * min(first, _BAR - 1) + "█" * min(width, _BAR - min(first, _BAR - 1))
        said = {name: value for name, value in part.annotations.items() if name not in ("correlation", "payment")}
        notes = " ".join(f"{name}={value}" for name, value in said.items() if part.depth or name == "provider")
        name = f"{'  ' * part.depth}{part.name}"
        taken = (part.ended - part.began) * 1000
        text = f"  {name:<10} {bar:<{_BAR}} {taken:8.2f} ms  {notes}  {part.fault or ''}"
        console.print(Text(text.rstrip(), "red" if part.fault else ""))


def dashboard(
    out: Annotated[Path, typer.Option(help="the picture's file; its suffix names the format: svg, png or pdf")],
    last: Annotated[str, typer.Option(help="how far back, as 10m, 2h or 7d")] = "1h",
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Draw the dashboard, as it is deployed, from the metrics that CloudWatch recorded."""
    # Drawing takes half a second to import, and no other command needs it.
    from migration.dashboard import Recorded, draw  # noqa: PLC0415

    if out.suffix not in {".svg", ".png", ".pdf"}:
        stop(f"{out} is none of .svg, .png and .pdf")
    span = timedelta(seconds=_seconds(last, "--last"))
    with reporting():
        recorded = Recorded(Deployment.find(target, suffix).client("reader", "cloudwatch"))
        charts = [(widget, recorded.lines(widget, span)) for widget in recorded.widgets(f"envmig-dashboard-{suffix}")]
    draw(charts, span, out)
    print(f"{out}: {len(charts)} charts of the last {last}")


def _seconds(told: str, option: str) -> int:
    """A span such as 10m in seconds."""
    span = _SPAN.fullmatch(told)
    if not span:
        stop(f"{option} {told!r} is not of the form 10m, 2h or 7d")
    return int(span[1]) * _UNITS[span[2]]
