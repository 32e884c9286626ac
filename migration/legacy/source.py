"""Reading the old database by its mapping: in pages along a key, by server-side cursor, and by the payments' keys."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from payments.event import Kind
from payments.money import UnreadableAmountError, read_decimal, read_minor_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from migration.legacy.mapping import Events, LegacyMapping, Payments

_KEYS_AT_ONCE = 200
_LARGEST = 2**63 - 1

EventKey = tuple[str, str, str]
"""Provider, account and id of an event."""
PaymentKey = tuple[str, str, str]
"""Provider, account and id of a payment."""


class SourceError(Exception):
    """The old database cannot be read; the message says why."""


class UnreadableRowError(ValueError):
    """A row cannot be told in the words of this system."""

    def __init__(self, problem: str, says: str) -> None:
        super().__init__(says)
        self.problem = problem
        """What kind of problem it is, the same for all rows that have it."""


class OldPayment(NamedTuple):
    """One row of the old payments in the words of this system."""

    provider: str
    account: str
    payment: str
    status: Kind
    currency: str
    sums: dict[str, int]
    """Minor units by measure."""
    changed_at: datetime
    created_at: datetime | None

    @property
    def key(self) -> PaymentKey:
        """What names it on both sides."""
        return self.provider, self.account, self.payment


class OldEvent(NamedTuple):
    """An event that the old system took."""

    provider: str
    account: str
    event: str
    payment: str | None
    taken_at: datetime | None = None
    """When the old system took it, where it notes that."""

    def row(self) -> dict[str, Any]:
        """As a canonical row."""
        taken = None if self.taken_at is None else round(self.taken_at.timestamp() * 1000)
        return {"provider": self.provider, "account": self.account, "event": self.event, "taken_ms": taken}

    @property
    def key(self) -> EventKey:
        """What names it on both sides."""
        return self.provider, self.account, self.event


class Page(NamedTuple):
    """Rows along the key, as the database has them."""

    rows: list[sa.RowMapping]
    last: list[Any]
    """The place of the last of them, in values that JSON can hold."""


def address(url: str) -> str:
    """A database's address as SQLAlchemy takes it: psycopg where no driver is named for PostgreSQL."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return f"postgresql+psycopg://{url.removeprefix(plain)}"
    return url


