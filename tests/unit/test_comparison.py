"""What is compared, and how: the one expression says of random sides exactly what a loop over them says."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration.opening import Effective, Opening, effective, milliseconds, read_opening
from migration.reconcile.aws import PARTS
from migration.reconcile.compare import Engine, differences, open_engine, payments_on_aws, totals
from migration.reconcile.rows import NEVER_MOVED, PAYMENT_KEY, Compared
from payments.event import Event, Kind, Measure, Movement
from payments.money import Money
from payments.state import fold, movement_key

if TYPE_CHECKING:
    from pathlib import Path

COMPARED = Compared(("authorised", "captured", "refunded"), times=True, precision_ms=1000)
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
KINDS = [Kind.AUTHORISED, Kind.CAPTURED, Kind.REFUNDED, Kind.OTHER]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return open_engine("duckdb", tmp_path_factory.mktemp("engine"))


def at(seconds: int) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


events = st.builds(
    lambda number, kind, moved, happened, received: (
        Event(
            "stripe", "-", f"evt_{number}", "t", kind, "p", at(happened),
            Movement(Measure(moved[0]), f"m{moved[1]}", Money(moved[1] * 7, moved[2])) if moved else None,
        ),
        at(received),
    ),
    st.integers(0, 12), st.sampled_from(KINDS),
    st.none() | st.tuples(st.sampled_from(["captured", "refunded", "disputed"]), st.integers(1, 4),
                          st.sampled_from(["EUR", "JPY"])),
    st.integers(0, 60), st.integers(0, 60),
)  # fmt: skip
openings = st.none() | st.builds(
    lambda status, changed, as_of, captured: Opening(
        "stripe", "-", "p", status, at(changed), at(as_of), {("captured", "EUR"): captured} if captured else {}
    ),
    st.sampled_from(KINDS[:3]), st.integers(0, 60), st.integers(0, 60), st.integers(0, 3),
)  # fmt: skip
payments = st.dictionaries(
    st.sampled_from(["p1", "p2", "p3"]),
    st.tuples(st.lists(events, max_size=6, unique_by=lambda each: each[0].id), openings),
    max_size=3,
)


def parts(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What a scan of the table would have brought."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
    for payment, (history, opening) in told.items():
        key = {"provider": "stripe", "account": "-", "payment": payment}
        if history:
            state = fold(history)
            rows["states"].append({**key, "status": state.status and str(state.status), "version": state.version})
            for name, money in state.movements.items():
                rows["movements"].append({**key, "movement": name, "measure": name.split("#")[1],
                                          "currency": money.currency, "minor_units": money.minor_units})  # fmt: skip
        for event, received in history:
            moved = event.movement and movement_key(event.movement.measure, event.movement.id)
            rows["events"].append(
                {**key, "event": event.id, "movement": moved, "received_ms": milliseconds(received)}
            )
        if opening:
            rows["openings"].append({**key, "status": str(opening.status), "version": opening.version,
                                     "as_of_ms": milliseconds(opening.as_of)})  # fmt: skip
            for (measure, currency), amount in opening.sums.items():
                rows["opening_sums"].append(
                    {**key, "measure": measure, "currency": currency, "minor_units": amount}
                )  # fmt: skip
    return rows


def expected(told: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows = []
    for payment, (history, opening) in told.items():
        if not history and not opening:
            continue
        state = fold(history) if history else None
        known: Effective = effective(state, opening, history)
        versions = [each for each in (state and state.version, opening and opening.version) if each]
        changed_ms = max((int(version[:15]) for version in versions), default=0)
        rows += COMPARED.new(("stripe", "-", payment), known, changed_ms)
    return sorted(tuple(row.values()) for row in rows)


def table(engine: Engine, rows: list[dict[str, Any]], schema: pa.Schema, folder: Path, name: str) -> Any:
    # A file of its own each time: an engine keeps what it has read of a file that was not changed for a second.
    file = folder / f"{name}-{secrets.token_hex(8)}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    return engine.read(file)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=payments)
def test_the_expression_adds_up_as_the_domain_does(engine: Engine, tmp_path: Path, told: dict[str, Any]) -> None:
    tables = {name: table(engine, rows, PARTS[name], tmp_path, name) for name, rows in parts(told).items()}
    found = payments_on_aws(tables, COMPARED.measures, COMPARED.precision_ms, NEVER_MOVED).to_pyarrow().to_pylist()
    names = COMPARED.schema().names
    assert sorted(tuple(row[name] for name in names) for row in found) == expected(told)


sides = st.dictionaries(
    st.tuples(st.sampled_from(["stripe", "adyen"]), st.sampled_from(["a", "b", "c"]), st.sampled_from(["EUR", ""])),
    st.tuples(st.sampled_from(["captured", "refunded"]), st.integers(0, 2), st.integers(0, 2)),
    max_size=8,
)


def rows_of(side: dict[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"provider": provider, "account": "-", "payment": payment, "currency": currency, "status": status,
         "authorised": 0, "captured": captured, "refunded": refunded, "changed_ms": 0}
        for (provider, payment, currency), (status, captured, refunded) in side.items()
    ]  # fmt: skip


def compared(engine: Engine, folder: Path, legacy: dict[Any, Any], aws: dict[Any, Any]) -> set[tuple[Any, ...]]:
    left, right = (
        table(engine, rows_of(side), COMPARED.schema(), folder, name)
        for name, side in (("legacy", legacy), ("aws", aws))
    )
    found = differences(engine, left, right, PAYMENT_KEY, COMPARED.fields).to_pyarrow().to_pylist()
    assert len(found) == len({tuple(row[name] for name in PAYMENT_KEY) for row in found})
    return {(row["provider"], row["payment"], row["currency"], row["difference"]) for row in found}


def by_loop(legacy: dict[Any, Any], aws: dict[Any, Any]) -> set[tuple[Any, ...]]:
    missing = {(*key, "missing on AWS") for key in legacy.keys() - aws.keys()}
    lacking = {(*key, "missing in legacy") for key in aws.keys() - legacy.keys()}
    return missing | lacking | {
        (*key, "differs") for key in legacy.keys() & aws.keys() if legacy[key] != aws[key]
    }  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(legacy=sides, aws=sides)
def test_exactly_the_differences_are_found(
    engine: Engine, tmp_path: Path, legacy: dict[Any, Any], aws: dict[Any, Any]
) -> None:
    assert compared(engine, tmp_path, legacy, aws) == by_loop(legacy, aws)


@pytest.mark.filterwarnings("ignore")  # of Spark's own, and of pandas at Ibis
def test_spark_says_what_duckdb_says(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same expressions on another engine; only where PySpark and Java are."""
    pytest.importorskip("pyspark", reason="PySpark is not on the path: scripts/test.sh puts it there")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    spark = open_engine("spark", tmp_path)
    legacy = {("stripe", f"p{n}", "EUR"): ("captured", n % 5, 0) for n in range(500)}
    aws = {key: (status, captured + (n == 7), 0) for n, (key, (status, captured, _)) in enumerate(legacy.items())}
    del aws["stripe", "p9", "EUR"]
    del legacy["stripe", "p11", "EUR"]
    assert compared(spark, tmp_path, legacy, aws) == compared(engine, tmp_path, legacy, aws) == by_loop(legacy, aws)
    told = {
        "p1": ([(Event("stripe", "-", "e", "t", Kind.CAPTURED, "p1", at(5),
                       Movement(Measure.CAPTURED, "m", Money(5, "EUR"))), at(9))],
               Opening("stripe", "-", "p1", Kind.AUTHORISED, at(1), at(8), {("captured", "EUR"): 2})),
    }  # fmt: skip
    answers = []
    for each in (spark, engine):
        tables = {name: table(each, rows, PARTS[name], tmp_path, name) for name, rows in parts(told).items()}
        found = payments_on_aws(tables, COMPARED.measures, COMPARED.precision_ms, NEVER_MOVED)
        answers.append((found.to_pyarrow().to_pylist(), totals(found, COMPARED.measures).to_pyarrow().to_pylist()))
    assert answers[0] == answers[1]
    assert answers[0][0][0]["captured"] == 7
    spark.connection.disconnect()


