"""When the table does not take an event: the buffer, the drain, the dead letters, and their replay."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import providers
from adapters.envelope import decode, encode
from adapters.items import partition_key
from migration.dead_letters import DeadLetters
from migration.samples import sample
from migration.signing import sign
from providers.base import Signature
from providers.verified import VerifiedDelivery
from tests.e2e.client import System, cli, wait_for
from tests.e2e.processes import Function, function, url_event
from tests.faulty_proxy import FaultyProxy
from tests.provider_events import stripe_payment_life

STORE = "TransactWriteItems"


@pytest.fixture
def proxy(system: System) -> Iterator[FaultyProxy]:
    with FaultyProxy(system.deployment.outputs["local"]["endpoint"]) as running:
        yield running


@pytest.fixture
def queue(system: System) -> Iterator[str]:
    """A queue in the buffer's place that no drain empties."""
    client = system.root("sqs")
    url = client.create_queue(QueueName=f"envmig-test-{secrets.token_hex(4)}")["QueueUrl"]
    yield url
    client.delete_queue(QueueUrl=url)


def messages(system: System, url: str) -> list[dict[str, Any]]:
    received = system.root("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"],
        VisibilityTimeout=0,
    )  # fmt: skip
    found: list[dict[str, Any]] = received.get("Messages", [])
    return found


def refusing(*operations: str, fault: str = "internal") -> Callable[[str, dict[str, Any]], str]:
    return lambda operation, _: fault if operation in operations else "ok"


def root_webhook(system: System, proxy: FaultyProxy, **variables: str) -> Function:
    """The webhook as root: its role may send to the buffer alone, and the tests' queue is another."""
    return function(
        system, "webhook", proxy.endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", time_ms=4000,
        **variables,
    )  # fmt: skip


def ask(webhook: Function, system: System, provider: str = "stripe") -> tuple[dict[str, Any], bytes]:
    now = datetime.now(UTC)
    sent = sample(provider, now)
    signed = sign(provider, sent.body, system.keys[provider], now)
    return webhook.ask(url_event(provider, signed.body, {**sent.headers, **signed.headers})), signed.body


class TestWebhook:
    @pytest.mark.parametrize("fault", ["internal", "throttle", "denied", "conflict", "validation", "cut"])
    def test_what_the_table_refuses_goes_to_the_buffer(
        self, system: System, proxy: FaultyProxy, queue: str, fault: str
    ) -> None:
        proxy.choose = refusing(STORE, fault=fault)
        with root_webhook(system, proxy, BUFFER_URL=queue) as webhook:
            answer, body = ask(webhook, system)
        assert answer["statusCode"] == 202
        assert json.loads(answer["body"])["outcome"] == "buffered"
        envelope = decode(messages(system, queue)[0]["Body"])
        assert envelope.body == body
        assert envelope.signatures == ("stripe-v1", "local")
        assert "stripe-signature" in envelope.headers

    @pytest.mark.parametrize("provider", providers.NAMES)
    def test_each_providers_delivery_can_be_read_from_the_buffer_without_its_keys(
        self, system: System, proxy: FaultyProxy, queue: str, provider: str
    ) -> None:
        proxy.choose = refusing(STORE, fault="denied")
        with root_webhook(system, proxy, BUFFER_URL=queue) as webhook:
            assert ask(webhook, system, provider)[0]["statusCode"] == 202
        items = decode(messages(system, queue)[0]["Body"]).items()
        assert all(item.event for item in items)

    def test_when_both_fail_nothing_is_acknowledged(self, system: System, proxy: FaultyProxy) -> None:
        proxy.choose = refusing(STORE, "SendMessage")
        with function(system, "webhook", proxy.endpoint, time_ms=3500) as webhook:
            answer, _ = ask(webhook, system)
        assert answer["statusCode"] == 503
        assert answer["headers"]["retry-after"]

    def test_in_buffered_mode_the_table_is_not_asked(self, system: System, proxy: FaultyProxy, queue: str) -> None:
        with root_webhook(system, proxy, BUFFER_URL=queue, INGEST_MODE="buffered") as webhook:
            answer, _ = ask(webhook, system)
        assert answer["statusCode"] == 202
        assert proxy.calls == ["GetSecretValue", "SendMessage"]

    def test_in_buffered_mode_the_table_is_the_last_resort(self, system: System, proxy: FaultyProxy) -> None:
        proxy.choose = refusing("SendMessage")
        with function(system, "webhook", proxy.endpoint, INGEST_MODE="buffered", time_ms=6000) as webhook:
            answer, _ = ask(webhook, system)
        assert (answer["statusCode"], json.loads(answer["body"])["outcome"]) == (200, "stored")

    def test_a_forged_delivery_never_gets_into_the_buffer(
        self, system: System, proxy: FaultyProxy, queue: str
    ) -> None:
        body = stripe_payment_life(secrets.token_hex(8))[0]
        with root_webhook(system, proxy, BUFFER_URL=queue, INGEST_MODE="buffered") as webhook:
            answer = webhook.ask(url_event("stripe", body, {"stripe-signature": "t=1,v1=00"}))
        assert answer["statusCode"] == 401
        assert messages(system, queue) == []


def envelope(body: bytes = b"", **change: Any) -> str:
    now = datetime.now(UTC)
    made = VerifiedDelivery(
        "stripe", {}, body or stripe_payment_life(secrets.token_hex(8))[0], now, None, "trace", now,
        Signature("stripe-v1", "retired"),
    )  # fmt: skip
    return encode(made._replace(**change))


def record(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A received message as Lambda hands it to the function."""
    attributes = {"ApproximateReceiveCount": "1", **message.get("Attributes", {})}
    return {
        "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
        "attributes": attributes, "eventSource": "aws:sqs", **more,
    }  # fmt: skip


def received(system: System, url: str, *bodies: str) -> list[dict[str, Any]]:
    client = system.root("sqs")
    for body in bodies:
        client.send_message(QueueUrl=url, MessageBody=body)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(20):
        got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60,
                                     MessageSystemAttributeNames=["All"]).get("Messages", [])  # fmt: skip
        found |= {message["MessageId"]: message for message in got}
        if len(found) == len(bodies):
            break
    order = {body: place for place, body in enumerate(bodies)}
    return sorted((record(message) for message in found.values()), key=lambda each: order[each["body"]])


class TestDrain:
    def drain(self, system: System, proxy: FaultyProxy, queue: str) -> Function:
        return function(
            system, "drain", proxy.endpoint, BUFFER_URL=queue, DEAD_LETTERS_URL=queue, time_ms=12_000,
            AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
        )  # fmt: skip

    def test_it_stores_without_the_keys_of_today(self, system: System, proxy: FaultyProxy, queue: str) -> None:
        records = received(system, queue, envelope())
        with self.drain(system, proxy, queue) as drain:
            assert drain.ask({"Records": records}) == {"batchItemFailures": []}
            assert drain.ask({"Records": records}) == {"batchItemFailures": []}
        event = json.loads(decode(records[0]["body"]).body)
        kept = system.items(partition_key("EVT", "stripe", "-", event["id"]))["EVENT"]
        assert kept["verification"]["M"]["key_id"] == {"S": "retired"}
        assert "GetSecretValue" not in proxy.calls

    def test_a_passing_fault_hides_the_message_for_longer_and_longer(
        self, system: System, proxy: FaultyProxy, queue: str
    ) -> None:
        (first,) = received(system, queue, envelope())
        proxy.choose = refusing(STORE, fault="denied")
        hidden = []
        with self.drain(system, proxy, queue) as drain:
            for receives in (1, 2, 3, 5, 20):
                first["attributes"]["ApproximateReceiveCount"] = str(receives)
                told = drain.ask({"Records": [first]})
                assert told == {"batchItemFailures": [{"itemIdentifier": first["messageId"]}]}
                hidden.append(proxy.bodies[-1]["VisibilityTimeout"])
        assert [5 <= hidden[0] <= 10, 10 <= hidden[1] <= 20, 20 <= hidden[2] <= 40, 80 <= hidden[3] <= 160] == [
            True
        ] * 4
        assert 450 <= hidden[4] <= 900

    def test_one_bad_message_does_not_hold_up_the_others(
        self, system: System, proxy: FaultyProxy, queue: str
    ) -> None:
        good, other = envelope(), envelope()
        records = received(system, queue, good, "junk", envelope(b"{}"), envelope(provider="nobody"), other)
        with self.drain(system, proxy, queue) as drain:
            assert drain.ask({"Records": records}) == {"batchItemFailures": []}
        reasons = {message["MessageAttributes"]["reason"]["StringValue"] for message in messages(system, queue)}
        assert len(reasons) == 3
        for message in (good, other):
            event = json.loads(decode(message).body)
            assert system.items(partition_key("EVT", "stripe", "-", event["id"]))

    def test_what_the_table_will_never_take_is_a_dead_letter_at_once(
        self, system: System, proxy: FaultyProxy, queue: str
    ) -> None:
        records = received(system, queue, envelope())
        proxy.choose = refusing(STORE, fault="validation")
        with self.drain(system, proxy, queue) as drain:
            assert drain.ask({"Records": records}) == {"batchItemFailures": []}
        assert "ValidationException" in messages(system, queue)[0]["MessageAttributes"]["reason"]["StringValue"]

    def test_when_the_dead_letters_refuse_the_message_stays_in_the_buffer(
        self, system: System, proxy: FaultyProxy, queue: str
    ) -> None:
        records = received(system, queue, "junk")
        proxy.choose = refusing("SendMessage", fault="denied")
        with self.drain(system, proxy, queue) as drain:
            assert drain.ask({"Records": records})["batchItemFailures"]

    def test_what_a_batch_was_refused_for_is_not_stored_from_the_buffer(
        self, system: System, proxy: FaultyProxy, queue: str
    ) -> None:
        now = datetime.now(UTC)
        signed = sign("adyen", sample("adyen", now).body, system.keys["adyen"], now)
        delivery = VerifiedDelivery(
            "adyen", {}, signed.body, now, None, "", now, [Signature("adyen-hmac", "k"), None]
        )
        records = received(system, queue, encode(delivery))
        with self.drain(system, proxy, queue) as drain:
            assert drain.ask({"Records": records}) == {"batchItemFailures": []}
        first, second = (
            entry["NotificationRequestItem"]["pspReference"] for entry in json.loads(signed.body)["notificationItems"]
        )
        assert system.items(partition_key("EVT", "adyen", "ExampleMerchant", f"CAPTURE:{first}:true"))
        assert not system.items(partition_key("EVT", "adyen", "ExampleMerchant", f"CAPTURE:{second}:true"))


class TestDeployed:
    """The whole way in the deployed system: buffer, event source mapping, drain, dead letters, replay."""

    def send(self, system: System, queue: str, body: str) -> None:
        system.root("sqs").send_message(QueueUrl=system.deployment.output("data", queue), MessageBody=body)

    def test_only_the_webhook_puts_into_the_buffer(self, system: System) -> None:
        """What is in it counts as verified, so that not even root may put something there."""
        with pytest.raises(Exception, match="AccessDenied"):
            self.send(system, "buffer_url", envelope())

    def test_an_event_that_was_buffered_gets_into_the_table(self, system: System, proxy: FaultyProxy) -> None:
        proxy.choose = refusing(STORE, fault="denied")
        with function(system, "webhook", proxy.endpoint) as webhook:
            answer, body = ask(webhook, system)
        assert answer["statusCode"] == 202
        event = json.loads(body)
        found = wait_for(lambda: system.items(partition_key("EVT", "stripe", "-", event["id"])))
        assert found["EVENT"]["received_at"]

    def test_dead_letters_are_listed_shown_and_replayed(self, system: System) -> None:
        good, bad = envelope(), envelope(b'{"type": "no id", "card": "4111111111111111"}')
        for message in (good, bad):
            self.send(system, "dead_letters_url", message)
        hashes = {decode(message).body_sha256: message for message in (good, bad)}
        listed = [json.loads(line) for line in cli(system, "dead-letters", "list", "--json").stdout.splitlines()]
        mine = {each["body_sha256"]: each for each in listed if each.get("body_sha256") in hashes}
        assert len(mine) == 2
        shown = cli(system, "dead-letters", "show", mine[decode(bad).body_sha256]["id"]).stdout
        assert "the event's id is not" in shown
        assert "4111111111111111" not in shown

        one = mine[decode(good).body_sha256]["id"]
        assert "1 stored, 0 still dead letters" in cli(system, "dead-letters", "replay", one).stdout
        event = json.loads(decode(good).body)
        assert system.items(partition_key("EVT", "stripe", "-", event["id"]))
        ran = cli(system, "dead-letters", "replay", mine[decode(bad).body_sha256]["id"], expect=1)
        assert "0 stored, 1 still dead letters" in ran.stdout
        left = {letter.id for letter in DeadLetters(system.deployment).peek(1000)}
        assert one not in left
        assert mine[decode(bad).body_sha256]["id"] in left

    def test_replaying_twice_is_harmless(self, system: System) -> None:
        message = envelope()
        for _ in range(2):
            self.send(system, "dead_letters_url", message)
        ran = cli(system, "dead-letters", "replay", "--rate", "100", expect=None)
        assert " stored" in ran.stdout
        event = json.loads(decode(message).body)
        state_key = partition_key("PAY", "stripe", "-", event["data"]["object"]["payment_intent"])
        assert system.items(state_key)["STATE"]["event_count"] == {"N": "1"}

    def test_an_id_that_is_none_is_named(self, system: System) -> None:
        assert "there is no dead letter 'nope'" in cli(system, "dead-letters", "show", "nope", expect=1).stderr
        assert "there is no dead letter 'nope'" in cli(system, "dead-letters", "replay", "nope", expect=1).stderr