class Source:
    """The old database."""

    def __init__(self, url: str, mapping: LegacyMapping) -> None:
        self.mapping = mapping
        try:
            # Everything is read as of one moment each time, and nothing is ever written.
            self._engine = sa.create_engine(address(url), pool_pre_ping=True)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
            raise SourceError(f"the source is no address of a database that can be read here: {error}") from error
        if self._engine.dialect.name == "postgresql":
            self._engine = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def count(self) -> int:
        """How many payments there are."""
        with self._reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(self._payments)).scalar_one())

    def duplicates(self, examples: int) -> tuple[int, list[str]]:
        """How many keys several rows have, and some of them."""
        columns = self._of_payments
        key = [columns[name] for name in ("provider", "account", "payment")]
        several = (
            sa.select(*key).select_from(self._payments).group_by(*self._group(key)).having(sa.func.count() > 1)
        ).subquery()
        with self._reading() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(several)).scalar_one()
            some = connection.execute(sa.select(several).limit(examples)).fetchall() if count else []
        return int(count), [" ".join(map(str, row)) for row in some]

    def page(self, after: Sequence[Any] | None, most: int) -> Page:
        """The payments after a place."""
        mapping = self.mapping.payments
        columns = self._of_payments
        places: list[Any] = [sa.column(name) for name in mapping.page_by]
        query = sa.select(*columns.values(), *(place.label(f"page_{n}") for n, place in enumerate(places)))
        query = query.select_from(self._payments).order_by(*places).limit(most)
        if after is not None:
            query = query.where(sa.tuple_(*places) > sa.tuple_(*after) if len(places) > 1 else places[0] > after[0])
        with self._reading() as connection:
            rows = list(connection.execute(query).mappings())
        last = [rows[-1][f"page_{n}"] for n in range(len(places))] if rows else list(after or [])
        return Page(rows, [value if isinstance(value, (int, str)) else str(value) for value in last])

    def stream(self, at_once: int) -> Iterator[list[sa.RowMapping]]:
        """All payments as of one moment, by a server-side cursor, in no order."""
        yield from self._streamed(sa.select(*self._of_payments.values()).select_from(self._payments), at_once)

    def stream_events(self, at_once: int) -> Iterator[list[sa.RowMapping]]:
        """All events that the old system notes, by a server-side cursor."""
        columns, table = self._of_events
        yield from self._streamed(sa.select(*columns.values()).select_from(table), at_once)

    def payments(self, keys: Iterable[PaymentKey]) -> Iterator[OldPayment]:
        """The payments that are there, by their keys, as they are now."""
        columns = self._of_payments
        for row in self._found(columns, self._payments, ("provider", "account", "payment"), keys):
            yield self.read(row)

    def events(self, keys: Iterable[EventKey]) -> Iterator[OldEvent]:
        """The events that are there, by their keys."""
        columns, table = self._of_events
        for row in self._found(columns, table, ("provider", "account", "event"), keys):
            yield self.read_event(row)

    def read(self, row: Mapping[Any, Any]) -> OldPayment:
        """A row in the words of this system, or UnreadableRowError."""
        mapping = self.mapping.payments
        status = self._status(row["status"])
        currency = ""
        sums: dict[str, int] = {}
        for measure in self.mapping.measures:
            told = row[f"amount_{measure}"]
            if not told and row["currency"] is None:
                # Where no money moved there need be no currency.
                sums[measure] = 0
                continue
            try:
                if mapping.unit == "minor":
                    whole = int(told) if isinstance(told, Decimal) and told == told.to_integral_value() else told
                    money = read_minor_units(0 if whole is None else whole, row["currency"])
                else:
                    money = read_decimal(_decimal_text(told), row["currency"])
            except UnreadableAmountError as error:
                raise UnreadableRowError(str(error), f"{measure} is {told!r} {row['currency']!r}") from None
            if abs(money.minor_units) > _LARGEST:
                raise UnreadableRowError("an amount is over 63 bits", f"{measure} is {told!r}")
            currency, sums[measure] = money.currency, money.minor_units
        changed_at = self._moment(row["changed_at"], "changed_at")
        if changed_at is None:
            raise UnreadableRowError("changed_at is null", "changed_at is null")
        return OldPayment(
            provider=_key(row["provider"], "provider"),
            account=_key(row["account"], "account"),
            payment=_key(row["payment"], "payment"),
            status=status,
            currency=currency,
            sums=sums,
            changed_at=changed_at,
            created_at=self._moment(row["created_at"], "created_at") if "created_at" in row else None,
        )

    def read_event(self, row: Mapping[Any, Any]) -> OldEvent:
        """A row of the events, or UnreadableRowError."""
        payment = row.get("payment")
        return OldEvent(
            _key(row["provider"], "provider"),
            _key(row["account"], "account"),
            _key(row["event"], "event"),
            None if payment is None else _key(payment, "payment"),
            self._moment(row.get("taken_at"), "taken_at"),
        )

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _status(self, told: Any) -> Kind:
        new = self.mapping.payments.statuses.get(str(told), str(told))
        try:
            return Kind(new)
        except ValueError:
            raise UnreadableRowError("a status has no word of ours in payments.statuses", f"it is {told!r}") from None

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.mapping.payments.timezone)

    def _moment(self, told: Any, name: str) -> datetime | None:
        """A time in UTC, at the old database's precision."""
        if told is None:
            return None
        try:
            moment = told if isinstance(told, datetime) else datetime.fromisoformat(told)
        except (TypeError, ValueError):
            raise UnreadableRowError(f"{name} is no time", f"{name} is {told!r}") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).astimezone(UTC)

    @cached_property
    def _payments(self) -> Any:
        return _table(self.mapping.payments)

    @cached_property
    def _of_payments(self) -> dict[str, Any]:
        mapping = self.mapping.payments
        columns = {
            "provider": mapping.provider, "account": mapping.account, "payment": mapping.payment,
            "currency": mapping.currency, "status": mapping.status, "changed_at": mapping.changed_at,
            **({"created_at": mapping.created_at} if mapping.created_at else {}),
            **{f"amount_{measure}": mapping.amounts[measure] for measure in self.mapping.measures},
        }  # fmt: skip
        return _labelled(columns)

    @cached_property
    def _of_events(self) -> tuple[dict[str, Any], Any]:
        mapping = self.mapping.events
        if mapping is None:
            raise SourceError("the mapping has no [events]")
        columns = {"provider": mapping.provider, "account": mapping.account, "event": mapping.event}
        columns |= {name: column for name in ("payment", "taken_at") if (column := getattr(mapping, name))}
        return _labelled(columns), _table(mapping)

    def _found(
        self, columns: dict[str, Any], table: Any, names: tuple[str, ...], keys: Iterable[tuple[str, ...]]
    ) -> Iterator[sa.RowMapping]:
        wanted = list(dict.fromkeys(keys))
        # What is the same for all rows is no column that an index could have.
        varying = [n for n, name in enumerate(names) if not isinstance(columns[name].element, sa.BindParameter)]
        fixed = {n: columns[name].element.value for n, name in enumerate(names) if n not in varying}
        wanted = [key for key in wanted if all(key[n] == value for n, value in fixed.items())]
        with self._reading() as connection:
            for start in range(0, len(wanted), _KEYS_AT_ONCE):
                some = [tuple(key[n] for n in varying) for key in wanted[start : start + _KEYS_AT_ONCE]]
                compared = [columns[names[n]].element for n in varying]
                condition = (
                    compared[0].in_([each[0] for each in some]) if len(varying) == 1
                    else sa.tuple_(*compared).in_(some)
                )  # fmt: skip
                query = sa.select(*columns.values()).select_from(table).where(condition)
                yield from connection.execute(query).mappings()

    def _streamed(self, query: sa.Select[Any], at_once: int) -> Iterator[list[sa.RowMapping]]:
        with self._reading() as connection:
            streaming = connection.execution_options(stream_results=True, yield_per=at_once)
            for rows in streaming.execute(query).mappings().partitions():
                yield list(rows)

    @staticmethod
    def _group(key: list[Any]) -> list[Any]:
        """Columns alone: a database may take a constant in GROUP BY for a column's number."""
        return [each.element for each in key if not isinstance(each.element, sa.BindParameter)]

    def _reading(self) -> _Reading:
        return _Reading(self._engine)


