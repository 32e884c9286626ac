"""The spool: what was acknowledged and where it has to go, in SQLite, durable before anyone is told so.

One thread writes. What waits while it commits goes into its next transaction, so that a flush to disk serves many
requests (group commit). The fault model is in docs/relay.md: a killed process and a lost power supply lose nothing,
a lost disk does.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from migration.relay.errors import SpoolError, SpoolFullError
from migration.relay.seal import Seal
from payments.routing import Mode, Routing
from providers.base import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from migration.relay.settings import SpoolSettings

LEGACY = "legacy"
AWS = "aws"
TARGETS = (LEGACY, AWS)

NEARLY_FULL = 0.8
"""The share of the spool's limit at which a person has to act."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    trace TEXT NOT NULL,
    routing TEXT NOT NULL,
    owner TEXT NOT NULL,
    payments TEXT NOT NULL,
    events TEXT NOT NULL,
    sealed BLOB NOT NULL,
    legacy INTEGER NOT NULL,
    legacy_tries INTEGER NOT NULL DEFAULT 0,
    legacy_at_ms INTEGER,
    legacy_said TEXT,
    aws INTEGER NOT NULL,
    aws_tries INTEGER NOT NULL DEFAULT 0,
    aws_at_ms INTEGER,
    aws_said TEXT
);
-- Partial: they hold what is not done, so that a spool of many million rows costs a look no more than an empty one.
CREATE INDEX IF NOT EXISTS legacy_pending ON requests(id) WHERE legacy = 0;
CREATE INDEX IF NOT EXISTS aws_pending ON requests(id) WHERE aws = 0;
CREATE INDEX IF NOT EXISTS legacy_parked ON requests(id) WHERE legacy = 2;
CREATE INDEX IF NOT EXISTS aws_parked ON requests(id) WHERE aws = 2;
CREATE TABLE IF NOT EXISTS routings(
    epoch INTEGER PRIMARY KEY, mode TEXT NOT NULL, hundredths INTEGER NOT NULL, salt TEXT NOT NULL,
    at_ms INTEGER NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS asked(target TEXT NOT NULL, request INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS manifests(until_ms INTEGER PRIMARY KEY);
"""

_MOST_AT_ONCE = 512
"""Rows in one transaction: more would make the first of them wait for the last."""
_IN_STATEMENT = 512
"""Rows in one statement, whose values SQLite counts: 32,766 at most."""
_NEARLY_MS = 60_000
_NEARLY_ROWS = 10_000
_TAKEN_WITHIN_MS = 1000
"""How long a relay takes to route by a change of its routing."""
_STATEMENTS = 2048
"""Prepared statements that are kept: there is one for each number of rows."""
_CHECK_SIZE_EVERY = 64
"""Transactions."""


class State(IntEnum):
    """How far a request has come on its way to a target."""

    PENDING = 0
    DELIVERED = 1
    PARKED = 2
    """The target will never take it as it is: a person decides."""
    NOT_SENT = 3
    """The routing did not want it there."""


class Received(NamedTuple):
    """A request as it is to be kept."""

    provider: str
    received_ms: int
    """Milliseconds since 1970."""
    trace: str
    routing: Routing
    owner: str
    """The owner of all its events; "mixed" where they have several."""
    payments: tuple[str, ...]
    """The payments of its events: legacy gets the requests of one payment in their order."""
    events: tuple[str, ...]
    """The partition keys of its events."""
    signatures: Signature | Sequence[Signature | None]
    """What vouched for it, so that it need never be verified again."""
    headers: dict[str, str]
    body: bytes
    targets: tuple[str, ...]

    def kept(self, request: int) -> Kept:
        """As the spool has it under an id, not yet tried."""
        return Kept(
            request, self.provider, self.received_ms, self.trace, str(self.routing), self.owner, self.payments,
            self.signatures, self.headers, self.body, 0, 0,
        )  # fmt: skip


class Kept(NamedTuple):
    """A request as the spool has it, on its way to one target."""

    id: int
    provider: str
    received_ms: int
    trace: str
    routing: str
    owner: str
    payments: tuple[str, ...]
    signatures: Signature | Sequence[Signature | None]
    headers: dict[str, str]
    body: bytes
    tries: int
    at_ms: int
    """Not before this is it to be tried again; 0 for at once."""


class Change(NamedTuple):
    """What became of a delivery."""

    id: int
    target: str
    state: State
    tries: int
    at_ms: int
    said: str


class Counts(NamedTuple):
    """What the spool holds for a target."""

    pending: int
    oldest_ms: int | None
    """When the oldest that is pending was received."""
    parked: int


Work = tuple[str, Any, Any]
"""A kind of writing, its argument, and a future or what is like one."""


class Spool:
    """The spool's file, open for reading and writing."""

    def __init__(self, file: Path, seal: Seal, *, most_bytes: int = 20 * 2**30) -> None:
        self._file = file
        self._seal = seal
        self._most_bytes = most_bytes
        self._waiting: queue.SimpleQueue[tuple[list[Work], Callable[[], object] | None] | None] = queue.SimpleQueue()
        self._bytes = 0
        self._of_thread = threading.local()
        self._reads: list[sqlite3.Connection] = []
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writes = self._open()
            self._writes.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise SpoolError(f"the spool {file} cannot be opened: {error}") from error
        self._check_size()
        self._writer = threading.Thread(target=self._write, name="spool", daemon=True)
        self._writer.start()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: the log is flushed to disk at each commit, and only then does the commit return.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading, one a thread; it sees what was committed, and blocks no writer."""
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            uri = f"file:{self._file}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
            self._of_thread.connection = connection
            self._reads.append(connection)
        yield connection

    @property
    def bytes(self) -> int:
        """What the spool's rows take on disk, as of a moment ago."""
        return self._bytes

    @property
    def most_bytes(self) -> int:
        """What it may take at most."""
        return self._most_bytes

    # Writing: all of it through the one thread.

    def row(self, received: Received) -> tuple[Any, ...]:
        """A request as it is written, sealed; SpoolFullError when there is no room for it."""
        if self._bytes >= self._most_bytes:
            raise SpoolFullError(f"the spool has reached its limit of {self._most_bytes} bytes")
        content = json.dumps([received.headers, received.signatures]).encode() + b"\0" + received.body
        return (
            received.provider,
            received.received_ms,
            received.trace,
            str(received.routing),
            received.owner,
            "\n".join(received.payments),
            "\n".join(received.events),
            self._seal.close(content, _bound_to(received.provider, received.received_ms)),
            *(State.PENDING if target in received.targets else State.NOT_SENT for target in TARGETS),
        )

    def keep(self, received: Received) -> Future[int]:
        """Keep a request; the future has its id when it is on the disk, or a SpoolError."""
        try:
            return self._submit("keep", self.row(received))
        except SpoolFullError as error:
            refused: Future[int] = Future()
            refused.set_exception(error)
            return refused

    def change(self, change: Change) -> Future[None]:
        """Record what became of a delivery."""
        return self._submit("change", change)

    def route(self, mode: Mode, hundredths: int, salt: str, who: str, why: str) -> Future[Routing]:
        """Change the routing of what comes from now on."""
        return self._submit("route", (mode, hundredths, salt, who, why))

    def retry(self, target: str, request: int) -> Future[bool]:
        """Have a parked request tried again by the relay that runs; whether it was parked."""
        return self._submit("retry", (target, request))

    def redeliver(self, target: str, request: int) -> Future[bool]:
        """Have a request delivered to a target once more, whatever became of it; whether it is there."""
        return self._submit("redeliver", (target, request))

    def take_asked(self) -> Future[list[tuple[str, int]]]:
        """What was asked to be tried again since this was last taken."""
        return self._submit("take_asked", None)

    def told(self, until_ms: int) -> Future[None]:
        """Record that everything received before a moment was told of in manifests."""
        return self._submit("told", until_ms)

    def prune(self, before_ms: int, most: int = 1000) -> Future[int]:
        """Delete what every target has and was received before a moment; how many it was."""
        return self._submit("prune", (before_ms, most))

    def _submit(self, kind: str, argument: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.write([(kind, argument, future)])
        return future

    def write(self, work: list[Work], then: Callable[[], object] | None = None) -> None:
        """Have several things written in one transaction; `then` is called by the writer's thread after it."""
        self._waiting.put((work, then))

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._waiting.put(None)
        self._writer.join()
        for connection in self._reads:
            connection.close()
        self._writes.close()

    def _write(self) -> None:
        transactions = 0
        ended = False
        while not ended:
            pieces = [self._waiting.get()]
            while sum(len(piece[0]) for piece in pieces if piece) < _MOST_AT_ONCE:
                try:
                    pieces.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            ended = None in pieces
            work = [each for piece in pieces if piece for each in piece[0]]
            if work:
                self._commit(work)
            for piece in pieces:
                if piece and piece[1]:
                    piece[1]()
            transactions += 1
            if transactions % _CHECK_SIZE_EVERY == 0 or any(kind == "prune" for kind, _, _ in work):
                self._check_size()

    def _commit(self, work: list[Work]) -> None:
        done: list[tuple[Any, Any]] = []
        by_kind: dict[str, list[tuple[Any, Any]]] = {}
        for kind, argument, future in work:
            by_kind.setdefault(kind, []).append((argument, future))
        try:
            self._writes.execute("BEGIN IMMEDIATE")
            for kind, each in by_kind.items():
                results = getattr(self, f"_do_{kind}")([argument for argument, _ in each])
                done += zip((future for _, future in each), results, strict=True)
            self._writes.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (whoever waits is told; nothing was kept)
            if self._writes.in_transaction:
                self._writes.execute("ROLLBACK")
            for _, _, future in work:
                future.set_exception(SpoolError(f"the spool cannot be written: {error}"))
            return
        for future, result in done:
            future.set_result(result)

    # One statement for all rows: each statement gives up the interpreter's lock, and has to wait for it again.

    def _do_keep(self, rows: list[tuple[Any, ...]]) -> list[int]:
        return [number for start in range(0, len(rows), _IN_STATEMENT)
                for number in self._keep(rows[start : start + _IN_STATEMENT])]  # fmt: skip

    def _keep(self, rows: list[tuple[Any, ...]]) -> range:
        inserted = self._writes.execute(
            "INSERT INTO requests"
            "(provider, received_ms, trace, routing, owner, payments, events, sealed, legacy, aws)"
            f" VALUES {_places(rows)}",
            [value for row in rows for value in row],
        )
        last = int(inserted.lastrowid or 0)
        # An AUTOINCREMENT gives one statement's rows ids in a row.
        return range(last - len(rows) + 1, last + 1)

    def _do_change(self, changes: list[Change]) -> list[None]:
        for name in TARGETS:
            target = _column(name)
            told = [
                (change.id, change.state, change.tries, change.at_ms, change.said)
                for change in changes
                if change.target == name
            ]
            for start in range(0, len(told), _IN_STATEMENT):
                rows = told[start : start + _IN_STATEMENT]
                self._writes.execute(
                    f"WITH changed(id, state, tries, at_ms, said) AS (VALUES {_places(rows)})"
                    f" UPDATE requests SET {target} = changed.state, {target}_tries = changed.tries,"
                    f" {target}_at_ms = changed.at_ms, {target}_said = changed.said"
                    " FROM changed WHERE requests.id = changed.id",
                    [value for row in rows for value in row],
                )
        return [None] * len(changes)

    def _do_route(self, asked: list[tuple[Mode, int, str, str, str]]) -> list[Routing]:
        return [self._route(*each) for each in asked]

    def _route(self, mode: Mode, hundredths: int, salt: str, who: str, why: str) -> Routing:
        (last,) = self._writes.execute("SELECT coalesce(max(epoch), 0) FROM routings").fetchone()
        routing = Routing(mode, hundredths, salt, last + 1)
        self._writes.execute(
            "INSERT INTO routings VALUES (?, ?, ?, ?, ?, ?, ?)",
            (routing.epoch, mode, hundredths, salt, int(time.time() * 1000), who, why),
        )
        return routing

    def _do_retry(self, asked: list[tuple[str, int]]) -> list[bool]:
        return [self._again(*each, where="AND {target} = 2") for each in asked]

    def _again(self, name: str, request: int, *, where: str) -> bool:
        target = _column(name)
        changed = self._writes.execute(
            f"UPDATE requests SET {target} = 0, {target}_at_ms = 0 WHERE id = ? {where.format(target=target)}",
            (request,),
        )
        if changed.rowcount:
            self._writes.execute("INSERT INTO asked VALUES (?, ?)", (target, request))
        return bool(changed.rowcount)

    def _do_redeliver(self, asked: list[tuple[str, int]]) -> list[bool]:
        return [self._again(*each, where="") for each in asked]

    def _do_take_asked(self, asked: list[None]) -> list[list[tuple[str, int]]]:
        return [self._writes.execute("DELETE FROM asked RETURNING target, request").fetchall() for _ in asked]

    def _do_told(self, untils_ms: list[int]) -> list[None]:
        self._writes.executemany(
            "INSERT OR IGNORE INTO manifests VALUES (?)", [(until_ms,) for until_ms in untils_ms]
        )
        return [None] * len(untils_ms)

    def _do_prune(self, asked: list[tuple[int, int]]) -> list[int]:
        return [self._prune(*each) for each in asked]

    def _prune(self, before_ms: int, most: int) -> int:
        deleted = self._writes.execute(
            "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE id < ? AND received_ms < ?"
            " AND legacy IN (1, 3) AND aws IN (1, 3) ORDER BY id LIMIT ?)",
            (_first_since(self._writes, before_ms), before_ms, most),
        )
        return deleted.rowcount

    def _check_size(self) -> None:
        pages, free, size = (
            self._writes.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        self._bytes = (pages - free) * size

    # Reading.

    def pending(self, target: str, after: int, most: int) -> list[Kept]:
        """What waits for a target, in order of receipt, after an id."""
        column = _column(target)
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT id, provider, received_ms, trace, routing, owner, payments, sealed,"
                f" {column}_tries, coalesce({column}_at_ms, 0) FROM requests WHERE {column} = 0 AND id > ?"
                " ORDER BY id LIMIT ?",
                (after, most),
            ).fetchall()
        return [self._kept(row) for row in rows]

    def last_id(self) -> int:
        """The id of the latest request; 0 before there was one."""
        with self.reading() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'requests'").fetchone()
        return int(row[0]) if row else 0

    def one(self, request: int, target: str) -> Kept | None:
        """One request by its id."""
        column = _column(target)
        with self.reading() as connection:
            row = connection.execute(
                "SELECT id, provider, received_ms, trace, routing, owner, payments, sealed,"
                f" {column}_tries, 0 FROM requests WHERE id = ?",
                (request,),
            ).fetchone()
        return self._kept(row) if row else None

    def _kept(self, row: Sequence[Any]) -> Kept:
        request, provider, received_ms, trace, routing, owner, payments, sealed, tries, at_ms = row
        head, _, body = self._seal.open(sealed, _bound_to(provider, received_ms)).partition(b"\0")
        headers, told = json.loads(head)
        whole = len(told) == len(Signature._fields) and isinstance(told[0], str)
        signatures = Signature(*told) if whole else [each and Signature(*each) for each in told]
        listed = tuple(payments.split("\n")) if payments else ()
        return Kept(
            request, provider, received_ms, trace, routing, owner, listed, signatures, headers, body, tries, at_ms
        )

    def delivered_before_ms(self, target: str) -> int | None:
        """When the earliest that waits for a target was received; None when nothing waits."""
        column = _column(target)
        with self.reading() as connection:
            # They are kept in nearly the order in which they are received.
            earliest: int | None = connection.execute(
                f"SELECT min(received_ms) FROM (SELECT received_ms FROM requests WHERE {column} = 0"
                f" ORDER BY id LIMIT {_NEARLY_ROWS})"
            ).fetchone()[0]
        return earliest

    def to_aws_since_ms(self) -> int | None:
        """Since when all is delivered to AWS; None while it is not."""
        since: int | None = None
        for change in reversed(self.routings(10_000)):
            if change["mode"] == Mode.LEGACY:
                since = None
            elif since is None:
                since = change["at_ms"] + _TAKEN_WITHIN_MS
        return since

    def requests_of(self, keys: Collection[str]) -> dict[str, list[int]]:
        """The ids of the requests that tell of events or payments, by their partition keys; it reads every row."""
        found: dict[str, list[int]] = {}
        with self.reading() as connection:
            for request, payments, events in connection.execute("SELECT id, payments, events FROM requests"):
                for key in {*payments.split("\n"), *events.split("\n")}:
                    if key in keys:
                        found.setdefault(key, []).append(request)
        return found

    def by_second_and_owner(self) -> list[tuple[tuple[int, str], int]]:
        """How many requests were received in each second (since 1970) for each owner."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT received_ms / 1000, owner, count(*) FROM requests GROUP BY 1, 2"
            ).fetchall()
        return [((second, owner), count) for second, owner, count in rows]

    def events_of(self, request: int) -> list[str]:
        """The partition keys of a request's events."""
        with self.reading() as connection:
            row = connection.execute("SELECT events FROM requests WHERE id = ?", (request,)).fetchone()
        return [key for key in row[0].split("\n") if key] if row else []

    def counts(self, target: str) -> Counts:
        """What the spool holds for a target."""
        column = _column(target)
        with self.reading() as connection:
            pending, oldest = connection.execute(
                f"SELECT count(*), min(id) FROM requests WHERE {column} = 0"
            ).fetchone()
            (parked,) = connection.execute(f"SELECT count(*) FROM requests WHERE {column} = 2").fetchone()
            received = connection.execute("SELECT received_ms FROM requests WHERE id = ?", (oldest,)).fetchone()
        return Counts(pending, received[0] if received else None, parked)

    def parked(self, target: str, most: int) -> list[tuple[int, str, str, str]]:
        """What a target will not take: id, provider, trace and what it said."""
        column = _column(target)
        with self.reading() as connection:
            return connection.execute(
                f"SELECT id, provider, trace, {column}_said FROM requests WHERE {column} = 2 ORDER BY id LIMIT ?",
                (most,),
            ).fetchall()

    def routing(self) -> Routing | None:
        """The routing of what comes now; None before the first was chosen."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT mode, hundredths, salt, epoch FROM routings ORDER BY epoch DESC LIMIT 1"
            ).fetchone()
        return Routing(Mode(row[0]), *row[1:]) if row else None

    def has_asked(self) -> bool:
        """Whether something was asked to be tried again."""
        with self.reading() as connection:
            return connection.execute("SELECT 1 FROM asked LIMIT 1").fetchone() is not None

    def routings(self, most: int = 100) -> list[dict[str, Any]]:
        """The changes of the routing, the latest first."""
        with self.reading() as connection:
            rows = connection.execute("SELECT * FROM routings ORDER BY epoch DESC LIMIT ?", (most,))
            names = [column[0] for column in rows.description]
            return [dict(zip(names, row, strict=True)) for row in rows]

    def told_until(self) -> int | None:
        """Up to when manifests were sent, in milliseconds since 1970."""
        with self.reading() as connection:
            found: int | None = connection.execute("SELECT max(until_ms) FROM manifests").fetchone()[0]
        return found

    def acknowledged(self, began_ms: int, until_ms: int, target: str) -> tuple[list[str], int]:
        """The distinct events received in a window that are to go to a target, and how many requests of it wait."""
        column = _column(target)
        with self.reading() as connection:
            # Requests are kept in nearly the order in which they are received: a minute on both sides is plenty.
            first, last = (_first_since(connection, at) for at in (began_ms - _NEARLY_MS, until_ms + _NEARLY_MS))
            rows = connection.execute(
                f"SELECT events, {column} FROM requests WHERE id >= ? AND id < ?"
                f" AND received_ms >= ? AND received_ms < ? AND {column} IN (0, 1)",
                (first, last, began_ms, until_ms),
            ).fetchall()
        events = dict.fromkeys(key for row in rows for key in row[0].split("\n") if key)
        return list(events), sum(1 for row in rows if row[1] == State.PENDING)


def _places(rows: Sequence[Sequence[Any]]) -> str:
    """As many question marks as the rows have values."""
    return ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))


def open_spool(where: SpoolSettings) -> Spool:
    """The spool of the settings; SettingsError or SpoolError where it cannot be had."""
    return Spool(where.file, Seal.load(where.key_file), most_bytes=where.most_bytes)


def _column(target: str) -> str:
    """A target's column: a name from here, never from a request."""
    if target not in TARGETS:
        raise ValueError(f"there is no target {target!r}")
    return target


def _first_since(connection: sqlite3.Connection, at_ms: int) -> int:
    """About where the requests begin that were received since a moment: halved for, as an index costs each insert."""
    low, high = connection.execute("SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM requests").fetchone()
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT id, received_ms FROM requests WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if row is None or row[1] >= at_ms:
            high = middle
        else:
            low = row[0] + 1
    return int(low)


def _bound_to(provider: str, received_ms: int) -> bytes:
    """What a sealed request is bound to, so that it cannot be moved to another row unseen."""
    return f"{provider}|{received_ms}".encode()