class TestOpening:
    def opening(self) -> Opening:
        sums = {("captured", "EUR"): 500, ("refunded", "EUR"): 20}
        return Opening("stripe", "-", "pi#1", Kind.CAPTURED, at(10), at(30), sums)

    def event(self, number: int, kind: Kind, happened: int, received: int, amount: int = 0) -> tuple[Event, datetime]:
        moved = Movement(Measure.REFUNDED, f"re_{number}", Money(amount, "EUR")) if amount else None
        return Event("stripe", "-", f"e{number}", "t", kind, "pi#1", at(happened), moved), at(received)

    def test_it_is_read_back_as_it_was_written(self) -> None:
        assert read_opening(self.opening().item()) == self.opening()

    def test_a_finer_time_is_cut_off_and_never_rounded(self) -> None:
        """Half of all times would be a millisecond later on one side."""
        finer = self.opening()._replace(changed_at=at(10) + timedelta(microseconds=999_900))
        assert read_opening(finer.item()).version == finer.version
        assert milliseconds(finer.changed_at) == milliseconds(at(10)) + 999

    def test_alone_it_is_what_is_known(self) -> None:
        assert effective(None, self.opening(), []) == (Kind.CAPTURED, dict(self.opening().sums))

    def test_what_it_holds_already_is_not_counted_again(self) -> None:
        history = [self.event(1, Kind.REFUNDED, 12, 29, 20), self.event(2, Kind.REFUNDED, 31, 30, 7)]
        known = effective(fold(history), self.opening(), history)
        assert known.sums["refunded", "EUR"] == 27
        assert known.status is Kind.REFUNDED

    def test_a_movement_told_before_and_after_it_was_in_it(self) -> None:
        history = [self.event(1, Kind.REFUNDED, 12, 29, 20)]
        again, received = self.event(1, Kind.REFUNDED, 12, 40, 20)
        history.append((again._replace(id="another"), received))
        assert effective(fold(history), self.opening(), history).sums["refunded", "EUR"] == 20

    def test_a_late_event_does_not_take_its_status_back(self) -> None:
        history = [self.event(1, Kind.AUTHORISED, 5, 50)]
        assert effective(fold(history), self.opening(), history).status is Kind.CAPTURED