class _Reading:
    """A connection, and a word of ours for what goes wrong with it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def __enter__(self) -> sa.Connection:
        try:
            self._connection = self._engine.connect()
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise SourceError(f"the old database cannot be reached: {_short(error)}") from error
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        if isinstance(error, sa.exc.SQLAlchemyError):
            raise SourceError(f"the old database refuses to be read as the mapping says: {_short(error)}") from error


def _short(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _table(of: Payments | Events) -> Any:
    name = of.table.strip()
    if name.startswith("("):
        return sa.text(f"{name} AS old_rows")
    schema, _, table = name.rpartition(".")
    return sa.table(table, schema=schema or None)


def _labelled(columns: Mapping[str, str]) -> dict[str, Any]:
    """Each column, or the value that stands for it in every row, under our name."""
    return {
        ours: (sa.literal(theirs[1:], sa.String) if theirs.startswith("=") else sa.column(theirs)).label(ours)
        for ours, theirs in columns.items()
    }


def _key(told: Any, name: str) -> str:
    if told is None or told == "":
        raise UnreadableRowError(f"{name} is null or empty", f"{name} is {told!r}")
    return unicodedata.normalize("NFC", str(told))


def _decimal_text(told: Any) -> Any:
    """An amount in major units as a text; never by way of a binary fraction."""
    if told is None:
        return "0"
    return f"{told:f}" if isinstance(told, Decimal) else str(told) if isinstance(told, int) else told
