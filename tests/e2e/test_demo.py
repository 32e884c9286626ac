"""The migration that anyone can watch, smaller: from an old system alone to AWS alone, with all that goes wrong."""

from __future__ import annotations

import json
import subprocess

from tests.conftest import ROOT
from tests.e2e.legacies import NO_POSTGRES

pytestmark = NO_POSTGRES


def test_it_goes_all_the_way_and_both_sides_agree() -> None:
    ran = subprocess.run(
        [ROOT / "scripts" / "demo_migration.sh", "--payments", "1500", "--seconds", "5", "--no-open"],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-3000:]
    home = ROOT / ".local" / "demo"
    report = json.loads((home / "report" / "report.json").read_text())
    verdict = report["verdict"]
    assert verdict["cutover"] == "finished"
    assert verdict["rollbacks"] == 1
    assert verdict["moved_backwards"] == 1
    assert verdict["agree"] is True
    assert (verdict["lost"], verdict["applied_twice"]) == (0, 0)
    first, second, last = report["reconciliations"]
    assert first["confirmed"] == last["confirmed"] == []
    assert [each["difference"] for each in second["confirmed"]] == ["differs"]
    assert last["totals"]["legacy"] == last["totals"]["aws"]
    assert set(report["traffic"]["total"]) >= {"legacy", "aws"}
