"""What a person sees of the running system: traces across functions, logs, and metrics that alarms can look at."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local_aws.agent import embedded
from migration.samples import sample
from migration.send import send_patiently
from migration.signing import sign
from payments import attestation
from tests.e2e.client import System, cli, wait_for
from tests.e2e.processes import function, url_event
from tests.faulty_proxy import FaultyProxy


@pytest.fixture
def proxy(system: System) -> Iterator[FaultyProxy]:
    with FaultyProxy(system.deployment.outputs["local"]["endpoint"]) as running:
        yield running


def daemon(system: System) -> str:
    port = Path(system.deployment.outputs["local"]["traces"]).parent / "agent-port"
    return f"127.0.0.1:{port.read_text()}"


def buffered(system: System, proxy: FaultyProxy) -> str:
    """A delivery that the table refuses; its correlation id."""
    proxy.choose = lambda operation, _: "denied" if operation == "TransactWriteItems" else "ok"
    now = datetime.now(UTC)
    signed = sign("stripe", sample("stripe", now).body, system.keys["stripe"], now)
    correlation = f"trace-{secrets.token_hex(6)}"
    headers = {**signed.headers, attestation.RECEIVED_AT: now.isoformat(), attestation.TRACE: correlation,
               attestation.ROUTING: "mode=aws;hundredths=0;salt=s;epoch=1"}  # fmt: skip
    relay = attestation.AttestationKey("local", system.secret("relay").encode())
    headers[attestation.ATTESTATION] = attestation.attest(headers, signed.body, "stripe", relay)
    with function(system, "webhook", proxy.endpoint, AWS_XRAY_DAEMON_ADDRESS=daemon(system)) as webhook:
        assert webhook.ask(url_event("stripe", signed.body, headers))["statusCode"] == 202
    return correlation


class TestTraces:
    def test_one_webhook_through_buffer_and_drain_is_found_by_its_correlation_id(
        self, system: System, proxy: FaultyProxy
    ) -> None:
        correlation = buffered(system, proxy)

        def drawn() -> str:
            printed = cli(system, "traces", correlation, expect=None).stdout
            return printed if printed.count("store") >= 2 else ""

        printed = wait_for(drawn)
        steps = [line.split()[0] for line in printed.splitlines()[1:] if line.strip()]
        assert [step for step in steps if step in ("secret", "verify", "read", "store", "buffer")] == [
            "secret", "verify", "read", "store", "buffer", "read", "store",
        ]  # fmt: skip
        assert "AccessDenied" in printed
        assert "outcome=unavailable" in printed
        assert "outcome=stored" in printed

    def test_the_message_carries_the_trace_for_x_ray_to_link(self, system: System, proxy: FaultyProxy) -> None:
        buffered(system, proxy)
        sent = next(body for body in proxy.bodies if "MessageBody" in body)
        header = sent["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"]
        assert header.startswith("Root=1-")

    def test_an_id_that_has_no_trace_is_named(self, system: System) -> None:
        assert "there is no trace of 'nope'" in cli(system, "traces", "nope", expect=1).stderr


class TestLogs:
    def test_a_delivery_is_found_in_the_logs_by_its_correlation_id(self, system: System, proxy: FaultyProxy) -> None:
        correlation = buffered(system, proxy)
        line = wait_for(lambda: cli(system, "logs", "--find", correlation, "--json", expect=None).stdout)
        told = json.loads(line.splitlines()[0])
        assert told["message"] == "drained"
        assert told["messages"][0]["trace"] == correlation
        assert set(told["steps_ms"]) == {"read", "store"}
        assert "stored" in cli(system, "logs", "--find", correlation).stdout

    def test_nothing_found_says_so(self, system: System) -> None:
        assert "nothing was said" in cli(system, "logs", "--find", "no such thing", expect=1).stderr
        assert "is not of the form" in cli(system, "logs", "--since", "yesterday", expect=1).stderr


class TestMetrics:
    def total(self, system: System, name: str, **dimensions: str) -> float:
        now = datetime.now(UTC)
        listed = [{"Name": key, "Value": value} for key, value in {"Environment": "e2e", **dimensions}.items()]
        found = system.root("cloudwatch").get_metric_statistics(
            Namespace="Envmig", MetricName=name, Dimensions=listed, Period=3600, Statistics=["Sum"],
            StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1),
        )  # fmt: skip
        return float(sum(point["Sum"] for point in found["Datapoints"]))

    def test_what_the_function_prints_reaches_cloudwatch_once(self, system: System) -> None:
        before = self.total(system, "Stored", Provider="paystack")
        now = datetime.now(UTC)
        for _ in range(3):
            assert send_patiently(system.deployment, "paystack", sample("paystack", now), now).status == 200
        wait_for(lambda: self.total(system, "Stored", Provider="paystack") - before >= 3)
        wait_for(lambda: self.total(system, "StoreTime") > 0)
        assert self.total(system, "Stored", Provider="paystack") - before == 3

    def test_a_refusal_is_counted_by_its_reason(self, system: System) -> None:
        before = self.total(system, "Refused", Reason="Not authentic")
        system.post("/webhooks/stripe", b"{}", {"stripe-signature": "t=1,v1=00"})
        wait_for(lambda: self.total(system, "Refused", Reason="Not authentic") == before + 1)


@pytest.mark.parametrize(
    "line", ["", "START RequestId", "[]", "{}", '{"_aws": 1}', '{"_aws": {"CloudWatchMetrics": []}}']
)
def test_a_line_without_metrics_has_none(line: str) -> None:
    assert list(embedded(line)) == []


def test_a_lines_metrics_are_read_by_every_set_of_dimensions() -> None:
    directive: dict[str, Any] = {
        "Namespace": "N", "Dimensions": [["A"], ["A", "B"]], "Metrics": [{"Name": "M", "Unit": "Count"}],
    }  # fmt: skip
    line = json.dumps(
        {"_aws": {"Timestamp": 1000, "CloudWatchMetrics": [directive]}, "A": "a", "B": "b", "M": [1, 2]}
    )
    read = list(embedded(line))
    assert [[each["Name"] for each in datum["Dimensions"]] for _, datum in read] == [["A"], ["A", "B"]]
    assert all(datum["Values"] == [1, 2] for _, datum in read)
