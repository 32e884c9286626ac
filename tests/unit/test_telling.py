"""What an invocation tells: its log line, its metrics in the embedded format, and its trace at the daemon's door."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.metrics import BY_OWNER, BY_PROVIDER, COUNTS, MILLISECONDS, SHARES, Metrics
from adapters.traces import Trace
from handlers.invocation import Invocation
from handlers.storing import hashed
from providers.base import Signature
from providers.verified import VerifiedDelivery
from tests.unit.context import Context

NOW = datetime.now(UTC)


class Daemon:
    """The X-Ray daemon's socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(2)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def received(self, count: int) -> list[dict[str, Any]]:
        documents = []
        for _ in range(count):
            head, _, document = self._socket.recv(65_536).partition(b"\n")
            assert json.loads(head) == {"format": "json", "version": 1}
            documents.append(json.loads(document))
        return documents

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    running = Daemon()
    yield running
    running.close()


ROOT = "1-5759e988-bd862e3fe1be46a994272793"


def environment(daemon: Daemon, **more: str) -> dict[str, str]:
    return {
        "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
        "_X_AMZN_TRACE_ID": f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a:0",
        **more,
    }


class TestTrace:
    def test_each_step_is_a_subsegment_of_lambdas_segment(self, daemon: Daemon) -> None:
        trace = Trace("webhook", environment(daemon))
        trace.annotate(correlation="c", provider="stripe")
        with trace.step("verify"):
            pass
        with trace.step("store") as step:
            step.annotate(outcome="stored", payment=None)
        trace.send()
        (whole,) = daemon.received(1)
        assert (whole["trace_id"], whole["parent_id"], whole["type"]) == (ROOT, "53995c3f42cd8ad8", "subsegment")
        verify, store = whole["subsegments"]
        for document in (whole, verify, store):
            assert document["start_time"] <= document["end_time"]
            assert len(document["id"]) == 16
        assert store["annotations"] == {"correlation": "c", "provider": "stripe", "outcome": "stored"}
        assert trace.milliseconds().keys() == {"verify", "store"}

    def test_an_error_is_a_fault_with_its_cause_and_is_not_swallowed(self, daemon: Daemon) -> None:
        trace = Trace("webhook", environment(daemon))
        with pytest.raises(ValueError, match="bad"), trace.step("read"):
            raise ValueError("bad")
        with trace.step("buffer") as step:
            step.fail("refused")
        trace.send()
        read, buffer = daemon.received(1)[0]["subsegments"]
        assert read["fault"] is buffer["fault"] is True
        assert read["cause"]["exceptions"][0] | {"id": ""} == {"id": "", "type": "ValueError", "message": "bad"}
        assert buffer["cause"]["exceptions"][0]["message"] == "refused"

    def test_what_is_not_sampled_is_not_sent(self, daemon: Daemon) -> None:
        trace = Trace(
            "webhook", environment(daemon, _X_AMZN_TRACE_ID=f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0")
        )
        with trace.step("verify"):
            pass
        trace.send()
        with pytest.raises(TimeoutError):
            daemon.received(1)

    def test_without_lambdas_segment_it_makes_its_own(self, daemon: Daemon) -> None:
        trace = Trace("webhook", {"AWS_XRAY_DAEMON_ADDRESS": daemon.address})
        with trace.step("verify"):
            pass
        trace.send()
        (segment,) = daemon.received(1)
        assert segment["name"] == "webhook"
        assert not segment.keys() & {"type", "parent_id"}
        assert [step["name"] for step in segment["subsegments"]] == ["verify"]

    def test_what_is_too_large_for_a_datagram_is_sent_in_parts(self, daemon: Daemon) -> None:
        trace = Trace("drain", environment(daemon))
        for number in range(60):
            with trace.step("store") as step:
                step.annotate(number=number, account="a" * 1200)
        trace.send()
        whole, *steps = daemon.received(61)
        assert "subsegments" not in whole
        assert [step["annotations"]["number"] for step in steps] == list(range(60))
        assert {(step["parent_id"], step["trace_id"], step["type"]) for step in steps} == {
            (whole["id"], ROOT, "subsegment")
        }

    @pytest.mark.parametrize("address", ["", "127.0.0.1:1", "127.0.0.1:9"])
    def test_without_a_daemon_nothing_happens(self, address: str) -> None:
        trace = Trace("webhook", {"AWS_XRAY_DAEMON_ADDRESS": address})
        with trace.step("verify"):
            pass
        trace.send()

    def test_the_header_that_is_passed_on_is_one_that_the_official_sdk_reads(self, daemon: Daemon) -> None:
        from aws_xray_sdk.core.models.trace_header import TraceHeader

        read = TraceHeader.from_header_str(Trace("webhook", environment(daemon)).header)
        assert (read.root, read.parent, read.sampled) == (ROOT, "53995c3f42cd8ad8", 1)

    def test_ids_are_of_the_official_sdks_form(self, daemon: Daemon) -> None:
        from aws_xray_sdk.core.models.traceid import TraceId

        made, official = Trace("webhook", {}).id, TraceId().to_id()
        assert [len(part) for part in made.split("-")] == [len(part) for part in official.split("-")]
        assert int(made.split("-")[1], 16) == pytest.approx(time.time(), abs=60)

    def test_a_document_has_the_fields_that_the_official_sdks_has(self, daemon: Daemon) -> None:
        """The same step told by the SDK: what ours says has the same names and types."""
        from aws_xray_sdk.core.models.segment import Segment
        from aws_xray_sdk.core.models.subsegment import Subsegment

        segment = Segment("webhook", traceid=ROOT, parent_id="53995c3f42cd8ad8")
        theirs = Subsegment("store", "local", segment)
        theirs.put_annotation("provider", "stripe")
        theirs.add_exception(ValueError("bad"), [])
        theirs.close()
        official = json.loads(theirs.serialize())
        trace = Trace("webhook", environment(daemon))
        with pytest.raises(ValueError, match="bad"), trace.step("store") as step:
            step.annotate(provider="stripe")
            raise ValueError("bad")
        trace.send()
        (ours,) = daemon.received(1)[0]["subsegments"]
        for name, value in ours.items():
            assert isinstance(value, type(official[name])), name
        assert ours["annotations"] == official["annotations"]
        assert ours["cause"]["exceptions"][0].keys() <= official["cause"]["exceptions"][0].keys()


def lines(metrics: Metrics) -> list[dict[str, Any]]:
    return [json.loads(line) for line in metrics.lines()]


class TestMetrics:
    def test_a_line_declares_what_it_holds(self) -> None:
        metrics = Metrics({"ENVIRONMENT": "prod"})
        metrics.add("Received", 1, BY_PROVIDER, "stripe")
        metrics.add("EventAge", 12.5, BY_PROVIDER, "stripe")
        (line,) = lines(metrics)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Envmig"
        assert directive["Dimensions"] == [["Environment"], ["Environment", "Provider"]]
        assert directive["Metrics"] == [
            {"Name": "Received", "Unit": "Count"}, {"Name": "EventAge", "Unit": "Milliseconds"},
        ]  # fmt: skip
        assert (line["Environment"], line["Provider"], line["Received"], line["EventAge"]) == (
            "prod",
            "stripe",
            1,
            12.5,
        )

    def test_counts_add_up_and_shares_stay_apart(self) -> None:
        metrics = Metrics({"ENVIRONMENT": "prod"})
        for late in (0, 0, 1):
            metrics.add("Stored", 1, BY_PROVIDER, "adyen")
            metrics.add("StoredLate", late, BY_PROVIDER, "adyen")
        (line,) = lines(metrics)
        assert line["Stored"] == 3
        assert line["StoredLate"] == [0, 0, 1]

    def test_more_values_than_a_line_takes_are_told_in_several(self) -> None:
        metrics = Metrics({"ENVIRONMENT": "prod"})
        for _ in range(250):
            metrics.add("Stored", 1, BY_PROVIDER, "gocardless")
            metrics.add("StoredLate", 0, BY_PROVIDER, "gocardless")
        told = lines(metrics)
        assert [len(line["StoredLate"]) for line in told] == [100, 100, 50]
        assert sum(line.get("Stored", 0) for line in told) == 250

    def test_what_is_told_by_a_dimension_alone_is_not_counted_twice(self) -> None:
        metrics = Metrics({"ENVIRONMENT": "prod"})
        metrics.add("Stored", 1, BY_PROVIDER, "stripe")
        metrics.add_only("Stored", 1, BY_OWNER, "aws")
        (line,) = lines(metrics)
        sets = [directive["Dimensions"] for directive in line["_aws"]["CloudWatchMetrics"]]
        assert sets == [[["Environment"], ["Environment", "Provider"]], [["Environment", "Owner"]]]

    def test_what_differs_by_dimension_has_a_line_of_its_own(self) -> None:
        metrics = Metrics({"ENVIRONMENT": "prod"})
        metrics.add("Stored", 2, BY_PROVIDER, "stripe")
        metrics.add_only("Stored", 1, BY_OWNER, "aws")
        metrics.add("Waiting", 3, BY_PROVIDER, "adyen")
        assert [(line.get("Stored"), line.get("Owner"), line.get("Provider")) for line in lines(metrics)] == [
            (2, None, "stripe"), (1, "aws", "adyen"),
        ]  # fmt: skip


class TestInvocation:
    def told(self, capsys: pytest.CaptureFixture[str], invocation: Invocation) -> list[dict[str, Any]]:
        invocation.end()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def test_an_event_in_time_and_one_too_late(self, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
        monkeypatch.setenv("ENVIRONMENT", "prod")
        for ago, late in ((0.1, 0), (1.5, 1)):
            then = datetime.now(UTC) - timedelta(seconds=ago)
            verified = VerifiedDelivery("stripe", {}, b"{}", then, None, "t", then, Signature("s", "k"))
            invocation = Invocation("webhook", "delivery", Context)
            invocation.tell_results(verified, [{"outcome": "stored", "owner": "aws"}, {"outcome": "duplicate"}])
            line, metrics = self.told(capsys, invocation)
            assert line["message"] == "delivery"
            assert (metrics["Stored"], metrics["Duplicates"], metrics["StoredLate"]) == (1, 1, late)
            assert metrics["EventAge"] == pytest.approx(ago * 1000, abs=300)
            assert (metrics["Provider"], metrics["Owner"]) == ("stripe", "aws")

    def test_every_metric_has_a_listed_name(self) -> None:
        """A name that is not listed would be one that no alarm or widget can be held against."""
        import re
        from pathlib import Path

        from tests.conftest import ROOT as PROJECT

        used = set()
        for file in Path(PROJECT / "lambda_src" / "handlers").glob("*.py"):
            used |= set(re.findall(r'metrics\.add(?:_only)?\(\s*"(\w+)"', file.read_text()))
        from handlers import invocation

        used |= set(invocation._COUNTED.values()) | set(invocation._STEP_METRICS.values())
        used |= {"Waiting", "DeadLetters"}
        assert used <= COUNTS | SHARES | MILLISECONDS

    def test_the_line_has_the_trace_and_the_steps(self, capsys: pytest.CaptureFixture[str]) -> None:
        invocation = Invocation("webhook", "delivery", Context)
        with invocation.trace.step("verify"):
            pass
        line, *_ = self.told(capsys, invocation)
        assert line["xray"] == invocation.trace.id
        assert set(line["steps_ms"]) == {"verify"}
        assert line["requestId"] == "request"


def test_a_payment_is_hashed_in_traces() -> None:
    assert hashed("order-of-jane@example.com") == hashed("order-of-jane@example.com")
    assert "jane" not in str(hashed("order-of-jane@example.com"))
    assert hashed(None) is None


def test_the_environment_is_left_alone() -> None:
    assert "AWS_XRAY_DAEMON_ADDRESS" not in os.environ
