"""The migration in one process and on one clock: the real relay's parts and the real table's, between stores and a
network that a test decides on. Nothing waits in real time, and the same decisions give the same history.
"""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adapters.aws_json import AwsError
from adapters.items import partition_key, payment_key, read_event, read_state, text
from adapters.table import Table
from handlers.http import ProblemError
from handlers.invocation import Invocation
from handlers.storing import UNAVAILABLE, Storing
from migration.rebuild import Finding, Verdict
from migration.reconcile.sides import EVENT, PAYMENT, Difference, Lacking, Subject
from migration.relay.clock import Clock
from migration.relay.delivery import Delivery
from migration.relay.intake import Intake
from migration.relay.seal import Seal
from migration.relay.spool import AWS, LEGACY, TARGETS, Spool
from migration.relay.targets import Fate, Said
from migration.watermark import Watermark
from payments.routing import Mode, Routing, parse_routing
from payments.state import fold
from providers.verified import VerifiedDelivery, own_headers
from tests.unit.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from migration.relay.spool import Change, Kept, Received

_BEGAN_MS = 1_795_000_000_000
_TABLE = "transactions"


class _Selector(selectors.SelectSelector):
    """Where a loop would wait, the time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits for ever")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a time of its own."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def clock(self) -> Clock:
        return Clock(self.time, lambda: _BEGAN_MS + int(self._virtual.now * 1000))


class MemoryTable:
    """DynamoDB's TransactWriteItems for the very expressions that the table's adapter writes; any other is an error."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.applied: dict[str, int] = {}
        """How often each event's put was applied."""

    def call(self, operation: str, request: dict[str, Any], _deadline: float) -> dict[str, Any]:
        assert operation == "TransactWriteItems"
        reasons = [self._refusal(write) for write in request["TransactItems"]]
        if any(reasons):
            told = [reason or {"Code": "None"} for reason in reasons]
            raise AwsError(operation, "TransactionCanceledException", "", details={"CancellationReasons": told})
        for write in request["TransactItems"]:
            self._apply(write)
        return {}

    def _refusal(self, write: dict[str, Any]) -> dict[str, Any] | None:
        (what,) = write.values()
        there = self.items.get(self._key(what.get("Item") or what["Key"]))
        match what.get("ConditionExpression"):
            case None:
                holds = True
            case "attribute_not_exists(PK)":
                holds = there is None
            case "attribute_not_exists(#version) OR #version < :version":
                version = (there or {}).get("version")
                new = what["ExpressionAttributeValues"][":version"]["S"]
                holds = version is None or version["S"].encode() < new.encode()
            case other:
                raise AssertionError(other)
        if holds:
            return None
        old = {"Item": there} if what.get("ReturnValuesOnConditionCheckFailure") else {}
        return {"Code": "ConditionalCheckFailed", **old}

    def _apply(self, write: dict[str, Any]) -> None:
        if "Put" in write:
            item = write["Put"]["Item"]
            self.items[self._key(item)] = item
            if item["SK"]["S"] == "EVENT":
                self.applied[item["PK"]["S"]] = self.applied.get(item["PK"]["S"], 0) + 1
            return
        update = write["Update"]
        names, values = update["ExpressionAttributeNames"], update["ExpressionAttributeValues"]
        item = self.items.setdefault(self._key(update["Key"]), dict(update["Key"]))
        sets, _, add = update["UpdateExpression"].removeprefix("SET ").partition(" ADD ")
        assert add == "#count :one"
        item[names["#count"]] = {"N": str(int(item.get(names["#count"], {"N": "0"})["N"]) + 1)}
        for each in sets.replace("if_not_exists(#movement, :movement)", ":movement?").split(", "):
            name, value = each.split(" = ")
            name = names.get(name, name)
            if not value.endswith("?") or name not in item:
                item[name] = values[value.rstrip("?")]

    @staticmethod
    def _key(item: dict[str, Any]) -> tuple[str, str]:
        return item["PK"]["S"], item["SK"]["S"]


@dataclass
class Network:
    """What becomes of the next requests to a target; when nothing is decided, all goes well."""

    fates: list[str] = field(default_factory=list)
    down: bool = False
    broken: Exception | None = None

    def next(self) -> str:
        if self.down:
            return "unreachable"
        return self.fates.pop(0) if self.fates else "well"


