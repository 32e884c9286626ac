"""The report: its data in the published form, one page that needs nothing else, and a signature that holds."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from typer.testing import CliRunner

from migration.cli import app
from migration.cutover.plan import Plan, RelayOf
from migration.evidence.report import SCHEMA, EvidenceError, collect
from migration.evidence.signing import new_key, verify, write
from migration.relay.seal import Seal
from migration.relay.spool import Spool
from payments.routing import Mode
from tests.unit.test_cutover import GOOD, PLAN, controller
from tests.unit.test_relay import received

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DIFFERENCE = {
    "kind": "payment", "key": ["stripe", "-", "<b>pi</b>"], "difference": "differs",
    "legacy": [{"currency": "EUR", "captured": 1}], "aws": [{"currency": "EUR", "captured": 2}],
}  # fmt: skip


def reconciliation(folder: Path, name: str, began: str, confirmed: list[Any]) -> Path:
    sums = [{"currency": "EUR", "payments": 2, "captured": 500}]
    told = {"began": began, "ended": began, "rows": {"legacy": 2, "aws": 2}, "seconds": {},
            "totals": {"legacy": sums, "aws": sums}, "suspects": 3, "confirmed": confirmed, "unsettled": []}  # fmt: skip
    (folder / name).write_text(json.dumps(told))
    return folder / name


@pytest.fixture
def report(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A cut-over that went back, then through; a spool with traffic of both owners; two reconciliations."""
    plan = Plan(**{**PLAN.__dict__, "relays": (RelayOf("http://x", command=("true",)),), "journal": tmp_path / "j"})
    controller(plan, GOOD._replace(twice=("PAY#x",))).run(lambda _: None)
    controller(plan, GOOD).run(lambda _: None, again=True)
    spool = Spool(tmp_path / "spool.db", Seal({1: b"k" * 32}))
    spool.route(Mode.CANARY, 500, "s", "ann", "first step").result()
    for second in range(400):
        owner = "aws" if second > 300 else "legacy"
        spool.keep(received(second, at_ms=1_795_000_000_000 + second * 1000)._replace(owner=owner)).result()
    files = [
        reconciliation(tmp_path, "b.json", "2026-11-24T12:00:00+00:00", []),
        reconciliation(tmp_path, "a.json", "2026-11-24T11:00:00+00:00", [DIFFERENCE]),
    ]
    yield collect(plan, [("host-1", spool)], files, "ann")
    spool.close()


def test_the_data_have_the_published_form(report: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    told = json.loads(json.dumps(report))
    jsonschema.validate(told, schema)
    # The form is closed: what it does not name is refused.
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**told, "more": 1}, schema)


def test_it_tells_what_happened(report: dict[str, Any]) -> None:
    assert report["verdict"] == {
        "cutover": "finished", "rollbacks": 1, "lost": 0, "applied_twice": 1, "moved_backwards": 0, "agree": True,
        "differences": 0,
    }  # fmt: skip
    assert [step["percent"] for step in report["steps"]] == [0, 0, 5, 100]
    assert report["steps"][0]["ended_because"] == "rolled back: applied twice: 1, such as PAY#x"
    assert all(look["numbers"]["events"] == 500 for look in report["looks"])
    assert report["traffic"]["total"] == {"legacy": 301, "aws": 99}
    assert sum(sum(span["by_owner"].values()) for span in report["traffic"]["spans"]) == 400
    assert [each["who"] for each in report["routings"]] == ["ann"]
    # The latest reconciliation counts, whatever the order in which the files are named.
    assert [len(each["confirmed"]) for each in report["reconciliations"]] == [1, 0]


def test_the_page_needs_nothing_else_and_shows_texts_as_texts(report: dict[str, Any], tmp_path: Path) -> None:
    report["reconciliations"].reverse()
    new_key(tmp_path / "key")
    write(report, tmp_path / "out", tmp_path / "key")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 6
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', page.replace('xlink:href="#', 'href="#')) == []
    assert "&lt;b&gt;pi&lt;/b&gt;" in page
    assert "<b>pi</b>" not in page


class TestSignature:
    @pytest.fixture
    def folder(self, report: dict[str, Any], tmp_path: Path) -> Path:
        new_key(tmp_path / "key")
        write(report, tmp_path / "out", tmp_path / "key")
        return tmp_path / "out"

    def test_what_was_signed_verifies(self, folder: Path, tmp_path: Path) -> None:
        signed = json.loads((folder / "report.sig.json").read_text())
        assert verify(folder, tmp_path / "key.pub") == signed["digest"]

    @pytest.mark.parametrize("name", ["report.json", "report.html"])
    def test_a_changed_byte_does_not(self, folder: Path, tmp_path: Path, name: str) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(EvidenceError, match="it was changed since"):
            verify(folder, tmp_path / "key.pub")

    def test_another_key_does_not(self, folder: Path, tmp_path: Path) -> None:
        new_key(tmp_path / "other")
        with pytest.raises(EvidenceError, match="another key"):
            verify(folder, tmp_path / "other.pub")

    def test_a_key_is_made_once(self, tmp_path: Path) -> None:
        new_key(tmp_path / "key")
        assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
        with pytest.raises(EvidenceError, match="is there already"):
            new_key(tmp_path / "key")

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["report", "verify", "nowhere", "--public-key", "x"], "holds no whole report"),
            (["report", "--plan", "nowhere.toml"], "the plan cannot be read"),
        ],
    )
    def test_the_command_says_what_is_wrong(self, arguments: list[str], says: str) -> None:
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 1
        assert says in ran.stderr
