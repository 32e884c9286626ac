"""Finding traces in X-Ray: calls that AWS's own model of the service takes, answered with what our functions send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from adapters.traces import Trace
from migration.traces import find_in_x_ray, together
from tests.unit.test_telling import Daemon

LAMBDAS = {"id": "53995c3f42cd8ad8", "name": "envmig-webhook-prod", "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
           "origin": "AWS::Lambda::Function", "start_time": 1.0}  # fmt: skip


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    running = Daemon()
    yield running
    running.close()


@pytest.fixture
def x_ray() -> Iterator[tuple[Any, Stubber]]:
    client = boto3.client("xray", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stubbed:
        yield client, stubbed
        stubbed.assert_no_pending_responses()
    client.close()


def sent(correlation: str, daemon: Daemon) -> dict[str, Any]:
    """What the daemon takes for one invocation, which X-Ray shows within Lambda's own segment."""
    root, parent = LAMBDAS["trace_id"], LAMBDAS["id"]
    trace = Trace("webhook", {"AWS_XRAY_DAEMON_ADDRESS": daemon.address,
                              "_X_AMZN_TRACE_ID": f"Root={root};Parent={parent};Sampled=1"})  # fmt: skip
    trace.annotate(correlation=correlation, provider="stripe")
    with trace.step("verify"):
        pass
    with trace.step("store") as step:
        step.fail("refused")
    trace.send()
    return daemon.received(1)[0]


def test_a_trace_is_found_with_its_steps(daemon: Daemon, x_ray: tuple[Any, Stubber]) -> None:
    client, stubbed = x_ray
    wanted = {"StartTime": ANY, "EndTime": ANY, "FilterExpression": 'annotation.correlation = "one"'}
    stubbed.add_response("get_trace_summaries", {"TraceSummaries": [{"Id": LAMBDAS["trace_id"]}]}, wanted)
    document = json.dumps({**LAMBDAS, "subsegments": [sent("one", daemon)]})
    traces = [{"Id": LAMBDAS["trace_id"], "Segments": [{"Id": LAMBDAS["id"], "Document": document}]}]
    stubbed.add_response("batch_get_traces", {"Traces": traces}, {"TraceIds": [LAMBDAS["trace_id"]]})
    (whole,) = together(find_in_x_ray(client, "one", 5))
    assert whole.correlation == "one"
    assert [(part.name, part.depth, part.fault) for part in whole.parts] == [
        ("envmig-webhook-prod", 0, None), ("webhook", 1, None), ("verify", 1, None), ("store", 1, "refused"),
    ]  # fmt: skip


def test_the_latest_are_taken_from_all_pages(x_ray: tuple[Any, Stubber]) -> None:
    client, stubbed = x_ray
    ids = [f"1-{second:08x}-{second:024x}" for second in range(12)]
    window = {"StartTime": ANY, "EndTime": ANY}
    for page, (after, before) in {(0, 6): ({}, {"NextToken": "t"}), (6, 12): ({"NextToken": "t"}, {})}.items():
        summaries = [{"Id": each} for each in ids[slice(*page)]]
        stubbed.add_response("get_trace_summaries", {"TraceSummaries": summaries, **before}, {**window, **after})
    for asked in (ids[5:10], ids[10:]):
        stubbed.add_response("batch_get_traces", {"Traces": []}, {"TraceIds": asked})
    assert find_in_x_ray(client, None, 7) == []
