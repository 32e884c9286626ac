"""What the relay shows of itself: health, readiness, metrics, and a page for people. Nothing here changes a thing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from migration.cutover.controller import status as cutover_status
from migration.cutover.gates import Numbers, gate_readings
from migration.cutover.plan import PlanError
from migration.cutover.plan import load as load_plan
from migration.relay.spool import NEARLY_FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from migration.relay.service import Service

_WIDTH, _HEIGHT = 320, 64


def status_app(service: Service) -> Starlette:
    """The application of the status port."""
    templates = Environment(
        loader=PackageLoader("migration.relay"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    page = templates.get_template("status.html")

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        problems = service.problems()
        routing = service.routing
        told = {"ready": not problems, "problems": problems, "mode": routing.mode, "epoch": routing.epoch}
        return JSONResponse(told, 503 if problems else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(service.telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    async def watermark(_: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(service.watermark))

    async def index(_: Request) -> Response:
        return HTMLResponse(page.render(**_shown(service)), headers={"cache-control": "no-store"})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/watermark", watermark),
        ]
    )


def _shown(service: Service) -> dict[str, Any]:
    """What the page shows."""
    samples = list(service.telemetry.samples)
    last = samples[-1] if samples else None
    charts = []
    if last:
        charts = [
            chart("Answers a second", [sample.rate for sample in samples], "{:.1f}"),
            chart("Answer time, 50th percentile, ms", [sample.p50_ms for sample in samples], "{:.1f}"),
            chart("Answer time, 99th percentile, ms", [sample.p99_ms for sample in samples], "{:.1f}"),
            chart("AWS's share of payments, %", [sample.hundredths / 100 for sample in samples], "{:g}"),
        ]
        for target in last.waiting:
            pending = [sample.waiting[target].pending for sample in samples]
            oldest = [sample.waiting[target].oldest_s for sample in samples]
            charts += [
                chart(f"Waiting for {target}, requests", pending, "{:.0f}"),
                chart(f"Oldest waiting for {target}, s", oldest, "{:.1f}"),
            ]
    return {
        "name": service.settings.name,
        "environment": service.settings.environment,
        "problems": service.problems(),
        "routing": service.routing,
        "share": f"{service.routing.hundredths / 100:g} %",
        "targets": [
            {"name": name, "breaker": delivery.breaker.state, **(last.waiting[name]._asdict() if last else {})}
            for name, delivery in service.deliveries.items()
        ],
        "mismatches": int(service.telemetry.registry.get_sample_value("envmig_relay_mismatches_total") or 0),
        "spool_mb": service.spool.bytes / 2**20,
        "spool_most_mb": service.spool.most_bytes / 2**20,
        "spool_share": service.spool.bytes / service.spool.most_bytes,
        "full_soon": NEARLY_FULL,
        "charts": charts,
        "changes": service.changes(),
        "cutover": _cutover(service.settings.cutover.plan),
        "now": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def _cutover(plan: Path | None) -> dict[str, Any] | None:
    """Where the cut-over is, with each gate's number beside its limit; None where there is none."""
    if plan is None:
        return None
    try:
        planned = load_plan(plan)
    except PlanError as error:
        return {"state": str(error), "gates": []}
    told = cutover_status(planned)
    last = told.get("last_look") or {}
    if not (numbers := last.get("numbers")):
        return {**told, "gates": []}
    measured = Numbers(**numbers)
    return {**told, "gates": gate_readings(planned.gates, measured)}


def chart(title: str, values: Sequence[float], form: str) -> dict[str, Any]:
    """A line's points in a box, with what is written beside it."""
    top = max(values) or 1.0
    apart = _WIDTH / max(1, len(values) - 1)
    scaled: Callable[[float], float] = lambda value: _HEIGHT - 2 - (_HEIGHT - 4) * value / top  # noqa: E731
    points = " ".join(f"{place * apart:.1f},{scaled(value):.1f}" for place, value in enumerate(values))
    return {
        "title": title,
        "points": points,
        "now": form.format(values[-1]),
        "top": form.format(max(values)),
        "width": _WIDTH,
        "height": _HEIGHT,
    }
