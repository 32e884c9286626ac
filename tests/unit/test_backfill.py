"""Writing openings to a table that throttles, has some of them already, or refuses; and the checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from migration.backfill import BackfillError, Checkpoint, Openings, Pace, Written
from migration.opening import Opening, milliseconds
from payments.event import Kind

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 24, tzinfo=UTC)


def opening(number: int, as_of: datetime = AT) -> Opening:
    return Opening("stripe", "-", f"p{number}", Kind.CAPTURED, AT, as_of, {("captured", "EUR"): number + 1})


class ThrottlingTable:
    """DynamoDB's transactions of openings: all or nothing, with reasons; and throttles that are told beforehand."""

    def __init__(self, throttles: list[str]) -> None:
        self.items: dict[str, int] = {}
        self.calls = 0
        self._throttles = throttles

    def transact_write_items(self, TransactItems: list[dict[str, Any]]) -> None:  # noqa: N803 (boto3's name)
        self.calls += 1
        if self._throttles:
            code = self._throttles.pop(0)
            reasons = [{"Code": code}, *({"Code": "None"} for _ in TransactItems[1:])]
            details = {"CancellationReasons": reasons} if code in {"ThrottlingError", "TransactionConflict"} else {}
            told: Any = {"Error": {"Code": "TransactionCanceledException" if details else code}, **details}
            raise ClientError(told, "TransactWriteItems")
        puts = [each["Put"] for each in TransactItems]
        new = {put["Item"]["PK"]["S"]: int(put["Item"]["as_of_ms"]["N"]) for put in puts}
        reasons = [
            {"Code": "ConditionalCheckFailed" if self.items.get(key, -1) >= as_of else "None"}
            for key, as_of in new.items()
        ]
        if any(reason["Code"] != "None" for reason in reasons):
            cancelled: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(cancelled, "TransactWriteItems")
        self.items |= new


class Deployment:
    def __init__(self, table: ThrottlingTable) -> None:
        self._table = table

    def client(self, _holder: str, _service: str) -> ThrottlingTable:
        return self._table

    def output(self, _layer: str, name: str) -> str:
        return name


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migration.backfill.time.sleep", lambda _: None)


def written(table: ThrottlingTable, openings: list[Opening], pace: Pace | None = None) -> Written:
    return Openings(Deployment(table), pace or Pace(1000)).write(openings)  # type: ignore[arg-type]


def test_what_is_there_as_new_or_newer_stays_and_the_rest_is_written() -> None:
    table = ThrottlingTable([])
    assert written(table, [opening(number) for number in range(250)]) == (250, 0)
    later = [opening(number, AT + timedelta(seconds=number % 2)) for number in range(300)]
    assert written(table, later) == (175, 125)
    assert table.items["PAY#stripe#-#p1"] == milliseconds(AT + timedelta(seconds=1))
    assert written(table, [opening(1, AT - timedelta(days=1))]) == (0, 1)


@pytest.mark.parametrize(
    "code",
    ["ThrottlingError", "TransactionConflict", "ProvisionedThroughputExceededException", "ThrottlingException"],
)
def test_a_throttle_halves_the_pace_and_loses_nothing(code: str) -> None:
    table, pace = ThrottlingTable([code] * 3), Pace(1000)
    assert written(table, [opening(number) for number in range(100)], pace) == (100, 0)
    assert len(table.items) == 100
    assert pace.per_s == pytest.approx(1000 / 8 * 1.1)
    for _ in range(60):
        pace.taken()
    assert pace.per_s == 1000


def test_a_refusal_that_no_patience_helps_is_not_tried_again() -> None:
    table = ThrottlingTable(["AccessDeniedException"])
    with pytest.raises(ClientError, match="AccessDenied"):
        written(table, [opening(1)])
    assert table.calls == 1


def test_the_pace_is_kept_over_time() -> None:
    now = 0.0
    pace = Pace(100, clock=lambda: now)
    assert [pace.wait_s(50) for _ in range(3)] == [0, 0.5, 1.0]
    now = 10.0
    assert pace.wait_s(50) == 0


class TestCheckpoint:
    def test_a_run_goes_on_and_a_complete_one_begins_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "c.json"
        first = Checkpoint(file, "digest")
        assert not first.load()
        first.after, first.since, first.done = [500], AT, Written(400, 100)
        first.save()
        again = Checkpoint(file, "digest")
        assert again.load()
        assert (again.after, again.since, again.done) == ([500], AT, Written(400, 100))
        again.save(complete=True)
        assert not Checkpoint(file, "digest").load()

    @pytest.mark.parametrize(("content", "says"), [("{", "cannot be read"), ('{"mapping": "x"}', "another mapping")])
    def test_one_that_is_not_of_this_run_is_refused(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "c.json").write_text(content)
        with pytest.raises(BackfillError, match=says):
            Checkpoint(tmp_path / "c.json", "digest").load()