class LegacyStore:
    """An old system that takes an event once; it remembers the order in which it took them."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[str, Any]] = {}
        self.order: dict[str, list[str]] = {}
        self.applied: dict[str, int] = {}

    def take(self, verified: VerifiedDelivery) -> None:
        for item in verified.items():
            event = item.event
            assert event
            key = partition_key("EVT", event.provider, event.account, event.id)
            if key in self.taken:
                continue
            of = payment_key(event.provider, event.account, str(event.payment))
            self.taken[key] = (of, (event, verified.received_at))
            self.order.setdefault(of, []).append(key)
            self.applied[key] = self.applied.get(key, 0) + 1


class Target:
    """One of the two systems behind the network."""

    def __init__(self, name: str, network: Network, take: Callable[[VerifiedDelivery], None]) -> None:
        self.name = name
        self._network = network
        self._take = take

    async def send(self, kept: Kept) -> Said:
        fate = self._network.next()
        await asyncio.sleep(0.01 if fate != "slow" else 3)
        if fate == "unreachable":
            return Said(Fate.RETRY, 0, "unreachable")
        if fate == "busy":
            return Said(Fate.RETRY, 503, "busy")
        try:
            self._take(verified(kept))
        except Exception as error:
            # The relay would try again: what is wrong with a store of the test's has to end the test.
            self._network.broken = error
            raise
        if fate == "reply lost":
            return Said(Fate.RETRY, 0, "the answer was lost")
        return Said(Fate.DELIVERED, 200, "")

    async def close(self) -> None:
        pass


def verified(kept: Kept) -> VerifiedDelivery:
    """What the function makes of a request of the relay's."""
    received_at = datetime.fromtimestamp(kept.received_ms / 1000, UTC)
    return VerifiedDelivery(
        kept.provider, own_headers(kept.headers), kept.body, received_at, parse_routing(kept.routing), kept.trace,
        received_at, kept.signatures,
    )  # fmt: skip


class AwsStore:
    """The table with the code that writes it."""

    def __init__(self) -> None:
        self.memory = MemoryTable()
        self._storing = Storing(Table(self.memory, _TABLE, 2))  # type: ignore[arg-type] # what of a client it uses

    def take(self, delivered: VerifiedDelivery) -> None:
        results = self._storing.store(delivered, delivered.items(), float("inf"), Invocation("s", "s", Context()))
        assert all(result["outcome"] in {"stored", "duplicate"} for result in results), results
        assert UNAVAILABLE not in {result["outcome"] for result in results}

    def events(self) -> dict[str, dict[str, Any]]:
        return {key: item for (key, sort), item in self.memory.items.items() if sort == "EVENT"}

    def states(self) -> dict[str, Any]:
        return {key: read_state(item) for (key, sort), item in self.memory.items.items() if sort == "STATE"}

    def history(self, key: str) -> list[Any]:
        return [read_event(item) for item in self.events().values() if text(item, "payment_key") == key]


class Directly:
    """The spool as the loop writes to it, without a thread of its own: the same history every time."""

    def __init__(self, spool: Spool, kept: Callable[[int, Received], None]) -> None:
        self._spool = spool
        self._kept = kept

    async def keep(self, received: Received) -> int:
        request = self._spool.keep(received).result()
        self._kept(request, received)
        return request

    def change(self, change: Change) -> None:
        self._spool.change(change).result()


class Nobody:
    def tried(self, target: str, kept: Kept, said: Said, took_s: float) -> None:
        pass


class Keys:
    def __init__(self, keys: dict[str, Any]) -> None:
        self._keys = keys

    def current(self) -> dict[str, Any]:
        return self._keys

    async def newer(self) -> None:
        return None


async def _inline(read: Callable[[], Any]) -> Any:
    return read()


class World:
    """A relay between providers and the two systems; it can be killed, and begun anew on its disk."""

    def __init__(self, folder: Path, keys: dict[str, Any]) -> None:
        self.loop = VirtualLoop()
        self.clock = self.loop.clock()
        self.legacy, self.aws = LegacyStore(), AwsStore()
        self.networks = {LEGACY: Network(), AWS: Network()}
        self.spool_full = False
        self._folder = folder
        self._keys = keys
        self._tasks: list[asyncio.Task[None]] = []
        self.boot()

    def boot(self) -> None:
        """Begin, on what the disk holds."""
        self.spool = Spool(self._folder / "spool.db", Seal({1: b"k" * 32}))
        self.routing = self.spool.routing() or self.spool.route(Mode.LEGACY, 0, "salt", "t", "new").result()
        writing = Directly(self.spool, self._kept)
        takes = {LEGACY: self.legacy.take, AWS: self.aws.take}
        self.deliveries = {
            name: Delivery(
                self.spool, writing, Target(name, self.networks[name], takes[name]), Nobody(), at_once=4,
                longest_wait_s=5, in_order=name == LEGACY, clock=self.clock, off_loop=_inline,
            )
            for name in TARGETS
        }  # fmt: skip
        keys: Any = Keys(self._keys)
        self.intake = Intake(writing, keys, lambda: self.routing, self._nothing_more, mirror=True, clock=self.clock)
        self._tasks = [self.loop.create_task(delivery.run()) for delivery in self.deliveries.values()]

    @staticmethod
    async def _nothing_more(_request: int, _received: Received) -> None:
        """Acknowledged when it is on the disk."""

    def _kept(self, request: int, received: Received) -> None:
        kept = received.kept(request)
        for name, delivery in self.deliveries.items():
            delivery.offer(request, kept if name in received.targets else None)

    def kill(self) -> None:
        """Whatever is in memory is gone, in the midst of whatever it does."""
        while running := asyncio.all_tasks(self.loop):
            for task in running:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(running))
        self.spool.close()

    def webhook(self, provider: str, body: bytes, headers: dict[str, str]) -> bool:
        """Whether it was acknowledged."""
        self.spool._most_bytes = 1 if self.spool_full else 2**40
        try:
            self.loop.run_until_complete(self.intake.take(provider, headers, body))
        except ProblemError as error:
            assert error.status == 503
            return False
        return True

    def route(self, mode: Mode, hundredths: int) -> Routing:
        self.routing = self.spool.route(mode, hundredths, "salt", "t", "").result()
        return self.routing

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def close(self) -> None:
        self.kill()
        self.loop.close()

    def waiting(self) -> int:
        for network in self.networks.values():
            if network.broken:
                raise network.broken
        return sum(self.spool.counts(name).pending for name in TARGETS)

    def spooled(self) -> set[str]:
        with self.spool.reading() as connection:
            rows = connection.execute("SELECT events FROM requests").fetchall()
        return {key for (events,) in rows for key in events.split("\n")}


