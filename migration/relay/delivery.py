"""Delivering what the spool keeps to one target: in its own time, again until it has it, and never dropped."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import tenacity

from migration.relay.breaker import Breaker
from migration.relay.clock import REAL, Clock
from migration.relay.errors import SpoolError
from migration.relay.spool import Change, State
from migration.relay.targets import Fate, Said

if TYPE_CHECKING:
    from migration.relay.spool import Kept
    from migration.relay.targets import Target

_log = logging.getLogger(__name__)

_WINDOW = 5000
"""How many requests are held in memory; the rest of a backlog waits on the disk."""
_AT_ONCE = 500
"""How many are read from the disk at once."""
_IDLE_S = 0.5
_GATHER_S = 0.005
_FIRST_WAIT_S = 0.2


OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]


class Source(Protocol):
    """The part of the spool that is needed here."""

    def pending(self, target: str, after: int, most: int) -> list[Kept]:
        """What waits for a target, in order of receipt, after an id."""

    def last_id(self) -> int:
        """The id of the latest request."""


class Record(Protocol):
    """Who keeps what became of deliveries."""

    def change(self, change: Change) -> object:
        """Record what became of a delivery."""


class Watcher(Protocol):
    """Who is told what became of every try."""

    def tried(self, target: str, kept: Kept, said: Said, took_s: float) -> None:
        """One try ended."""


class Delivery:
    """The deliveries to one target."""

    def __init__(
        self,
        spool: Source,
        record: Record,
        target: Target,
        watcher: Watcher,
        *,
        at_once: int,
        longest_wait_s: float,
        in_order: bool,
        clock: Clock = REAL,
        off_loop: OffLoop = asyncio.to_thread,
    ) -> None:
        self._spool = spool
        self._record_of = record
        self._target = target
        self._watcher = watcher
        self._at_once = at_once
        self._in_order = in_order
        """Whether the requests of one payment go out one after the other, in the order in which they came."""
        self._clock = clock
        self._off_loop = off_loop
        """Where the disk is read, which must not hold up the loop."""
        self._wait = tenacity.wait_random_exponential(multiplier=_FIRST_WAIT_S, max=longest_wait_s)
        self.breaker = Breaker()
        self._after = 0
        """The id up to which everything that waits is held or done."""
        self._offered: deque[tuple[int, Kept | None]] | None = None
        """What was kept while the disk was read."""
        self._held = 0
        self._lines: dict[str, deque[Kept]] = {}
        """By payment, those that are held, the first of which may go."""
        self._due: list[tuple[int, int, Kept]] = []
        """A heap of those that may go, by when and in their order."""
        self._going: set[asyncio.Task[None]] = set()
        self._looking = False
        self._ending = False
        self._woken = asyncio.Event()
        self._waited_for: dict[int, asyncio.Future[bool]] = {}
        self._lately: OrderedDict[int, bool] = OrderedDict()

    def offer(self, request: int, kept: Kept | None) -> None:
        """Hold what is on the disk since just now without reading it again; None when it is not for this target.

        Where something lies between, or there is no room, it is left to be read from the disk.
        """
        if self._offered is not None:
            self._offered.append((request, kept))
        elif request == self._after + 1 and self._held < _WINDOW:
            self._after = request
            if kept is not None:
                self._admit(kept)
                # What the loop hears of in one turn is started by one look.
                if not self._looking:
                    self._looking = True
                    asyncio.get_running_loop().call_soon(self._look)
        elif kept is not None:
            self._woken.set()

    def _look(self) -> None:
        self._looking = False
        self._start_due()

    def delivered(self, request: int) -> asyncio.Future[bool]:
        """A future that is done when a request that is new now has been delivered (True) or parked (False)."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if request in self._lately:
            future.set_result(self._lately[request])
        else:
            self._waited_for[request] = future
            future.add_done_callback(lambda _: self._waited_for.pop(request, None))
        return future

    def again(self, kept: Kept) -> None:
        """Try one again that was parked."""
        self._admit(kept._replace(at_ms=0))
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is tried again after the next start."""
        try:
            while True:
                self._woken.clear()
                try:
                    more = await self._fill()
                except (SpoolError, sqlite3.Error) as error:
                    _log.error("what waits for %s cannot be read, and is tried again: %s", self._target.name, error)
                    more = False
                wait_s = self._start_due()
                if more and self._held < _WINDOW:
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), wait_s)
                # What comes within a moment is read from the disk by one look.
                await asyncio.sleep(_GATHER_S)
        finally:
            self._ending = True
            for task in self._going:
                task.cancel()
            await asyncio.gather(*self._going, return_exceptions=True)

    async def _fill(self) -> bool:
        """Read more from the disk while there is room; whether there may be more."""
        if self._held >= _WINDOW:
            return False
        self._offered = deque()
        more = True
        try:
            last, rows = await self._off_loop(self._read)
            for kept in rows:
                self._after = kept.id
                self._admit(kept)
            more = len(rows) == _AT_ONCE
            if not more:
                # All that waits up to there was read; what is not for this target need not be looked at again.
                self._after = max(self._after, last)
        finally:
            offered, self._offered = self._offered, None
        for request, kept_ in offered:
            if request > self._after:
                self.offer(request, kept_)
        return more

    def _read(self) -> tuple[int, list[Kept]]:
        # The latest first: what comes in between is read too, or offered.
        return self._spool.last_id(), self._spool.pending(self._target.name, self._after, _AT_ONCE)

    def _admit(self, kept: Kept) -> None:
        self._held += 1
        first = True
        if self._in_order:
            for payment in kept.payments:
                line = self._lines.setdefault(payment, deque())
                line.append(kept)
                first = first and line[0] is kept
        if first:
            heapq.heappush(self._due, (kept.at_ms, kept.id, kept))

    def _start_due(self) -> float:
        """Start what is due, as far as the target may be asked; the seconds until there may be more to start."""
        while self._due and len(self._going) < self._at_once:
            at_ms, _, kept = self._due[0]
            early_ms = at_ms - self._clock.wall_ms()
            if early_ms > 0:
                return min(_IDLE_S, early_ms / 1000)
            wait_s = self.breaker.wait(self._clock.monotonic())
            if wait_s is None or wait_s > 0:
                return min(_IDLE_S, wait_s or _IDLE_S)
            heapq.heappop(self._due)
            self.breaker.begin()
            task = asyncio.create_task(self._deliver(kept))
            self._going.add(task)
            task.add_done_callback(self._ended)
        return _IDLE_S

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._going.discard(task)
        if self._due and not self._ending:
            self._start_due()
        if self._held < _WINDOW // 2:
            self._woken.set()

    async def _deliver(self, kept: Kept) -> None:
        began = self._clock.monotonic()
        try:
            said = await self._target.send(kept)
        except Exception as error:  # noqa: BLE001 (what is wrong with one request must not hold it for ever)
            # A target says what became of a try, and raises nothing; if it does, the request must not stay held.
            _log.exception("%s failed with request %s", self._target.name, kept.id)
            said = Said(Fate.RETRY, 0, f"{type(error).__name__}: {error}")
        tries = kept.tries + 1
        now_ms = self._clock.wall_ms()
        self._watcher.tried(self._target.name, kept, said, self._clock.monotonic() - began)
        if said.fate is Fate.RETRY:
            self.breaker.failed(self._clock.monotonic())
            at_ms = now_ms + int(self._pause_s(tries) * 1000)
            self._record_of.change(Change(kept.id, self._target.name, State.PENDING, tries, at_ms, _told(said)))
            heapq.heappush(self._due, (at_ms, kept.id, kept._replace(tries=tries, at_ms=at_ms)))
            return
        self.breaker.succeeded()
        state = State.DELIVERED if said.fate is Fate.DELIVERED else State.PARKED
        self._record_of.change(Change(kept.id, self._target.name, state, tries, now_ms, _told(said)))
        self._release(kept)
        self._lately[kept.id] = state is State.DELIVERED
        if len(self._lately) > _WINDOW:
            self._lately.popitem(last=False)
        if (waiting := self._waited_for.get(kept.id)) and not waiting.done():
            waiting.set_result(state is State.DELIVERED)

    def _release(self, kept: Kept) -> None:
        """Let those go that waited for it."""
        self._held -= 1
        if not self._in_order:
            return
        nexts: dict[int, Kept] = {}
        for payment in kept.payments:
            line = self._lines[payment]
            line.popleft()
            if line:
                nexts[line[0].id] = line[0]
            else:
                del self._lines[payment]
        for each in nexts.values():
            if all(self._lines[payment][0].id == each.id for payment in each.payments):
                heapq.heappush(self._due, (each.at_ms, each.id, each))

    def _pause_s(self, tries: int) -> float:
        """Exponential with full jitter."""
        state = tenacity.RetryCallState(tenacity.AsyncRetrying(), None, (), {})
        state.attempt_number = tries
        return self._wait(state)


def _told(said: Said) -> str:
    return f"{said.status} {said.text}".strip() if said.status else said.text
