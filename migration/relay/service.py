"""The relay as a whole: its parts put together, what it does in the background, and its two servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import uvicorn

from handlers.http import ProblemError
from migration.figures import Figures
from migration.relay.app import WebhookApp
from migration.relay.delivery import Delivery
from migration.relay.errors import RelayError, SpoolError
from migration.relay.intake import Intake
from migration.relay.keys import ProviderKeys, reader
from migration.relay.manifests import Manifests, moment
from migration.relay.spool import AWS, LEGACY, NEARLY_FULL, TARGETS, open_spool
from migration.relay.status import status_app
from migration.relay.targets import AwsTarget, LegacyTarget
from migration.relay.telemetry import Telemetry
from migration.relay.turns import Turns
from payments.routing import Mode
from providers.errors import KeysUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from migration.relay.settings import Settings
    from migration.relay.spool import Received
    from payments.routing import Routing

_log = logging.getLogger("envmig.relay")

_ROUTING_EVERY_S = 0.25
_LOOK_EVERY_S = 5.0
_PRUNE_EVERY_S = 5.0
_MANIFESTS_EVERY_S = 15.0
_FIGURES_EVERY_S = 60.0
_ONE_TARGET_WITHIN_S = 10.0
_TIME_TO_END_S = 10


class Service:
    """One relay."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.spool = open_spool(settings.spool)
        self.routing = self._first_routing()
        self._keys = ProviderKeys(reader(settings.keys, settings.aws))
        self.deliveries: dict[str, Delivery] = {}
        self._intake: Intake | None = None
        self._told: set[str] = set()
        aws = settings.aws
        client = boto3.client("cloudwatch", region_name=aws.region, endpoint_url=aws.endpoint or None)
        self._figures = Figures(client, settings.environment)
        self._keys_problem = ""

    def _first_routing(self) -> Routing:
        """The routing as it was; a new spool begins with legacy alone."""
        found = self.spool.routing()
        if found and found.salt != self.settings.salt:
            self.spool.close()
            raise RelayError(
                f"the spool has the salt {found.salt!r} and the settings have {self.settings.salt!r}: another salt "
                "moves payments between owners. Put the old one back, or begin with a new spool"
            )
        return found or self.spool.route(Mode.LEGACY, 0, self.settings.salt, "relay", "a new spool").result()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then end what is under way."""
        # Shorter than the default of 5 ms: the spool's thread must not wait so long for its turn.
        sys.setswitchinterval(0.0001)
        legacy, aws = LegacyTarget(self.settings.legacy), AwsTarget(self.settings.aws, self._keys)
        turns = Turns(self.spool, self._kept)
        self.deliveries = {
            LEGACY: Delivery(
                self.spool, turns, legacy, self.telemetry, at_once=self.settings.legacy.at_once,
                longest_wait_s=self.settings.legacy.longest_wait_s, in_order=True,
            ),
            AWS: Delivery(
                self.spool, turns, aws, self.telemetry, at_once=self.settings.aws.at_once,
                longest_wait_s=self.settings.aws.longest_wait_s, in_order=False,
            ),
        }  # fmt: skip
        self._intake = intake = Intake(
            turns, self._keys, lambda: self.routing, self._at_one_target, mirror=self.settings.legacy.mirror
        )
        manifests = Manifests(self.settings.name, self.spool, aws)
        await self._refresh_keys()
        # What was asked for while nobody ran is pending, and found with the rest.
        await asyncio.wrap_future(self.spool.take_asked())
        background = [
            *(delivery.run() for delivery in self.deliveries.values()),
            _every(_ROUTING_EVERY_S, self._look_at_routing),
            _every(_LOOK_EVERY_S, self._look),
            _every(_PRUNE_EVERY_S, self._prune),
            _every(self.settings.keys.refresh_s, self._refresh_keys),
            _every(_MANIFESTS_EVERY_S, lambda: self._tell(manifests)),
            _every(_FIGURES_EVERY_S, self._put_figures),
        ]
        tasks = [asyncio.create_task(each) for each in background]
        listen = self.settings.listen
        servers = [
            _Server(WebhookApp(intake, self.telemetry, listen), listen.address, listen.port),
            _Server(status_app(self), listen.address, listen.status_port),
        ]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, servers)
        try:
            await asyncio.gather(*(server.serve() for server in servers))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await legacy.close()
            await aws.close()
            await asyncio.to_thread(self.spool.close)

    def _kept(self, request: int, received: Received) -> None:
        """A request is on the disk: let it be delivered."""
        kept = received.kept(request)
        for target, delivery in self.deliveries.items():
            delivery.offer(request, kept if target in received.targets else None)

    async def _at_one_target(self, request: int, received: Received) -> None:
        """Wait until one target has a request, where that is wanted."""
        if self.settings.spool.acknowledge == "spool":
            return
        wanted = [self.deliveries[target] for target in received.targets]
        futures = [delivery.delivered(request) for delivery in wanted]
        try:
            async with asyncio.timeout(_ONE_TARGET_WITHIN_S):
                for future in asyncio.as_completed(futures):
                    if await future:
                        return
        except TimeoutError:
            pass
        finally:
            for each in futures:
                each.cancel()
        detail = "the event is kept here and nowhere else yet; send it again"
        raise ProblemError(503, "Not acknowledged", detail, {"retry-after": "5"})

    async def _look_at_routing(self) -> None:
        """See what the commands asked for, in the spool that both have open."""
        found = await asyncio.to_thread(self.spool.routing)
        if found and found.epoch != self.routing.epoch:
            _log.warning("routing: %s", found)
            self.routing = found
        if await asyncio.to_thread(self.spool.has_asked):
            for target, request in await asyncio.wrap_future(self.spool.take_asked()):
                if kept := await asyncio.to_thread(self.spool.one, request, target):
                    self.deliveries[target].again(kept)

    async def _look(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        await asyncio.to_thread(self.telemetry.look, self.spool, self.deliveries, self.routing, now_ms)
        problems = self.problems()
        for problem in problems:
            if problem not in self._told:
                _log.error("%s", problem)
        self._told = set(problems)

    async def _prune(self) -> None:
        before_ms = int((time.time() - self.settings.spool.kept_days * 86_400) * 1000)
        while await asyncio.wrap_future(self.spool.prune(before_ms)):
            pass

    async def _refresh_keys(self) -> None:
        try:
            await self._keys.refresh()
            self._keys_problem = ""
        except KeysUnavailableError as error:
            self._keys_problem = str(error)

    async def _put_figures(self) -> None:
        if self.settings.aws.figures:
            await asyncio.to_thread(self._figures.put, self.telemetry.figures(self.spool))

    async def _tell(self, manifests: Manifests) -> None:
        while window := await asyncio.to_thread(manifests.window, time.time_ns() // 1_000_000):
            if not await manifests.tell(*window, self.routing):
                return

    def problems(self) -> list[str]:
        """What keeps the relay from doing its work, or soon will, for people."""
        problems = []
        try:
            self._keys.current()
        except KeysUnavailableError as error:
            problems.append(self._keys_problem or str(error))
        share = self.spool.bytes / self.spool.most_bytes
        if share >= 1:
            problems.append(
                f"the spool has reached its limit of {self.spool.most_bytes} bytes: nothing is acknowledged"
            )
        elif share > NEARLY_FULL:
            problems.append(
                f"the spool has reached {share:.0%} of its limit: see which target does not take its requests"
            )
        samples = self.telemetry.samples
        for target, waiting in (samples[-1].waiting if samples else {}).items():
            if waiting.parked:
                problems.append(
                    f"{target} will not take {waiting.parked} requests as they are: envmig relay parked {target}"
                )
        return problems

    def watermark(self) -> dict[str, str | None]:
        """How far the relay has come: each target has everything that was received before its moment."""
        now_ms = time.time_ns() // 1_000_000
        # What is being taken is asked for before the spool: what leaves the one is then in the other.
        taken_ms = self._intake.received_before_ms(now_ms) if self._intake else 0
        waiting = {target: self.spool.delivered_before_ms(target) for target in TARGETS}
        since_ms = self.spool.to_aws_since_ms()
        return {
            "relay": self.settings.name,
            **{target: moment(min(taken_ms, taken_ms if at is None else at)) for target, at in waiting.items()},
            "now": moment(now_ms),
            "to_aws_since": None if since_ms is None else moment(since_ms),
        }

    def changes(self) -> list[dict[str, Any]]:
        """The latest changes of the routing, for people."""
        return [
            {
                **row,
                "at": datetime.fromtimestamp(row["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                "share": f"{row['hundredths'] / 100:g} %",
            }
            for row in self.spool.routings(20)
        ]


async def _every(seconds: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Act now and then; what goes wrong once is told, and tried again."""
    while True:
        try:
            await act()
        except SpoolError as error:
            _log.error("%s", error)
        except Exception:  # noqa: BLE001 (what runs in the background goes on)
            _log.exception("%s failed", getattr(act, "__name__", act))
        await asyncio.sleep(seconds)


def _end(servers: list[_Server]) -> None:
    for server in servers:
        server.should_exit = True


class _Server(uvicorn.Server):
    """One of several servers in a process: the signals are the service's."""

    def __init__(self, app: Any, address: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app, host=address, port=port, log_level="warning", access_log=False, lifespan="off",
                ws="none", proxy_headers=False, server_header=False, timeout_keep_alive=75,
                timeout_graceful_shutdown=_TIME_TO_END_S,
            )
        )  # fmt: skip

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield
