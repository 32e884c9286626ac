"""The cut-over: what is decided on which numbers, and a controller that survives its own end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.cutover import journal as lines
from migration.cutover.controller import Controller, CutoverError, Routings, ask, status
from migration.cutover.gates import Action, Numbers, Position, decide
from migration.cutover.journal import Journal
from migration.cutover.measuring import Series, percentile
from migration.cutover.plan import Gates, Plan, PlanError, RelayOf, Step, load
from migration.relay.seal import new_key
from migration.relay.settings import load as load_settings
from migration.relay.spool import open_spool
from tests.conftest import ROOT
from tests.unit.test_relay import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = Numbers(events=500, tries=500, failed=0, aws_p99_ms=90, legacy_p99_ms=80, lag_s=1, dead_letters=0,
               mismatches=0, checked=50, compared=50, differing=0)  # fmt: skip
PLAN = Plan(
    relays=(RelayOf("http://127.0.0.1:1", command=("true",)),),
    steps=(Step(0, 1, 100), Step(5, 1, 100), Step(100, 1, 100)),
    gates=Gates(failures=3),
    no_data_minutes=2,
)


def position(**changes: Any) -> Position:
    return Position(1, NOW - timedelta(minutes=5), 1000, 0, NOW)._replace(**changes)


class TestDecide:
    def test_it_goes_on_when_time_and_events_are_enough(self) -> None:
        decision = decide(PLAN, position(), GOOD, NOW)
        assert decision.action is Action.ADVANCE
        assert decision.position == Position(2, NOW, 0, 0, NOW)

    def test_it_ends_at_the_last_step(self) -> None:
        assert decide(PLAN, position(step=2), GOOD, NOW).action is Action.FINISH

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"since": NOW}, "60 s are left"),
            ({"events": -450}, "50 events are missing"),
            ({"paused": True}, "paused"),
        ],
    )
    def test_it_stays_for_a_reason(self, changes: dict[str, Any], why: str) -> None:
        decision = decide(PLAN, position(**changes), GOOD, NOW)
        assert decision.action is Action.STAY
        assert why in decision.why

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"lost": ("EVT#1",)}, "acknowledged and lost: 1, such as EVT#1"),
            ({"twice": ("PAY#1", "PAY#2")}, "applied twice: 2"),
            ({"backwards": ("PAY#1",)}, "moved backwards"),
        ],
    )
    @pytest.mark.parametrize("paused", [False, True])
    def test_harm_goes_back_at_once_and_whatever_else_is(
        self, wrong: dict[str, Any], why: str, *, paused: bool
    ) -> None:
        decision = decide(PLAN, position(since=NOW, events=0, paused=paused), GOOD._replace(**wrong), NOW)
        assert decision.action is Action.ROLL_BACK
        assert why in decision.why

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"failed": 6}, "tries failed 1.2%, over 1.0%"),
            ({"aws_p99_ms": 300.0}, "p99 300 ms, over 250 ms"),
            ({"aws_p99_ms": 900.0, "legacy_p99_ms": 400.0}, "p99 900 ms, over 800 ms"),
            ({"lag_s": 61.0}, "oldest waits 61 s, over 60 s"),
            ({"dead_letters": 1}, "new dead letters 1, over 0"),
            ({"mismatches": 1}, "mismatch 0.20%, over 0.10%"),
            ({"differing": 1}, "mismatch 2.00%, over 0.10%"),
        ],
    )
    def test_a_soft_gate_goes_back_at_the_third_failure_in_a_row(self, wrong: dict[str, Any], why: str) -> None:
        numbers, at = GOOD._replace(**wrong), position()
        for failures in (1, 2):
            decision = decide(PLAN, at, numbers, NOW)
            assert (decision.action, decision.position.failures) == (Action.STAY, failures)
            at = decision.position
        decision = decide(PLAN, at, numbers, NOW)
        assert decision.action is Action.ROLL_BACK
        assert why in decision.why

    def test_a_good_look_begins_the_count_anew(self) -> None:
        assert decide(PLAN, position(failures=2, since=NOW), GOOD, NOW).position.failures == 0

    @pytest.mark.parametrize("numbers", [None, GOOD._replace(events=0)])
    def test_no_data_holds_and_then_goes_back(self, numbers: Numbers | None) -> None:
        assert decide(PLAN, position(), numbers, NOW + timedelta(seconds=119)).action is Action.STAY
        assert decide(PLAN, position(), numbers, NOW + timedelta(seconds=121)).action is Action.ROLL_BACK

    def test_want_of_traffic_hides_no_harm(self) -> None:
        numbers = GOOD._replace(events=0, lost=("EVT#1",))
        assert decide(PLAN, position(), numbers, NOW).action is Action.ROLL_BACK

    @given(
        looks=st.lists(
            st.none()
            | st.builds(
                GOOD._replace, events=st.integers(0, 200), failed=st.integers(0, 20), lag_s=st.floats(0, 120),
                lost=st.sampled_from([(), ("EVT#1",)]),
            ),
            max_size=30,
        ),
        paused=st.booleans(),
    )  # fmt: skip
    def test_whatever_comes_the_share_never_jumps_and_never_rises_on_a_bad_look(
        self, looks: list[Numbers | None], *, paused: bool
    ) -> None:
        at, now = Position(0, NOW, 0, 0, NOW, paused), NOW
        for numbers in looks:
            now += timedelta(seconds=40)
            decision = decide(PLAN, at, numbers, now)
            assert decision.position.step - at.step in {0, 1}
            if decision.position.step > at.step:
                assert not paused
                assert decision.action is Action.ADVANCE
                assert numbers is not None
                assert not numbers.lost
                assert now - at.since >= timedelta(minutes=PLAN.steps[at.step].least_minutes)
            if decision.action in {Action.ROLL_BACK, Action.FINISH}:
                return
            at = decision.position


class Told:
    """Numbers from a list, and then the last of them for ever."""

    def __init__(self, *looks: Numbers | None) -> None:
        self._looks = list(looks)
        self.began_with: int | None = None

    def dead_letters(self) -> int:
        return 7

    def begin(self, dead_letters: int, since: datetime | None = None) -> None:
        self.began_with = dead_letters

    def look(self) -> Numbers | None:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan on a relay with a real spool."""
    (tmp_path / "relay.toml").write_text(SETTINGS.replace("/etc/envmig/spool.key", "spool.key"))
    new_key(tmp_path / "spool.key")
    relays = (RelayOf("http://127.0.0.1:1", settings=tmp_path / "relay.toml"),)
    return PLAN.__class__(
        **{**PLAN.__dict__, "relays": relays, "journal": tmp_path / "cutover.jsonl", "every_s": 20.0}
    )