class Looks:
    """Both systems by key, as reconciliation sees them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def subjects(self) -> list[Subject]:
        legacy, aws = self._world.legacy, self._world.aws
        payments = {of for of, _ in legacy.taken.values()} | set(aws.states())
        events = set(legacy.taken) | set(aws.events())
        return [Subject(PAYMENT, _parts(key)) for key in sorted(payments)] + [
            Subject(EVENT, _parts(key)) for key in sorted(events)
        ]

    def differing(self, subjects: Iterable[Subject]) -> list[Difference]:
        found = [Difference(each, self._legacy(each), self._aws(each)) for each in subjects]
        return [each for each in found if each.legacy != each.aws]

    def lacking(self, events: Iterable[Subject]) -> list[Lacking]:
        found = []
        for each in events:
            if not self._aws(each):
                found.append(Lacking(each, on_aws=True))
            elif not self._legacy(each):
                found.append(Lacking(each, on_aws=False))
        return found

    def buffer_emptied(self, _within_s: float) -> bool:
        return True

    def _legacy(self, subject: Subject) -> Any:
        taken = self._world.legacy.taken
        if subject.kind == EVENT:
            return ((),) if partition_key("EVT", *subject.key) in taken else ()
        key = payment_key(*subject.key)
        return _told(fold([event for of, event in taken.values() if of == key]))

    def _aws(self, subject: Subject) -> Any:
        if subject.kind == EVENT:
            return ((),) if partition_key("EVT", *subject.key) in self._world.aws.events() else ()
        return _told(self._world.aws.states().get(payment_key(*subject.key)))


def _told(state: Any) -> Any:
    if state is None or not state.event_count:
        return ()
    sums = tuple(sorted((key, *money) for key, money in state.movements.items()))
    return ((("status", state.status), ("movements", sums)),)


def _parts(key: str) -> tuple[str, str, str]:
    _, provider, account, identity = key.split("#")
    return provider, account, identity


class Marks:
    """Where nothing is under way any more."""

    def watermark(self) -> Watermark:
        now = datetime.now(UTC)
        return Watermark(now, now, now, None)

    def wait(self, _until: datetime, _within_s: float, *, both: bool = False) -> Watermark:
        return self.watermark()


class Drains:
    """The drain: it decodes the envelope, trusts what it records, and stores."""

    def __init__(self, aws: AwsStore) -> None:
        self._aws = aws

    def replay(self, message: str) -> str:
        from adapters.envelope import decode

        self._aws.take(decode(message))
        return "stored"


class Rebuilds:
    """Rebuilding on the memory table."""

    def __init__(self, aws: AwsStore) -> None:
        self._aws = aws

    def examine(self, key: str) -> Finding | None:
        stored, history = self._aws.states().get(key), self._aws.history(key)
        if stored is None and not history:
            return None
        folded = fold(history)
        return Finding(key, Verdict.RIGHT if stored == folded else Verdict.WRONG, stored, folded)

    def repair(self, finding: Finding) -> Finding:
        from adapters.items import state_item

        event, _ = self._aws.history(finding.key)[0]
        item = state_item(event.provider, event.account, str(event.payment), finding.folded, 2)
        self._aws.memory.items[finding.key, "STATE"] = item
        return finding._replace(verdict=Verdict.REBUILT)
