"""Alarms, dashboard and subscriptions as declared: on metrics that somebody emits, with a page for each."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from adapters.metrics import BY_OWNER, BY_PROVIDER, BY_REASON, COUNTS, MILLISECONDS, NAMESPACE, SHARES
from migration.figures import CUTOVER, RELAY
from tests.conftest import ROOT
from tests.stacks.conftest import declared, run

if TYPE_CHECKING:
    from tests.stacks.conftest import Declared

EMITTED = {
    NAMESPACE: (COUNTS | SHARES | MILLISECONDS | RELAY | CUTOVER, {"Environment"}),
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    "AWS/SQS": ({"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"}, {"QueueName"}),
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    "AWS/Lambda": ({"Errors", "Throttles"}, {"FunctionName"}),
}
ALERTS = "arn:aws:sns:us-east-1:123456789012:envmig-alerts-prod"


def metric_alarms() -> dict[str, dict[str, Any]]:
    return declared("compute").every("MetricAlarm")


@pytest.mark.parametrize("name", sorted(metric_alarms()))
class TestEveryAlarm:
    def test_its_metric_is_one_that_is_emitted(self, name: str) -> None:
        alarm = metric_alarms()[name]
        names, dimensions = EMITTED[alarm["namespace"]]
        assert alarm["metricName"] in names
        assert set(alarm["dimensions"]) == dimensions
        assert all(value == "prod" or value.endswith("-prod") for value in alarm["dimensions"].values())

    def test_it_has_a_page_that_names_it(self, name: str) -> None:
        description = metric_alarms()[name]["alarmDescription"]
        page = ROOT / re.findall(r"docs/runbooks/[a-z-]+\.md", description)[0]
        assert page.exists()
        told = name if not name.startswith("slo-") else "slo-fast-burn"
        assert told in page.read_text().splitlines()[0]

    def test_it_tells_the_topic_when_it_begins_and_when_it_is_over(self, name: str) -> None:
        alarm = metric_alarms()[name]
        expected = [] if name.startswith("slo-") else [ALERTS]
        assert alarm.get("alarmActions", []) == alarm.get("okActions", []) == expected

    def test_its_name_follows_the_convention(self, name: str) -> None:
        assert metric_alarms()[name]["name"] == f"envmig-{name}-prod"


def test_a_burning_budget_wants_a_long_window_and_a_short_one(compute: Declared) -> None:
    composites = compute.every("CompositeAlarm")
    assert set(composites) == {"slo-fast-burn", "slo-slow-burn"}
    for composite in composites.values():
        assert composite["alarmActions"] == composite["okActions"] == [ALERTS]
        assert composite["alarmRule"].count(" AND ") == 1
    thresholds = {
        name: (each["threshold"], each["period"]) for name, each in metric_alarms().items() if "slo" in name
    }
    assert thresholds == {
        "slo-fast-1h": (pytest.approx(0.0144), 3600), "slo-fast-5m": (pytest.approx(0.0144), 300),
        "slo-slow-6h": (pytest.approx(0.006), 21600), "slo-slow-30m": (pytest.approx(0.006), 1800),
    }  # fmt: skip


def test_the_averages_are_of_zeros_and_ones() -> None:
    """An average over another metric would be no share."""
    averaged = {alarm["metricName"] for alarm in metric_alarms().values() if alarm["statistic"] == "Average"}
    assert averaged == SHARES


class TestDashboard:
    def widgets(self, compute: Declared) -> list[dict[str, Any]]:
        return list(json.loads(compute.one("Dashboard")["dashboardBody"])["widgets"])

    def test_every_widget_shows_metrics_that_are_emitted(self, compute: Declared) -> None:
        shown = set()
        for widget in self.widgets(compute):
            for series in widget["properties"]["metrics"]:
                if isinstance(series[0], dict):
                    expression = series[0]["expression"]
                    (metric,) = re.findall(r'MetricName="(\w+)"', expression)
                    (dimension,) = re.findall(r"\{Envmig,Environment,(\w+)\}", expression)
                    assert dimension in (BY_PROVIDER, BY_OWNER, BY_REASON)
                    shown.add((NAMESPACE, metric))
                else:
                    assert {series[2]} == EMITTED[series[0]][1]
                    shown.add((series[0], series[1]))
        assert all(metric in EMITTED[namespace][0] for namespace, metric in shown)
        assert {"Stored", "Received", "Buffered", "StoredLate", "Refused"} <= {metric for _, metric in shown}

    def test_widgets_do_not_overlap_and_fit_the_page(self, compute: Declared) -> None:
        places = [(each["x"], each["y"]) for each in self.widgets(compute)]
        assert len(set(places)) == len(places)
        assert all(each["x"] + each["width"] <= 24 for each in self.widgets(compute))


class TestSubscriptions:
    def test_there_are_none_unless_somebody_is_named(self, data: Declared) -> None:
        assert data.every("TopicSubscription") == {}

    def test_who_is_named_is_told(self) -> None:
        listed = [{"protocol": "email", "endpoint": "oncall@example.com"}, {"protocol": "sqs", "endpoint": "arn:q"}]
        made = run("data", config={"envmig-data:alertSubscriptions": json.dumps(listed)})["resources"]
        subscribed = [each["inputs"] for each in made if each["type"].endswith(":TopicSubscription")]
        # They are made side by side, in any order.
        assert {(each["protocol"], each["endpoint"]) for each in subscribed} == {
            ("email", "oncall@example.com"), ("sqs", "arn:q"),
        }  # fmt: skip

    @pytest.mark.parametrize(
        "wrong", [[{"protocol": "pigeon", "endpoint": "x"}], [{"protocol": "email"}], ["x"], {"a": 1}]
    )
    def test_a_setting_that_names_nobody_is_refused(self, wrong: Any) -> None:
        printed = run("data", config={"envmig-data:alertSubscriptions": json.dumps(wrong)})
        assert "alertSubscriptions" in printed["error"]