def routings(plan: Plan) -> list[tuple[str, int, str]]:
    settings = plan.relays[0].settings
    assert settings
    spool = open_spool(load_settings(settings).spool)
    found = [(row["mode"], row["hundredths"], row["why"]) for row in reversed(spool.routings())]
    spool.close()
    return found


def controller(plan: Plan, *looks: Numbers | None, clock: Clock | None = None) -> Controller:
    clock = clock or Clock()
    return Controller(plan, Told(*looks), Routings(plan.relays), clock=clock, sleep=clock.sleep)


class TestController:
    def test_all_the_way(self, plan: Plan) -> None:
        assert controller(plan, GOOD).run(lambda _: None) == "finished"
        assert [each[:2] for each in routings(plan)] == [("parallel", 0), ("canary", 500), ("aws", 0)]
        noted = Journal(plan.journal).lines()
        assert [line["what"] for line in noted][:: len(noted) - 1] == [lines.BEGAN, lines.ENDED]
        looks = [line for line in noted if line["what"] == lines.LOOKED]
        assert all(line["numbers"]["events"] == 500 and line["why"] for line in looks)
        assert status(plan)["state"] == "finished"

    def test_back_at_once_and_not_again_unless_asked(self, plan: Plan) -> None:
        bad = GOOD._replace(twice=("PAY#x",))
        told: list[str] = []
        assert controller(plan, *[GOOD] * 5, bad).run(told.append) == "rolled back"
        assert routings(plan)[-1] == ("parallel", 0, "rolled back: applied twice: 1, such as PAY#x")
        with pytest.raises(CutoverError, match="--again"):
            controller(plan, GOOD).run(told.append)
        assert controller(plan, GOOD).run(told.append, again=True) == "finished"

    def test_a_pause_holds_and_a_resume_goes_on(self, plan: Plan) -> None:
        clock = Clock()
        looks = 0

        class Watching(Told):
            def look(self) -> Numbers | None:
                nonlocal looks
                looks += 1
                if looks == 2:
                    ask(plan, lines.PAUSE, "lunch")
                if looks == 12:
                    assert status(plan)["state"] == "paused"
                    assert [each[0] for each in routings(plan)] == ["parallel"]
                    ask(plan, lines.RESUME, "")
                return GOOD

        running = Controller(plan, Watching(GOOD), Routings(plan.relays), clock=clock, sleep=clock.sleep)
        assert running.run(lambda _: None) == "finished"

    def test_an_abort_needs_no_controller_and_ends_one(self, plan: Plan) -> None:
        clock = Clock()

        class Aborting(Told):
            def look(self) -> Numbers | None:
                if len(routings(plan)) == 2:
                    ask(plan, lines.ABORT, "the bank is on the line")
                return GOOD

        running = Controller(plan, Aborting(GOOD), Routings(plan.relays), clock=clock, sleep=clock.sleep)
        assert running.run(lambda _: None) == "aborted"
        assert routings(plan)[-1] == ("parallel", 0, "aborted: the bank is on the line")

    def test_a_new_one_goes_on_where_the_last_was_killed(self, plan: Plan, tmp_path: Path) -> None:
        """A real process and SIGKILL: steps are not begun anew, and nothing is routed twice."""
        script = tmp_path / "run.py"
        script.write_text(
            "import sys, pickle, time\n"
            "from tests.unit.test_cutover import *\n"
            f"plan = pickle.loads({__import__('pickle').dumps(plan)!r})\n"
            "real = time.sleep\n"
            "clock = Clock()\n"
            "def sleep(seconds):\n    clock.sleep(seconds)\n    real(0.01)\n"
            "Controller(plan, Told(GOOD._replace(events=10)), Routings(plan.relays), clock=clock, sleep=sleep)"
            ".run(lambda line: print(line, flush=True))\n"
        )
        running = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert running.stdout
        for line in running.stdout:
            if line.startswith("5 %"):
                break
        os.kill(running.pid, signal.SIGKILL)
        running.wait(10)
        running.stdout.close()
        # It was killed after the decision was written, and before or after it was acted on.
        assert [each[:2] for each in routings(plan)][:1] == [("parallel", 0)]
        told: list[str] = []
        clock = Clock()
        clock.now = NOW + timedelta(hours=1)
        assert controller(plan, GOOD, clock=clock).run(told.append) == "finished"
        assert told[0].startswith("going on at 5 %")
        assert [each[:2] for each in routings(plan)] == [("parallel", 0), ("canary", 500), ("aws", 0)]

    def test_a_line_that_a_crash_cut_off_is_left_out(self, plan: Plan) -> None:
        controller(plan, GOOD).run(lambda _: None)
        with plan.journal.open("a") as file:
            file.write('{"at": "2026-11-2')
        assert status(plan)["state"] == "finished"

    def test_going_back_is_tried_until_it_is_done(self, plan: Plan) -> None:
        tries = []

        class Stubborn(Routings):
            def set(self, mode: Any, percent: float, who: str, why: str) -> None:
                if why.startswith("rolled back"):
                    tries.append(why)
                    if len(tries) < 4:
                        raise CutoverError("the spool is locked")
                super().set(mode, percent, who, why)

        clock = Clock()
        bad = Told(*[GOOD] * 6, GOOD._replace(lost=("EVT#1",)))
        told: list[str] = []
        running = Controller(plan, bad, Stubborn(plan.relays), clock=clock, sleep=clock.sleep)
        assert running.run(told.append) == "rolled back"
        assert told.count("the spool is locked") == 3
        assert routings(plan)[-1][2].startswith("rolled back")

    def test_a_relay_that_cannot_be_changed_is_named(self, plan: Plan) -> None:
        broken = (RelayOf("http://host-2:8081", command=("false", "{mode}")),)
        with pytest.raises(CutoverError, match="host-2"):
            Routings(broken).set(__import__("payments.routing").routing.Mode.PARALLEL, 0, "me", "why")

    def test_another_host_is_changed_by_a_command(self, tmp_path: Path) -> None:
        from payments.routing import Mode

        file = tmp_path / "told"
        words = ("sh", "-c", f'echo "$@" >> {file}', "sh", "{mode}", "--percent", "{percent}", "--why", "{why}")
        routing = Routings((RelayOf("http://host-2:8081", command=words),))
        routing.set(Mode.CANARY, 5, "me", "a step")
        routing.set(Mode.AWS, 0, "me", "the last")
        assert file.read_text().splitlines() == ["canary --percent 5 --why a step", "aws --why the last"]


class TestPlan:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("every = 5", "is every_s meant"),
            ('relays = "x"', "write [[relays]]"),
            ('[[relays]]\nstatus = "http://x"', "needs either settings or command"),
            (
                '[[relays]]\nstatus = "http://x"\ncommand = ["x"]\n[[steps]]\npercent = 5\n[[steps]]\npercent = 1',
                "rise",
            ),
            ('[[relays]]\nstatus = "http://x"\ncommand = ["x"]\n[gates]\nerorrs = 1', "is gates.errors meant"),
            ('source = "x"\n[[relays]]\nstatus = "http://x"\ncommand = ["x"]', "source and mapping go together"),
            ('every_s = true\n[[relays]]\nstatus = "http://x"\ncommand = ["x"]', "every_s is not a number"),
            ("[[steps]]\npercent = 1", "relays is missing"),
            ("[", "no TOML"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "plan.toml").write_text(content)
        with pytest.raises(PlanError, match=says.replace("[", "\\[")):
            load(tmp_path / "plan.toml")

    def test_only_the_relays_have_to_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "plan.toml").write_text('[[relays]]\nstatus = "http://x"\nsettings = "relay.toml"')
        loaded = load(tmp_path / "plan.toml")
        assert [step.percent for step in loaded.steps] == [0, 1, 5, 25, 50, 100]
        assert loaded.relays[0].settings == tmp_path / "relay.toml"


