"""Thousands of events while AWS fails in every way it can: counted at the end from the table and the queues alone.

Only the layers data and security are deployed: webhook and drain run as processes of the test's own, with their
roles' credentials, behind a proxy that injects the faults. The test is the provider (which sends again until it is
answered 2xx) and SQS's event source mapping (which hands the buffer's messages to the drain).
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

import providers
from adapters.envelope import decode
from adapters.items import partition_key, read_event, read_state
from migration.deployment import Deployment
from migration.samples import life
from migration.signing import Signed, sign
from payments.state import fold
from providers.base import Delivery
from tests.conftest import run_script
from tests.e2e.client import System
from tests.e2e.processes import EndedError, Function, function, url_event
from tests.faulty_proxy import FaultyProxy

STORE = "TransactWriteItems"
EVENTS = 2000
POISONED = 5
WORKERS = 6
TIME_MS = 3300
"""What the function believes it has: little, so that an outage reaches the buffer soon."""


@dataclass
class Posted:
    """One delivery of a provider, as it is on the wire, and the keys of the events in it."""

    provider: str
    signed: Signed
    keys: list[str]


@dataclass
class History:
    """What was sent and what was answered, in order."""

    answers: list[tuple[float, str, int | None]] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    buffered: set[str] = field(default_factory=set)

    def add(self, posted: Posted, answer: dict[str, Any] | None) -> bool:
        status = answer["statusCode"] if answer else None
        self.answers.append((time.monotonic(), posted.provider, status))
        if answer is None or status not in (200, 202):
            return False
        self.acknowledged |= set(posted.keys)
        if status == 202:
            self.buffered |= set(posted.keys)
        return True


@pytest.fixture(scope="module")
def storm(local_home: Any) -> Iterator[System]:
    """An environment without its compute layer."""
    ran = run_script("deploy_all.sh", "local", "data", "security", "--suffix", "storm")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    deployment = Deployment.find("local", "storm")
    secret = deployment.output("security", "api_keys_secret_arn")
    value = deployment.client("invoker", "secretsmanager").get_secret_value(SecretId=secret)
    yield System(deployment, json.loads(value["SecretString"]))
    run_script("destroy_all.sh", "local", "--suffix", "storm")


def deliveries(keys: dict[str, Any], count: int) -> list[Posted]:
    """Deliveries of whole lives at every provider with at least so many events, some of them twice, in any order."""
    now = datetime.now(UTC)
    made: list[Posted] = []
    while sum(len(posted.keys) for posted in made) < count:
        for provider in providers.NAMES:
            for sent in life(provider, now - timedelta(hours=2)).deliveries:
                signed = sign(provider, sent.body, keys[provider], now)
                whole = Signed(signed.body, {**sent.headers, **signed.headers})
                events = providers.load(provider).read(Delivery(whole.headers, whole.body, now))
                ids = [event for event in events if not isinstance(event, Exception)]
                made.append(
                    Posted(
                        provider,
                        whole,
                        [partition_key("EVT", event.provider, event.account, event.id) for event in ids],
                    )
                )
    made += random.sample(made, len(made) // 6)
    random.shuffle(made)
    return made


class Weather:
    """What happens to calls: single faults all the time, and now and then an outage of many calls in a row."""

    def __init__(self, fault: str, often: float, poisoned: set[str]) -> None:
        self._fault = fault
        self._often = often
        self._poisoned = poisoned
        self._calls = 0
        self.over = False

    def __call__(self, operation: str, payload: dict[str, Any]) -> str:
        self._calls += 1
        if operation == STORE:
            puts = [write["Put"]["Item"]["PK"]["S"] for write in payload["TransactItems"] if "Put" in write]
            if self._poisoned.intersection(puts):
                return "validation"
        if self.over:
            return "ok"
        in_outage = self._calls % 700 < 60
        if in_outage and operation == STORE:
            return self._fault if self._fault != "silence" else "internal"
        return self._fault if random.random() < self._often else "ok"


class Pump:
    """Hands the buffer's messages to the drain, as the event source mapping does, and runs SQS's clock ahead."""

    def __init__(self, system: System, drain: Function) -> None:
        self._sqs = system.root("sqs")
        self._url = system.deployment.output("data", "buffer_url")
        self._drain = drain
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._once()
        except Exception as error:  # noqa: BLE001 (told to the test, which waits)
            self.failure = error

    def _once(self) -> None:
        messages = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"], VisibilityTimeout=60
        ).get("Messages", [])
        if not messages:
            time.sleep(0.05)
            return
        records = [
            {"messageId": m["MessageId"], "receiptHandle": m["ReceiptHandle"], "body": m["Body"],
             "attributes": m["Attributes"], "eventSource": "aws:sqs"}
            for m in messages
        ]  # fmt: skip
        try:
            told = self._drain.ask({"Records": records})
        except EndedError:
            told = {"batchItemFailures": [{"itemIdentifier": m["MessageId"]} for m in messages]}
        failed = {failure["itemIdentifier"] for failure in told["batchItemFailures"]}
        for message in messages:
            if message["MessageId"] in failed:
                self._sqs.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )
            else:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def wait_until_empty(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.failure is None, self.failure
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            left = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
            if all(left[name] == "0" for name in names):
                return
            time.sleep(0.2)
        pytest.fail("the buffer was never empty")


def send_all(posted: list[Posted], workers: list[Function], history: History, calm: Callable[[], None]) -> None:
    """Send everything, each until it is acknowledged, by as many senders as there are processes."""
    left = list(posted)
    taking = threading.Lock()

    def sender(worker: Function) -> None:
        while True:
            with taking:
                if not left:
                    return
                one = left.pop()
            try:
                answer = worker.ask(url_event(one.provider, one.signed.body, one.signed.headers))
            except EndedError:
                answer = None
            with taking:
                if not history.add(one, answer):
                    # A provider sends again later, after others.
                    left.insert(random.randrange(len(left) + 1), one)

    with ThreadPoolExecutor(len(workers)) as pool:
        for done in [pool.submit(sender, worker) for worker in workers]:
            done.result(240)
    calm()


@dataclass
class Held:
    """What the table and the dead letters hold."""

    events: dict[str, dict[str, Any]]
    states: dict[str, dict[str, Any]]
    dead: set[str]


def held(system: System) -> Held:
    pages = (
        system.root("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=system.deployment.output("data", "table_name"), ConsistentRead=True)
    )
    items = [item for page in pages for item in page["Items"]]
    dead: set[str] = set()
    sqs, url = system.root("sqs"), system.deployment.output("data", "dead_letters_url")
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            for item in decode(message["Body"]).items():
                assert item.event
                dead.add(partition_key("EVT", item.event.provider, item.event.account, item.event.id))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return Held(
        {item["PK"]["S"]: item for item in items if item["SK"]["S"] == "EVENT"},
        {item["PK"]["S"]: item for item in items if item["SK"]["S"] == "STATE"},
        dead,
    )


def account(posted: list[Posted], history: History, poisoned: set[str], found: Held) -> dict[str, int]:
    """Hold what was acknowledged against what is held; the counts."""
    sent = {key for one in posted for key in one.keys}
    assert history.acknowledged == sent, "a provider sends until it is acknowledged"
    lost = sent - found.events.keys() - found.dead
    of_payment: dict[str, list[dict[str, Any]]] = {}
    for item in found.events.values():
        if "payment_key" in item:
            of_payment.setdefault(item["payment_key"]["S"], []).append(item)
    wrong = [
        key
        for key in of_payment.keys() | found.states.keys()
        if key not in found.states or read_state(found.states[key]) != fold(map(read_event, of_payment.get(key, [])))
    ]
    counts = Counter(status for _, _, status in history.answers)
    told = {
        "sent": len(sent),
        "deliveries": len(history.answers),
        "acknowledged": len(history.acknowledged),
        "stored": len(sent & found.events.keys()),
        "dead letters": len(sent & found.dead - found.events.keys()),
        "recovered from the buffer": len(history.buffered & found.events.keys()),
        "sent again": len(history.answers) - len(posted),
        "refused 503": counts[503],
        "no answer": counts[None],
        "lost": len(lost),
        "payments": len(of_payment),
        "payments in a wrong state": len(wrong),
    }
    assert not lost, sorted(lost)[:10]
    assert not wrong, wrong[:10]
    assert poisoned <= found.dead
    assert told["sent"] == told["stored"] + told["dead letters"]
    return told


def run(
    system: System, weather: Weather, posted: list[Posted], history: History, kill: float = 0.0
) -> dict[str, int]:
    """Send through the storm, let the drain finish in fair weather, and count; gives the faults there were."""
    endpoint = system.deployment.outputs["local"]["endpoint"]
    proxies = [FaultyProxy(endpoint) for _ in range(WORKERS + 1)]
    names = ["webhook"] * WORKERS + ["drain"]
    functions = [
        function(system, name, proxy.endpoint, time_ms=TIME_MS if name == "webhook" else 9000)
        for name, proxy in zip(names, proxies, strict=True)
    ]
    for proxy, process in zip(proxies, functions, strict=True):
        proxy.choose = _killing(weather, process, kill)
        proxy.after = _killing_after(weather, process, kill)
        proxy.__enter__()
    try:
        *workers, drain = functions
        with Pump(system, drain) as pump:
            send_all(posted, workers, history, lambda: setattr(weather, "over", True))
            pump.wait_until_empty()
    finally:
        for proxy, process in zip(proxies, functions, strict=True):
            process.close()
            proxy.__exit__(None, None, None)
    faults: Counter[str] = Counter()
    for proxy in proxies:
        faults.update(proxy.faults)
    return dict(faults)


def _killing(weather: Weather, process: Function, often: float) -> Callable[[str, dict[str, Any]], str]:
    """The weather, and now and then a SIGKILL: before a call reaches AWS, or at any later moment."""

    def choose(operation: str, payload: dict[str, Any]) -> str:
        if not weather.over and random.random() < often:
            if random.random() < 0.5:
                process.kill()
                return "cut"
            threading.Timer(random.uniform(0, 0.01), process.kill).start()
        return weather(operation, payload)

    return choose


def _killing_after(weather: Weather, process: Function, often: float) -> Callable[[str], None]:
    """A SIGKILL when AWS has done what was asked, before the function hears of it."""

    def after(_operation: str) -> None:
        if not weather.over and random.random() < often:
            process.kill()

    return after


@pytest.mark.parametrize(
    ("fault", "often", "kill"),
    [
        ("throttle", 0.15, 0),
        ("internal", 0.15, 0),
        ("conflict", 0.15, 0),
        ("lost", 0.15, 0),
        ("half", 0.15, 0),
        ("cut", 0.15, 0),
        ("silence", 0.006, 0),
        ("ok", 0, 0.02),
    ],
    ids=[
        "throttle",
        "error-500",
        "conflict",
        "reply-lost",
        "reply-cut-half-way",
        "connection-cut",
        "time-out",
        "sigkill",
    ],
)
def test_nothing_is_lost_or_applied_twice(
    storm: System, capsys: pytest.CaptureFixture[str], fault: str, often: float, kill: float
) -> None:
    posted = deliveries(storm.keys, EVENTS)
    single = [one.keys[0] for one in posted if len(one.keys) == 1]
    poisoned = set(random.sample(single, POISONED))
    history = History()
    faults = run(storm, Weather(fault, often, poisoned), posted, history, kill)
    counts = account(posted, history, poisoned, held(storm))
    with capsys.disabled():
        print(
            f"\n  {fault}{' and SIGKILL' if kill else ''}: " + ", ".join(f"{n} {name}" for name, n in counts.items())
        )
        print(f"    calls to AWS by what befell them: {faults}")
    assert counts["sent"] >= EVENTS
    assert counts["recovered from the buffer"] or kill
    assert counts["no answer"] > 50 or not kill
