"""The old system: takes webhooks over HTTP and keeps sums of each payment in a database of its own.

Usage: python -m demo.legacy --database URL --port PORT

It is what a migration finds: it trusts whoever reaches it, has words of its own for what became of a payment, and
keeps sums, not movements. It takes an event once and a movement once, as a payment system has to.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite

import providers
from migration.legacy.source import address
from payments import attestation
from payments.event import Kind
from payments.state import RANKS
from providers.base import Delivery
from providers.errors import DeliveryError

if TYPE_CHECKING:
    from pathlib import Path

    from payments.event import Event

WORDS = {
    Kind.AUTHORISED: "RESERVED",
    Kind.CAPTURED: "PAID",
    Kind.SETTLED: "CLEARED",
    Kind.FAILED: "DECLINED",
    Kind.CANCELLED: "VOID",
    Kind.REFUND_PENDING: "REFUNDING",
    Kind.REFUNDED: "REFUNDED",
    Kind.REFUND_FAILED: "REFUND_BOUNCED",
    Kind.DISPUTE_OPENED: "CHARGEBACK",
    Kind.DISPUTE_WON: "CHARGEBACK_WON",
    Kind.DISPUTE_LOST: "CHARGEBACK_LOST",
    Kind.OTHER: "NEW",
}
"""The old system's words."""

MAPPING = f"""\
[payments]
table = "transactions"
page_by = ["id"]
provider = "psp"
account = "merchant"
payment = "reference"
currency = "currency"
status = "state"
changed_at = "changed_at"
created_at = "created_at"
precision_ms = 1
compare_times = true

[payments.amounts]
authorised = "reserved_cents"
captured = "paid_cents"
refunded = "refunded_cents"
disputed = "disputed_cents"

[payments.statuses]
{chr(10).join(f'{old} = "{new}"' for new, old in WORDS.items())}

[events]
table = "webhook_log"
page_by = ["psp", "merchant", "event_id"]
provider = "psp"
account = "merchant"
event = "event_id"
payment = "reference"
taken_at = "taken_at"
"""
"""The old database in the words of the new system."""

