"""The mapping of an old database: what is wrong in it is named, and its rows are told in our words or refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from migration.legacy.mapping import MappingError, load
from migration.legacy.source import Source, SourceError, UnreadableRowError
from payments.event import Kind

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = """
[payments]
table = "old"
page_by = ["id"]
provider = "=stripe"
payment = "reference"
currency = "currency"
status = "state"
changed_at = "changed"
timezone = "Europe/Berlin"
unit = "{unit}"
[payments.amounts]
captured = "paid"
[payments.statuses]
PAID = "captured"
"""


def written(folder: Path, text: str) -> Path:
    (folder / "mapping.toml").write_text(text)
    return folder / "mapping.toml"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("page_by", "page"), "is payments.page_by meant"),
        (('page_by = ["id"]', 'page_by = "id"'), "payments.page_by is not a list"),
        (('payment = "reference"\n', ""), "the setting payments.payment is missing"),
        (('"captured"', '"done"'), "payments.statuses.PAID is 'done', which is no status"),
        (("captured =", "profit ="), "payments.amounts.profit is no measure"),
        (('captured = "paid"', ""), "payments.amounts names no column"),
        (("Europe/Berlin", "Berlin"), "no time zone"),
        (('"minor"', '"cents"'), 'neither "minor" nor "major"'),
        (("[payments]", "[payment]"), "is payments meant"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(MappingError) as error:
        load(written(tmp_path, MAPPING.format(unit="minor").replace(*change, 1)))
    assert says in str(error.value)


class TestRows:
    def source(self, folder: Path, unit: str = "minor") -> Source:
        return Source("sqlite://", load(written(folder, MAPPING.format(unit=unit))))

    def row(self, **changes: Any) -> dict[str, Any]:
        row = {"provider": "stripe", "account": "-", "payment": "pi", "currency": "EUR", "status": "PAID",
               "changed_at": "2026-07-01 12:00:00", "amount_captured": 1234}  # fmt: skip
        return {**row, **changes}

    def test_a_time_without_a_zone_has_the_mappings(self, tmp_path: Path) -> None:
        read = self.source(tmp_path).read(self.row())
        assert read.changed_at == datetime(2026, 7, 1, 10, tzinfo=UTC)
        assert (read.status, read.sums, read.currency) == (Kind.CAPTURED, {"captured": 1234}, "EUR")

    @pytest.mark.parametrize(
        ("amount", "currency", "minor_units"),
        [(Decimal("12.34"), "EUR", 1234), ("12.3", "EUR", 1230), (12, "JPY", 12), (None, "EUR", 0), (None, None, 0)],
    )
    def test_major_units_never_become_a_float(
        self, tmp_path: Path, amount: Any, currency: str | None, minor_units: int
    ) -> None:
        row = self.row(amount_captured=amount, currency=currency)
        assert self.source(tmp_path, "major").read(row).sums == {"captured": minor_units}

    def test_texts_are_in_one_form(self, tmp_path: Path) -> None:
        assert self.source(tmp_path).read(self.row(payment="cafe\u0301")).payment == "caf\u00e9"

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"payment": None}, "payment is null or empty"),
            ({"status": "ODD"}, "no word of ours"),
            ({"amount_captured": 12.34}, "not a whole number"),
            ({"amount_captured": 2**63}, "63 bits"),
            ({"currency": "EURO"}, "code of three letters"),
            ({"changed_at": None}, "changed_at is null"),
            ({"changed_at": "yesterday"}, "changed_at is no time"),
        ],
    )
    def test_what_cannot_be_told_is_refused(self, tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
        with pytest.raises(UnreadableRowError) as error:
            self.source(tmp_path).read(self.row(**changes))
        assert problem in error.value.problem

    def test_pages_and_keys_on_any_database(self, tmp_path: Path) -> None:
        """SQLite here; PostgreSQL in the end-to-end tests."""
        url = f"sqlite:///{tmp_path / 'old.db'}"
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(
                sa.text("CREATE TABLE old(id INTEGER PRIMARY KEY, reference, currency, state, changed, paid)")
            )
            rows = [{"id": number, "reference": f"p{number % 6}"} for number in range(7)]
            connection.execute(
                sa.text("INSERT INTO old VALUES (:id, :reference, 'EUR', 'PAID', '2026-01-01', 5)"), rows
            )
        engine.dispose()
        source = Source(url, load(written(tmp_path, MAPPING.format(unit="minor"))))
        first = source.page(None, 4)
        assert [row["payment"] for row in first.rows] == ["p0", "p1", "p2", "p3"]
        assert [row["payment"] for row in source.page(first.last, 4).rows] == ["p4", "p5", "p0"]
        assert source.duplicates(5) == (1, ["stripe - p0"])
        assert source.count() == 7
        found = source.payments([("stripe", "-", "p4"), ("stripe", "-", "none"), ("adyen", "-", "p1")])
        assert [each.payment for each in found] == ["p4"]
        source.close()

    def test_a_database_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        mapping = load(written(tmp_path, MAPPING.format(unit="minor")))
        with pytest.raises(SourceError, match="no address of a database"):
            Source("nosuch://host/db", mapping)
        source = Source(f"sqlite:///{tmp_path / 'empty.db'}", mapping)
        with pytest.raises(SourceError, match="no such table: old"):
            source.count()
        source.close()
