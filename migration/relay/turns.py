"""What one turn of the event loop has for the spool goes to its writer as one piece, and comes back as one.

A future a request between two threads costs more than the request's row: each wakes the loop by a write to a pipe,
and each makes the two threads wait for the interpreter's lock. So what the loop's callbacks ask for is gathered
until the turn ends, and while the writer is busy with the piece before.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from migration.relay.spool import Change, Received, Spool

_log = logging.getLogger(__name__)


class Outcome:
    """What became of one thing that the writer was asked for; set by its thread, read by the loop."""

    __slots__ = ("error", "result")

    def __init__(self) -> None:
        self.result: Any = None
        self.error: Exception | None = None

    def set_result(self, result: Any) -> None:
        """It is on the disk."""
        self.result = result

    def set_exception(self, error: Exception) -> None:
        """It is not."""
        self.error = error


class Turns:
    """The spool as callbacks of one event loop write to it."""

    def __init__(self, spool: Spool, kept: Callable[[int, Received], None]) -> None:
        self._spool = spool
        self._kept = kept
        """Told of each request that is on the disk, in their order, before its sender is."""
        self._loop = asyncio.get_running_loop()
        self._gathered: list[tuple[str, Any, Any]] = []
        self._waiting: dict[int, tuple[Received, asyncio.Future[int]]] = {}
        self._scheduled = False

    def keep(self, received: Received) -> asyncio.Future[int]:
        """Keep a request; the future has its id when it is on the disk, or a SpoolError."""
        future: asyncio.Future[int] = self._loop.create_future()
        try:
            row = self._spool.row(received)
        except Exception as error:  # noqa: BLE001 (whoever waits is told)
            future.set_exception(error)
            return future
        outcome = Outcome()
        self._waiting[id(outcome)] = (received, future)
        self._gather("keep", row, outcome)
        return future

    def change(self, change: Change) -> None:
        """Record what became of a delivery, a moment later."""
        self._gather("change", change, Outcome())

    def _gather(self, kind: str, argument: Any, outcome: Outcome) -> None:
        self._gathered.append((kind, argument, outcome))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        work, self._gathered = self._gathered, []
        self._spool.write(work, lambda: self._loop.call_soon_threadsafe(self._settle, work))

    def _settle(self, work: list[tuple[str, Any, Outcome]]) -> None:
        if self._gathered:
            self._loop.call_soon(self._hand_over)
        else:
            self._scheduled = False
        for kind, argument, outcome in work:
            if kind == "keep":
                received, future = self._waiting.pop(id(outcome))
                if outcome.error is None:
                    self._kept(outcome.result, received)
                if future.done():
                    continue
                if outcome.error is None:
                    future.set_result(outcome.result)
                else:
                    future.set_exception(outcome.error)
            elif outcome.error is not None:
                # Lost, it is delivered once more after the next start, which every target takes.
                _log.error("what became of request %s was not recorded: %s", argument.id, outcome.error)
