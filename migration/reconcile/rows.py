"""Canonical rows: what one side says of a payment, or of an event, in a form that both sides share.

Money is in integer minor units, times are milliseconds since 1970 in UTC at the coarser side's precision, and texts
are in Unicode's form NFC. A payment has a row for each currency in which one of its compared sums is not zero, and a
row without a currency when there is none: a declined payment has a currency on one side and nothing on the other.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from migration.opening import milliseconds
from payments.event import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from migration.legacy.source import OldPayment
    from migration.opening import Effective

PAYMENT_KEY = ("provider", "account", "payment", "currency")
EVENT_KEY = ("provider", "account", "event")
NO_CURRENCY = ""
NEVER_MOVED = str(Kind.OTHER)
"""The status of a payment of which nothing says how far it has come."""

_ROWS = 50_000


class Compared(NamedTuple):
    """What of a payment is compared."""

    measures: tuple[str, ...]
    times: bool
    precision_ms: int

    @property
    def fields(self) -> tuple[str, ...]:
        """The compared columns beside the key."""
        return ("status", *self.measures, *(("changed_ms",) if self.times else ()))

    def schema(self) -> pa.Schema:
        """The columns of a payment's row."""
        texts = [(name, pa.string()) for name in (*PAYMENT_KEY, "status")]
        numbers = [(name, pa.int64()) for name in (*self.measures, "changed_ms")]
        return pa.schema([*texts, *numbers])

    def old(self, payment: OldPayment) -> dict[str, Any]:
        """A row of the old database, whose payments have one currency."""
        sums = {measure: payment.sums[measure] for measure in self.measures}
        return {
            "provider": payment.provider, "account": payment.account, "payment": payment.payment,
            "currency": payment.currency if any(sums.values()) else NO_CURRENCY, "status": str(payment.status),
            **sums, "changed_ms": self.coarse(milliseconds(payment.changed_at)),
        }  # fmt: skip

    def new(self, key: tuple[str, str, str], known: Effective, changed_ms: int) -> list[dict[str, Any]]:
        """The rows of a payment on AWS."""
        provider, account, payment = map(nfc, key)
        by_currency: dict[str, dict[str, int]] = {}
        for (measure, currency), amount in known.sums.items():
            if measure in self.measures and amount:
                by_currency.setdefault(currency, {})[measure] = amount
        return [
            {
                "provider": provider, "account": account, "payment": payment, "currency": currency,
                "status": str(known.status or NEVER_MOVED),
                **{measure: sums.get(measure, 0) for measure in self.measures},
                "changed_ms": self.coarse(changed_ms),
            }
            for currency, sums in (by_currency or {NO_CURRENCY: {}}).items()
        ]  # fmt: skip

    def coarse(self, at_ms: int) -> int:
        """A time at the precision that both sides keep."""
        return at_ms - at_ms % self.precision_ms


EVENTS = pa.schema([(name, pa.string()) for name in EVENT_KEY])


class Writer:
    """A Parquet file that is written row by row."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._first = self._columns[schema.names[0]]
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self.rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows."""
        columns = self._columns.items()
        for row in rows:
            self.rows += 1
            for name, values in columns:
                values.append(row.get(name))
        if len(self._first) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.table(self._columns, schema=self._schema))
        for values in self._columns.values():
            values.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._writer.close()


def nfc(told: str) -> str:
    """A text in the form in which both sides compare it."""
    return told if told.isascii() else unicodedata.normalize("NFC", told)
