"""Whatever happens, in whatever order: what has to hold of a migration at every moment, and at rest.

Each history is a run of real parts (the relay's intake, spool and deliveries, the table's transactions, repair) on a
clock and a network of the test's. Hundreds run with the other tests; 10,000 by

    scripts/histories.sh            # or with a seed that failed: scripts/histories.sh --hypothesis-seed=N
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from adapters.items import partition_key, payment_key
from migration.reconcile.repair import Repair
from migration.reconcile.run import confirm
from migration.relay.spool import AWS, LEGACY
from migration.signing import Signed, new_settings, sign
from payments.routing import Mode, Owner, parse_routing
from payments.state import fold
from tests.simulation import Drains, Looks, Marks, Rebuilds, World

HISTORIES = int(os.environ.get("ENVMIG_HISTORIES", "150"))
KEYS = {"standard": new_settings("standard")}
TYPES = ["payment.authorised", "payment.captured", "refund.succeeded", "payment.settled", "dispute.opened"]
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if "ENVMIG_SHRINK" in os.environ else [])]
"""Shrinking a failing history takes minutes: only when it is asked for."""
FATES = ["busy", "unreachable", "reply lost", "slow"]


class Migration(RuleBasedStateMachine):
    """One history, beside what is known to have been acknowledged and on what terms."""

    sent = Bundle("sent")

    @initialize(mode=st.sampled_from(Mode))
    def begin(self, mode: Mode) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="history-", dir=_fast()))
        self.world = World(self.folder, KEYS)
        self.acknowledged: dict[str, str] = {}
        """The payment of each acknowledged event."""
        self.versions: dict[str, str] = {}
        self.owned_at: dict[str, int] = {}
        """By payment, the least share at which it was AWS's in a canary."""
        self.numbers = 0
        self.the_mode_changes(mode, 25)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # What happens.

    @rule(
        target=sent,
        several=st.lists(
            st.tuples(st.integers(0, 11), st.sampled_from(TYPES), st.integers(0, 60)), min_size=1, max_size=6
        ),
    )
    def webhooks(self, several: list[tuple[int, str, int]]) -> Any:
        return multiple(*(self._webhook(*each) for each in several))

    def _webhook(self, payment: int, kind: str, ago_s: int) -> Signed:
        self.numbers += 1
        at = datetime.fromtimestamp(self.world.clock.wall_ms() / 1000, UTC)
        body = json.dumps(
            {
                "type": kind,
                "timestamp": (at - timedelta(seconds=ago_s)).isoformat(),
                "data": {"payment": f"p{payment}", "currency": "EUR", "movement": f"m{self.numbers % 7}",
                         "amount": self.numbers % 7 + 1, "n": self.numbers},
            }
        ).encode()  # fmt: skip
        signed = sign("standard", body, KEYS["standard"], at)
        self._send(signed)
        return signed

    @rule(signed=sent)
    def the_same_again(self, signed: Signed) -> None:
        at = datetime.fromtimestamp(self.world.clock.wall_ms() / 1000, UTC)
        self._send(sign("standard", signed.body, KEYS["standard"], at))

    def _send(self, signed: Signed) -> None:
        if self.world.webhook("standard", signed.body, dict(signed.headers)):
            key = partition_key("EVT", "standard", "-", signed.headers["webhook-id"])
            payment = json.loads(signed.body)["data"]["payment"]
            self.acknowledged[key] = payment_key("standard", "-", payment)

    @rule(mode=st.sampled_from(Mode), percent=st.sampled_from([1, 5, 25, 50, 75, 90]))
    def the_mode_changes(self, mode: Mode, percent: int) -> None:
        self.world.route(mode, percent * 100 if mode is Mode.CANARY else 0)

    @rule(name=st.sampled_from([LEGACY, AWS]), fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=8))
    def requests_fail(self, name: str, fates: list[str]) -> None:
        self.world.networks[name].fates += fates

    @rule(name=st.sampled_from([LEGACY, AWS]), down=st.booleans())
    def a_system_goes_down_or_comes_back(self, name: str, *, down: bool) -> None:
        self.world.networks[name].down = down

    @rule(full=st.booleans())
    def the_disk_fills(self, *, full: bool) -> None:
        self.world.spool_full = full

    @rule(seconds=st.floats(0.001, 20))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def the_relay_is_killed(self) -> None:
        self.world.kill()
        self.world.boot()

    @rule()
    def faults_end(self) -> None:
        """Then the spool drains, and what both were sent both have."""
        self._quieten()
        assert self.world.waiting() == 0
        legacy, aws = self.world.legacy, self.world.aws
        assert set(self.acknowledged) == set(legacy.taken)
        for key, item in aws.events().items():
            assert self.world.aws.memory.applied[key] == 1
            assert item["PK"]["S"] in self.acknowledged
        for key, state in aws.states().items():
            assert state == fold(aws.history(key)), "the state depends on the order"

    def _quieten(self) -> None:
        self.world.spool_full = False
        for network in self.world.networks.values():
            network.down = False
        for _ in range(60):
            if not self.world.waiting():
                return
            self.world.pass_time(10)

    @precondition(lambda self: self.acknowledged)
    @rule(data=st.data())
    def damage_is_found_and_mended(self, data: st.DataObject) -> None:
        """Exactly what was damaged is reported, repair brings both together, and a second one has nothing to do."""
        self._quieten()
        looks, world = Looks(self.world), self.world
        # What was delivered to legacy alone before everything went to both is no damage.
        before = {each.subject for each in looks.differing(looks.subjects())}
        events = sorted(set(world.aws.events()) & set(world.legacy.taken))
        damaged = data.draw(st.lists(st.sampled_from(events), max_size=3, unique=True) if events else st.just([]))
        touched = set()
        for key in damaged:
            of = world.legacy.taken[key][0]
            if any(each.key == tuple(of.split("#")[1:]) for each in before):
                continue
            touched.add(of)
            what = data.draw(st.sampled_from(["lost on AWS", "lost in legacy", "state wrong"]))
            if what == "lost on AWS":
                world.aws.memory.items.pop((key, "EVENT"), None)
                world.aws.memory.items.pop((of, "STATE"), None)
                world.aws.memory.applied.pop(key, None)
            elif what == "lost in legacy":
                del world.legacy.taken[key]
                world.legacy.order[of].remove(key)
            elif (of, "STATE") in world.aws.memory.items:
                world.aws.memory.items[of, "STATE"]["event_count"] = {"N": "99"}
                world.aws.memory.items[of, "STATE"]["status"] = {"S": "failed"}
                world.aws.memory.items[of, "STATE"]["version"] = {"S": "0"}
        expected = {each.subject: each for each in looks.differing(looks.subjects())}
        confirmed, unsettled = confirm(looks, Marks(), looks.subjects(), 60)
        assert unsettled == []
        assert {each.subject for each in confirmed} == set(expected)
        new = [each for each in confirmed if each.subject not in before]
        assert {_payment(each, world) for each in new} <= touched
        spool = [world.spool]
        repair = Repair(Drains(world.aws), Rebuilds(world.aws), looks, spool, log=self.folder / "log", who="t")
        for _ in range(3):
            list(repair.apply(repair.plan(new)))
            # What was handed to the relay is delivered by it.
            for target, request in world.spool.take_asked().result():
                kept = world.spool.one(request, target)
                assert kept
                world.deliveries[target].again(kept)
            self._quieten()
            new = [each for each in looks.differing(looks.subjects()) if each.subject not in before]
        assert new == []
        assert [step for step in repair.plan([]) if step] == []

    # What has to hold at every moment.

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        if hasattr(self, "world"):
            somewhere = self.world.spooled() | set(self.world.legacy.taken) | set(self.world.aws.events())
            assert set(self.acknowledged) <= somewhere

    @invariant()
    def nothing_is_applied_twice(self) -> None:
        if hasattr(self, "world"):
            for key, state in self.world.aws.states().items():
                assert state.event_count == len(self.world.aws.history(key))

    @invariant()
    def no_state_moves_backwards(self) -> None:
        if hasattr(self, "world"):
            for key, state in self.world.aws.states().items():
                now = state.version or ""
                assert now.encode() >= self.versions.get(key, "").encode()
                self.versions[key] = now

    @invariant()
    def an_event_has_one_owner_and_a_canary_never_takes_a_payment_back(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.spool.reading() as connection:
            rows = connection.execute("SELECT routing, owner, events, payments FROM requests").fetchall()
        owners: dict[tuple[str, str], str] = {}
        for routing_, owner, events, payments in rows:
            routing = parse_routing(routing_)
            payment = payments.rpartition("#")[2]
            assert owner == routing.owner(payment)
            # The same event received under another routing may have another owner; under one it has one.
            assert owners.setdefault((events, routing_), owner) == owner
            if routing.mode is Mode.CANARY:
                if owner == Owner.AWS:
                    least = self.owned_at.get(payment, routing.hundredths)
                    self.owned_at[payment] = min(least, routing.hundredths)
                else:
                    assert routing.hundredths < self.owned_at.get(payment, 10_001)


def _payment(difference: Any, world: World) -> str:
    """The payment that a difference is about."""
    subject = difference.subject
    if subject.kind == "payment":
        return payment_key(*subject.key)
    key = partition_key("EVT", *subject.key)
    if key in world.legacy.taken:
        return world.legacy.taken[key][0]
    return str(world.aws.events()[key]["payment_key"]["S"])


def _fast() -> str | None:
    """A folder in memory, where there is one: thousands of histories need no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def test_every_history() -> None:
    run_state_machine_as_test(
        Migration,
        settings=settings(
            max_examples=HISTORIES, stateful_step_count=40, deadline=None,
            suppress_health_check=list(HealthCheck), print_blob=True, phases=PHASES,
        ),
    )  # fmt: skip