_METADATA = sa.MetaData()
TRANSACTIONS = sa.Table(
    "transactions",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("psp", sa.String(32), nullable=False),
    sa.Column("merchant", sa.String(255), nullable=False),
    sa.Column("reference", sa.String(255), nullable=False),
    sa.Column("currency", sa.String(3)),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("state_rank", sa.Integer, nullable=False),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("reserved_cents", sa.BigInteger, nullable=False, default=0),
    sa.Column("paid_cents", sa.BigInteger, nullable=False, default=0),
    sa.Column("refunded_cents", sa.BigInteger, nullable=False, default=0),
    sa.Column("disputed_cents", sa.BigInteger, nullable=False, default=0),
    sa.UniqueConstraint("psp", "merchant", "reference"),
)
WEBHOOK_LOG = sa.Table(
    "webhook_log",
    _METADATA,
    sa.Column("psp", sa.String(32), primary_key=True),
    sa.Column("merchant", sa.String(255), primary_key=True),
    sa.Column("event_id", sa.String(255), primary_key=True),
    sa.Column("reference", sa.String(255)),
    sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
)
_POSTINGS = sa.Table(
    "postings",
    _METADATA,
    sa.Column("psp", sa.String(32), primary_key=True),
    sa.Column("merchant", sa.String(255), primary_key=True),
    sa.Column("posting", sa.String(300), primary_key=True),
)
_AMOUNTS = {
    "authorised": "reserved_cents", "captured": "paid_cents", "refunded": "refunded_cents",
    "disputed": "disputed_cents",
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ledger:
    """The old database."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(address(url), pool_size=40, max_overflow=0)
        self._writing = threading.Lock() if self._engine.dialect.name == "sqlite" else None
        _METADATA.create_all(self._engine)

    def fill(self, count: int, seed: int, until: datetime) -> None:
        """Old payments of two years, some of them refunded, declined or disputed."""
        dice = random.Random(seed)  # noqa: S311 (the same every time)
        rows = []
        for number in range(count):
            amount = dice.randint(100, 50_000)
            state = dice.choices(
                [Kind.CAPTURED, Kind.SETTLED, Kind.REFUNDED, Kind.FAILED, Kind.DISPUTE_LOST], [50, 30, 12, 6, 2]
            )[0]
            paid = 0 if state is Kind.FAILED else amount
            created = until - timedelta(seconds=dice.randint(3600, 2 * 365 * 86_400))
            rows.append(
                {
                    "psp": dice.choice(["stripe", "standard", "adyen"]),
                    "merchant": "-",
                    "reference": f"old_{number:07d}",
                    "currency": dice.choice(["EUR", "USD", "JPY"]),
                    "state": WORDS[state],
                    "state_rank": RANKS[state],
                    "created_at": created,
                    "changed_at": created + timedelta(seconds=dice.randint(1, 3000)),
                    "reserved_cents": paid,
                    "paid_cents": paid,
                    "refunded_cents": paid // 2 if state is Kind.REFUNDED else 0,
                    "disputed_cents": paid if state is Kind.DISPUTE_LOST else 0,
                }
            )
        with self._engine.begin() as connection:
            for start in range(0, count, 5000):
                connection.execute(sa.insert(TRANSACTIONS), rows[start : start + 5000])

    def take(self, event: Event, at: datetime) -> bool:
        """Book an event; whether it was new."""
        if self._writing:
            with self._writing:
                return self._take(event, at)
        return self._take(event, at)

    def _take(self, event: Event, at: datetime) -> bool:
        of = {"psp": event.provider, "merchant": event.account}
        with self._engine.begin() as connection:
            noted = {**of, "event_id": event.id, "reference": event.payment, "taken_at": at}
            if not self._insert(connection, WEBHOOK_LOG, noted):
                return False
            if event.payment is not None:
                self._book(connection, event, {**of, "reference": event.payment}, at)
        return True

    def _book(self, connection: sa.Connection, event: Event, of: dict[str, Any], at: datetime) -> None:
        happened = event.occurred_at or at
        rank = RANKS[event.kind]
        movement = event.movement
        new = {
            **of, "state": WORDS[Kind.OTHER], "state_rank": -1, "changed_at": _EPOCH, "created_at": at,
            "currency": movement.money.currency if movement else None,
        }  # fmt: skip
        self._insert(connection, TRANSACTIONS, new)
        this = sa.and_(*(TRANSACTIONS.c[name] == value for name, value in of.items()))
        was = connection.execute(sa.select(TRANSACTIONS).where(this).with_for_update()).mappings().one()
        changed: dict[str, Any] = {}
        if movement:
            posting = {"psp": of["psp"], "merchant": of["merchant"], "posting": f"{movement.measure} {movement.id}"}
            if self._insert(connection, _POSTINGS, posting):
                column = TRANSACTIONS.c[_AMOUNTS[movement.measure]]
                changed[column.name] = column + movement.money.minor_units
            changed["currency"] = movement.money.currency
        was_at = was["changed_at"] if was["changed_at"].tzinfo else was["changed_at"].replace(tzinfo=UTC)
        if event.moves_status and (happened, rank) > (was_at, was["state_rank"]):
            changed |= {"state": WORDS[event.kind], "state_rank": rank, "changed_at": happened}
        if changed:
            connection.execute(sa.update(TRANSACTIONS).where(this).values(changed))

    def _insert(self, connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
        """Insert a row that may be there; whether it was not."""
        dialect: Any = sa.dialects.sqlite if self._engine.dialect.name == "sqlite" else sa.dialects.postgresql
        insert = dialect.insert(table).values(row).on_conflict_do_nothing().returning(sa.literal(1))
        return connection.execute(insert).first() is not None

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def server(ledger: Ledger, port: int) -> ThreadingHTTPServer:
    """What the old system answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            """Take a webhook, under /webhooks/{provider}."""
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            # When the provider called, as the relay tells it; where none stands before it, now.
            told = headers.get(attestation.RECEIVED_AT)
            at = datetime.fromisoformat(told) if told else datetime.now(UTC)
            status = 200
            try:
                for event in providers.load(self.path.rpartition("/")[2]).read(Delivery(headers, body, at)):
                    if not isinstance(event, DeliveryError):
                        ledger.take(event, at)
            except DeliveryError as error:
                status = 400
                self.log_error("refused: %s", error)
            except sa.exc.SQLAlchemyError as error:
                status = 503
                self.log_error("not booked: %s", error)
            answer = json.dumps({"status": status}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_request(self, *_: Any) -> None:
            """Nothing: there are too many."""

    made = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    made.daemon_threads = True
    return made


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    serving = server(Ledger(arguments.database), arguments.port)
    serving.serve_forever()


def write_mapping(file: Path) -> None:
    """Write the mapping of the old database."""
    file.write_text(MAPPING)


if __name__ == "__main__":
    main()