class TestSeries:
    EXPOSED = """
# TYPE envmig_relay_answers_total counter
envmig_relay_answers_total{provider="stripe",status="200"} 10.0
envmig_relay_answers_total{provider="adyen",status="200"} 5.0
envmig_relay_answers_total{provider="adyen",status="401"} 3.0
# TYPE envmig_relay_delivery_seconds histogram
envmig_relay_delivery_seconds_bucket{target="aws",le="0.1"} 90.0
envmig_relay_delivery_seconds_bucket{target="aws",le="0.2"} 100.0
envmig_relay_delivery_seconds_bucket{target="aws",le="+Inf"} 100.0
"""

    def test_totals_and_percentiles(self) -> None:
        series = Series.read(self.EXPOSED)
        assert series.total("envmig_relay_answers_total", status="200") == 15
        assert percentile(series.buckets("envmig_relay_delivery_seconds", target="aws")) == pytest.approx(0.19)
        assert percentile({}) == 0

    def test_a_relay_that_began_anew_counts_from_nothing(self) -> None:
        before = Series.read(self.EXPOSED.replace("10.0", "400.0"))
        added = Series.read(self.EXPOSED).since(before)
        assert added.total("envmig_relay_answers_total", status="200") == 10
        assert Series.read(self.EXPOSED).since(None).total("envmig_relay_answers_total") == 0


def test_the_journal_is_json_lines_with_times(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.write("x", value=1)
    (line,) = journal.fresh()
    assert journal.fresh() == []
    assert json.loads((tmp_path / "j").read_text()) == line
    assert datetime.fromisoformat(line["at"]).tzinfo
    assert time.time() - datetime.fromisoformat(line["at"]).timestamp() < 60
