"""Every alarm from its cause to the message that arrives at a queue which is subscribed to the alerts.

What our functions measure is caused by webhooks. What AWS measures of its queues and functions (AWS/SQS, AWS/Lambda)
the emulator does not measure, so that its value is put into CloudWatch as AWS would.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.items import partition_key
from migration.figures import Figures
from migration.signing import sign
from tests.e2e.client import System, damage, relayed, wait_for
from tests.provider_events import stripe_event


class Inbox:
    """The queue of somebody who is to be told."""

    def __init__(self, system: System) -> None:
        self._sqs = system.root("sqs")
        self.url = self._sqs.create_queue(QueueName=f"envmig-inbox-{secrets.token_hex(4)}")["QueueUrl"]
        names = ["QueueArn"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]["QueueArn"]
        topic = system.deployment.output("data", "alerts_topic_arn")
        may_send = {
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
        self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": policy})
        system.root("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self.told: dict[str, dict[str, Any]] = {}

    def alarm(self, name: str) -> dict[str, Any]:
        """The message of an alarm that went off, as soon as it is there."""

        def look() -> dict[str, Any] | None:
            received = self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
            for message in received:
                body = json.loads(message["Body"])
                alarm = json.loads(body["Message"])
                if alarm.get("NewStateValue") == "ALARM":
                    self.told[alarm["AlarmName"]] = {**alarm, "subject": body.get("Subject", "")}
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            return self.told.get(f"envmig-{name}-e2e")

        found = wait_for(look, within_s=45)
        assert found
        return found


@pytest.fixture(scope="module")
def inbox(system: System) -> Iterator[Inbox]:
    yield Inbox(system)


def post(system: System, event_id: str, amount: int, note: str = "") -> str:
    thing = {"object": "charge", "id": f"ch_{event_id}", "captured": True, "amount_captured": amount,
             "currency": "eur", "payment_intent": f"pi_{event_id}", "description": note}  # fmt: skip
    body = stripe_event("charge.succeeded", thing, event_id=event_id)
    signed = sign("stripe", body, system.keys["stripe"], datetime.now(UTC))
    return system.post("/webhooks/stripe", signed.body, signed.headers).body


def put(
    system: System, namespace: str, metric: str, dimensions: dict[str, str], values: list[float], ago_s: int = 0
) -> None:
    system.root("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                "Timestamp": datetime.fromtimestamp(time.time() - ago_s, UTC),
                "Values": values,
            }
        ],
    )


def says(alarm: dict[str, Any], page: str) -> None:
    assert f"docs/runbooks/{page}.md" in alarm["AlarmDescription"]


def test_a_conflict(system: System, inbox: Inbox) -> None:
    event_id = f"evt_{secrets.token_hex(8)}"
    post(system, event_id, 100)
    assert "conflict" in post(system, event_id, 99_999)
    says(inbox.alarm("conflicts"), "conflicts")


def test_a_card_number(system: System, inbox: Inbox) -> None:
    post(system, f"evt_{secrets.token_hex(8)}", 100, "card 4111 1111 1111 1111")
    says(inbox.alarm("masked-cards"), "masked-cards")


def test_signatures_that_do_not_hold(system: System, inbox: Inbox) -> None:
    """In two periods of five minutes. What was before, and many more of the same now, is put as if it had been sent."""
    for ago_s in (330, 0):
        put(system, "Envmig", "NotAuthentic", {"Environment": "e2e"}, [1.0] * 400, ago_s=ago_s)
    for _ in range(20):
        assert system.post("/webhooks/stripe", b"{}", {"stripe-signature": "t=1,v1=00"}).status == 401
    says(inbox.alarm("refused-signatures"), "refused-signatures")


@pytest.mark.parametrize("burn", ["fast", "slow"])
def test_a_burning_budget(system: System, inbox: Inbox, burn: str) -> None:
    """Both windows see a share of late events that is too high."""
    put(system, "Envmig", "StoredLate", {"Environment": "e2e"}, [1.0] * 500)
    says(inbox.alarm(f"slo-{burn}-burn"), "slo-burn")


@pytest.mark.parametrize(
    ("alarm", "metric", "queue", "value", "periods", "page"),
    [
        ("dead-letters", "ApproximateNumberOfMessagesVisible", "envmig-dead-letters-e2e", 1, 1, "dead-letters"),
        (
            "dead-letter-age",
            "ApproximateAgeOfOldestMessage",
            "envmig-dead-letters-e2e",
            11 * 86_400,
            1,
            "dead-letters",
        ),
        ("buffer-age", "ApproximateAgeOfOldestMessage", "envmig-buffer-e2e", 400, 3, "buffer-age"),
    ],
)
def test_what_aws_measures_of_queues(
    system: System, inbox: Inbox, alarm: str, metric: str, queue: str, value: float, periods: int, page: str
) -> None:
    for place in reversed(range(periods)):
        put(system, "AWS/SQS", metric, {"QueueName": queue}, [value], ago_s=60 * place)
    says(inbox.alarm(alarm), page)


@pytest.mark.parametrize("function", ["webhook", "drain", "validate"])
@pytest.mark.parametrize(
    ("alarm", "metric", "periods", "page"),
    [("errors", "Errors", 1, "function-errors"), ("throttles", "Throttles", 3, "function-throttles")],
)
def test_what_aws_measures_of_functions(
    system: System, inbox: Inbox, function: str, alarm: str, metric: str, periods: int, page: str
) -> None:
    for place in reversed(range(periods)):
        put(system, "AWS/Lambda", metric, {"FunctionName": f"envmig-{function}-e2e"}, [1.0], ago_s=60 * place)
    says(inbox.alarm(f"{function}-{alarm}"), page)


def test_a_validation_that_is_missing(system: System, inbox: Inbox) -> None:
    for hours in (2, 1, 0):
        put(system, "Envmig", "ValidationRuns", {"Environment": "e2e"}, [0.0], ago_s=3600 * hours)
    says(inbox.alarm("validation-missing"), "validation")


def test_a_state_that_does_not_add_up(system: System, inbox: Inbox) -> None:
    """Damaged by hand, found by the validate function, told."""
    payment = relayed(system, datetime.now(UTC) - timedelta(minutes=4))
    damage(system, payment, "SET event_count = :n", {":n": {"N": "7"}})
    told = system.root("lambda").invoke(FunctionName="envmig-validate-e2e", Payload=b"{}")
    assert json.loads(told["Payload"].read())["mismatches"] >= 1
    says(inbox.alarm("validation-mismatch"), "validation")
    finding = system.items(partition_key("VAL", "finding", payment))["state-wrong"]
    assert "event count is 7, its events say 1" in finding["says"]["S"]
    assert int(finding["expires_at"]["N"]) > time.time()


@pytest.mark.parametrize(
    ("alarm", "holder", "metric", "value", "periods", "page"),
    [
        ("relay-lag", "invoker", "AwsLag", 400.0, 3, "relay-lag"),
        ("relay-parked", "invoker", "RelayParked", 1.0, 1, "relay-parked"),
        ("relay-mismatches", "invoker", "RelayMismatches", 1.0, 1, "relay-parked"),
        ("spool-filling", "invoker", "SpoolShare", 85.0, 3, "spool-filling"),
        ("rolled-back", "operator", "RolledBack", 1.0, 1, "rolled-back"),
    ],
)
def test_what_relay_and_cut_over_put(
    system: System, inbox: Inbox, alarm: str, holder: str, metric: str, value: float, periods: int, page: str
) -> None:
    """By the relay's and the operator's own rights; what was a minute ago is put as if they had."""
    for place in reversed(range(1, periods)):
        put(system, "Envmig", metric, {"Environment": "e2e"}, [value], ago_s=60 * place)
    Figures(system.deployment.client(holder, "cloudwatch"), "e2e").put({metric: value})
    says(inbox.alarm(alarm), page)


def test_no_alarm_was_left_out(system: System, inbox: Inbox) -> None:
    """Every alarm that tells somebody was tried above."""
    found = system.root("cloudwatch").describe_alarms(
        AlarmNamePrefix="envmig-", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    telling = {
        alarm["AlarmName"] for alarm in [*found["MetricAlarms"], *found["CompositeAlarms"]]
        if alarm["AlarmActions"] and alarm["AlarmName"].endswith("-e2e")
    }  # fmt: skip
    assert telling == set(inbox.told)
