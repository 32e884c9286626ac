"""The relay's parts by themselves: settings, the seal, the spool's file, the breaker and the order of deliveries."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration.relay.breaker import Breaker
from migration.relay.delivery import Delivery
from migration.relay.errors import SettingsError, SpoolError, SpoolFullError
from migration.relay.intake import targets
from migration.relay.seal import Seal, new_key
from migration.relay.settings import load
from migration.relay.spool import AWS, LEGACY, Change, Kept, Received, Spool, State
from migration.relay.targets import Fate, Said
from payments.routing import Mode, Routing
from providers.base import Signature

SETTINGS = """
name = "host-1"
environment = "prod"
salt = "2026"
[spool]
file = "spool.db"
key_file = "/etc/envmig/spool.key"
[keys]
secret = "envmig-apikeys-prod"
[legacy]
url = "http://legacy.internal/webhooks"
[aws]
function = "envmig-webhook-prod"
"""
ROUTING = Routing(Mode.PARALLEL, 0, "s", 1)


class TestSettings:
    def load(self, folder: Path, text: str) -> object:
        (folder / "relay.toml").write_text(text)
        return load(folder / "relay.toml")

    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "relay.toml").write_text(SETTINGS)
        settings = load(tmp_path / "relay.toml")
        assert settings.spool.file == tmp_path / "spool.db"
        assert settings.spool.key_file == Path("/etc/envmig/spool.key")
        assert (settings.listen.port, settings.legacy.mirror, settings.spool.acknowledge) == (8080, True, "spool")

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ('name = "host-1"', 'nmae = "host-1"', "there is no setting nmae; is name meant?"),
            ('url = "http', 'urll = "http', "there is no setting legacy.urll; is legacy.url meant?"),
            ('name = "host-1"\n', "", "the setting name is missing"),
            ('salt = "2026"', "salt = 2026", "salt is not a text: 2026"),
            ('salt = "2026"', 'salt = "a;b"', "salt 'a;b' is not of 1 to 64 letters"),
            ("[spool]", '[spool]\nacknowledge = "disk"', "spool.acknowledge 'disk' is neither"),
            ("[spool]", "[spool]\nkept_days = true", "spool.kept_days is not a number: True"),
            ("[spool]", "[spool]\nmost_bytes = 0", "spool.most_bytes is not greater than 0"),
            ("[keys]", '[keys]\nfile = "keys.json"', "keys needs either secret or file"),
            ('function = "envmig-webhook-prod"', "", "aws needs function, or url"),
            ("http://legacy.internal/webhooks", "legacy.internal", "legacy.url 'legacy.internal' is no http"),
            ("[aws]", "aws = 1\n[awss]", "there is no setting"),
            ("[keys]", "[keys", "is no TOML"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_name(self, tmp_path: Path, before: str, after: str, message: str) -> None:
        assert before in SETTINGS
        with pytest.raises(SettingsError) as refusal:
            self.load(tmp_path, SETTINGS.replace(before, after))
        assert message in str(refusal.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="cannot be read"):
            load(tmp_path / "none.toml")


class TestSeal:
    def test_what_is_sealed_opens_with_an_old_key_among_new_ones(self) -> None:
        old, new = b"o" * 32, b"n" * 32
        sealed = Seal({1: old}).close(b"content", b"place")
        assert b"content" not in sealed
        assert Seal({2: new, 1: old}).open(sealed, b"place") == b"content"
        assert Seal({2: new, 1: old}).close(b"", b"")[0] == 2

    @pytest.mark.parametrize("change", ["byte", "place", "key", "id"])
    def test_what_was_changed_does_not_open(self, change: str) -> None:
        sealed = bytearray(Seal({1: b"k" * 32}).close(b"content", b"place"))
        if change == "byte":
            sealed[-1] ^= 1
        seal = {"key": Seal({1: b"x" * 32}), "id": Seal({2: b"k" * 32})}.get(change, Seal({1: b"k" * 32}))
        with pytest.raises(SpoolError):
            seal.open(bytes(sealed), b"elsewhere" if change == "place" else b"place")

    def test_a_key_file_is_made_once_and_for_its_owner(self, tmp_path: Path) -> None:
        file = tmp_path / "spool.key"
        new_key(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        sealed = Seal.load(file).close(b"content", b"")
        assert Seal.load(file).open(sealed, b"") == b"content"
        with pytest.raises(SettingsError, match="is there already"):
            new_key(file)

    @pytest.mark.parametrize("content", ["", "1:short", "x:AAAA", "300:" + "A" * 43 + "="])
    def test_a_key_file_that_is_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "key").write_text(content)
        with pytest.raises(SettingsError):
            Seal.load(tmp_path / "key")


SIGNED = Signature("scheme", "key")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db", Seal({1: b"k" * 32}))
    yield opened
    opened.close()


def received(number: int, payments: tuple[str, ...] = ("p",), at_ms: int | None = None) -> Received:
    at = number if at_ms is None else at_ms
    return Received("stripe", at, f"t{number}", ROUTING, "legacy", payments, (f"EVT#{number}",), SIGNED, {"a": "b"},
                    b"body %d" % number, (LEGACY, AWS))  # fmt: skip


class TestSpool:
    def test_what_is_kept_comes_back_as_it_was(self, spool: Spool) -> None:
        request = spool.keep(received(1)).result()
        (kept,) = spool.pending(AWS, 0, 10)
        assert kept == Kept(
            request, "stripe", 1, "t1", str(ROUTING), "legacy", ("p",), SIGNED, {"a": "b"}, b"body 1", 0, 0
        )

    def test_nothing_of_a_body_can_be_read_in_the_file(self, spool: Spool, tmp_path: Path) -> None:
        spool.keep(received(1)._replace(body=b"4111 secret content")).result()
        held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"EVT#1" in held
        assert b"secret content" not in held

    def test_each_target_has_its_own_progress(self, spool: Spool) -> None:
        first, second = (spool.keep(received(number)).result() for number in (1, 2))
        spool.change(Change(first, LEGACY, State.DELIVERED, 1, 5, "200")).result()
        spool.change(Change(second, AWS, State.PARKED, 3, 5, "422 no")).result()
        assert [kept.id for kept in spool.pending(LEGACY, 0, 10)] == [second]
        assert [kept.id for kept in spool.pending(AWS, 0, 10)] == [first]
        assert spool.parked(AWS, 10) == [(second, "stripe", "t2", "422 no")]
        assert spool.counts(LEGACY) == (1, 2, 0)
        assert spool.retry(AWS, second).result()
        assert not spool.retry(AWS, second).result()
        assert spool.take_asked().result() == [(AWS, second)]
        assert spool.take_asked().result() == []

    def test_a_wrong_row_costs_its_neighbours_nothing_but_a_try(self, spool: Spool) -> None:
        """What cannot be written fails for all of its transaction: nobody is told of what is not on the disk."""
        with pytest.raises(SpoolError):
            spool.keep(received(1)._replace(trace=None)).result()  # type: ignore[arg-type]
        spool.keep(received(2)).result()
        assert len(spool.pending(LEGACY, 0, 10)) == 1

    def test_a_locked_file_acknowledges_nothing(self, tmp_path: Path) -> None:
        opened = Spool(tmp_path / "s.db", Seal({1: b"k" * 32}))
        opened._submit("keep", ()).exception()
        opened._writes.execute("PRAGMA busy_timeout = 50")
        with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SpoolError, match="locked"):
                opened.keep(received(1)).result()
            other.execute("ROLLBACK")
        other.close()
        assert opened.keep(received(1)).result() == 1
        opened.close()

    def test_a_full_spool_says_so(self, tmp_path: Path) -> None:
        opened = Spool(tmp_path / "s.db", Seal({1: b"k" * 32}), most_bytes=1)
        with pytest.raises(SpoolFullError, match="limit of 1 bytes"):
            opened.keep(received(1)).result()
        opened.close()

    def test_only_what_all_targets_have_is_pruned(self, spool: Spool) -> None:
        ids = [spool.keep(received(number)).result() for number in range(1, 7)]
        for request in ids[:4]:
            spool.change(Change(request, LEGACY, State.DELIVERED, 1, 0, "")).result()
        for request in ids[1:]:
            spool.change(Change(request, AWS, State.DELIVERED, 1, 0, "")).result()
        assert spool.prune(before_ms=4).result() == 2
        assert [kept.id for kept in spool.pending(AWS, 0, 10)] == ids[:1]
        assert [kept.id for kept in spool.pending(LEGACY, 0, 10)] == ids[4:]
        assert spool.one(ids[1], AWS) is None
        assert spool.one(ids[3], AWS)

    def test_a_windows_events_are_found_without_reading_the_rest(self, spool: Spool) -> None:
        for number in range(200):
            spool.keep(received(number, at_ms=number * 10_000)).result()
        spool.change(Change(1, AWS, State.DELIVERED, 1, 0, "")).result()
        events, pending = spool.acknowledged(1_000_000, 1_050_000, AWS)
        assert events == [f"EVT#{number}" for number in range(100, 105)]
        assert pending == 5
        assert spool.acknowledged(0, 10_000, AWS) == (["EVT#0"], 0)

    def test_routings_count_their_epochs_and_stay(self, tmp_path: Path) -> None:
        opened = Spool(tmp_path / "s.db", Seal({1: b"k" * 32}))
        assert opened.routing() is None
        opened.route(Mode.LEGACY, 0, "s", "ann", "new").result()
        assert opened.route(Mode.CANARY, 500, "s", "bob", "first step").result() == (Mode.CANARY, 500, "s", 2)
        opened.close()
        again = Spool(tmp_path / "s.db", Seal({1: b"k" * 32}))
        assert again.routing() == Routing(Mode.CANARY, 500, "s", 2)
        assert [(row["who"], row["why"]) for row in again.routings()] == [("bob", "first step"), ("ann", "new")]
        again.close()


class TestBreaker:
    def test_it_opens_after_failures_in_a_row_and_lets_one_try(self) -> None:
        breaker = Breaker()
        for _ in range(4):
            breaker.failed(0)
        breaker.succeeded()
        for _ in range(5):
            assert breaker.wait(0) == 0
            breaker.failed(0)
        assert breaker.state == "open"
        assert 0 < (breaker.wait(0) or 0) <= 1
        assert breaker.wait(1) == 0
        breaker.begin()
        assert breaker.state == "half-open"
        assert breaker.wait(1) is None
        breaker.failed(1)
        assert 0 < (breaker.wait(1) or 0) <= 2
        breaker.begin()
        breaker.succeeded()
        assert (breaker.state, breaker.wait(1)) == ("closed", 0)


class ScriptedTarget:
    """A target that says what a script says, and remembers what it was sent."""

    name = LEGACY

    def __init__(self, says: dict[bytes, list[Fate]]) -> None:
        self.sent: list[bytes] = []
        self.at_once = 0
        self.most_at_once = 0
        self._says = says

    async def send(self, kept: Kept) -> Said:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.sent.append(kept.body)
        left = self._says.get(kept.body, [])
        fate = left.pop(0) if left else Fate.DELIVERED
        return Said(fate, 200 if fate is Fate.DELIVERED else 503, "")

    async def close(self) -> None:
        pass


class Nobody:
    def tried(self, target: str, kept: Kept, said: Said, took_s: float) -> None:
        pass


async def delivered(spool: Spool, target: ScriptedTarget, *, in_order: bool, at_once: int = 4) -> Delivery:
    """Deliver until nothing is pending."""
    delivery = Delivery(spool, spool, target, Nobody(), at_once=at_once, longest_wait_s=0.01, in_order=in_order)
    running = asyncio.create_task(delivery.run())
    async with asyncio.timeout(20):
        while spool.counts(LEGACY).pending:  # noqa: ASYNC110 (what is looked at is a file)
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return delivery


class TestDelivery:
    def test_one_payments_requests_wait_for_each_other_and_others_do_not(self, spool: Spool) -> None:
        for number in range(12):
            spool.keep(received(number, payments=(f"p{number % 3}",))).result()
        # The first of p0 is refused twice: its followers wait, those of the other payments go past it.
        target = ScriptedTarget({b"body 0": [Fate.RETRY, Fate.RETRY]})
        asyncio.run(delivered(spool, target, in_order=True))
        done = [body for place, body in enumerate(target.sent) if body not in target.sent[place + 1 :]]
        for payment in range(3):
            mine = [int(body.split()[1]) for body in done if int(body.split()[1]) % 3 == payment]
            assert mine == sorted(mine)
        assert target.sent.index(b"body 1") < len(target.sent) - 1 - target.sent[::-1].index(b"body 0")

    def test_a_batch_waits_for_all_of_its_payments_and_holds_them(self, spool: Spool) -> None:
        for number, payments in enumerate([("a",), ("b",), ("a", "b"), ("b",), ("c",)]):
            spool.keep(received(number, payments=payments)).result()
        target = ScriptedTarget({b"body 1": [Fate.RETRY] * 3})
        asyncio.run(delivered(spool, target, in_order=True))
        last = {body: place for place, body in enumerate(target.sent)}
        assert last[b"body 0"] < last[b"body 2"]
        assert last[b"body 1"] < last[b"body 2"] < last[b"body 3"]

    def test_what_is_parked_lets_its_followers_go(self, spool: Spool) -> None:
        for number in range(3):
            spool.keep(received(number)).result()
        asyncio.run(delivered(spool, ScriptedTarget({b"body 0": [Fate.PARK]}), in_order=True))
        assert spool.counts(LEGACY).parked == 1

    def test_no_more_at_once_than_it_may(self, spool: Spool) -> None:
        for number in range(60):
            spool.keep(received(number, payments=(str(number),))).result()
        target = ScriptedTarget({})
        asyncio.run(delivered(spool, target, in_order=False, at_once=3))
        assert target.most_at_once <= 3
        assert len(target.sent) == 60


@pytest.mark.parametrize(
    ("mode", "mirror", "where"),
    [
        (Mode.LEGACY, True, (LEGACY,)), (Mode.PARALLEL, True, (LEGACY, AWS)), (Mode.CANARY, False, (LEGACY, AWS)),
        (Mode.AWS, True, (LEGACY, AWS)), (Mode.AWS, False, (AWS,)),
    ],
)  # fmt: skip
def test_a_mode_says_where_to(*, mode: Mode, mirror: bool, where: tuple[str, ...]) -> None:
    assert targets(mode, mirror=mirror) == where
