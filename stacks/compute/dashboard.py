"""The one dashboard: traffic, latency, refusals, and what waits."""

import json
from typing import Any

import pulumi
import pulumi_aws as aws

from envmig_stacks.naming import FUNCTIONS, Names

Series = list[Any]
"""A metric as a widget names it: namespace, name, dimensions' names and values, and how it is drawn."""

_WIDTH, _HEIGHT = 8, 6
_IN_A_ROW = 24 // _WIDTH


def make_dashboard(names: Names, region: str, options: pulumi.ResourceOptions) -> aws.cloudwatch.Dashboard:
    """Make the dashboard."""
    return aws.cloudwatch.Dashboard(
        "dashboard",
        dashboard_name=names.of("dashboard"),
        dashboard_body=json.dumps({"widgets": widgets(names, region)}),
        opts=options,
    )


def widgets(names: Names, region: str) -> list[dict[str, Any]]:
    """What the dashboard shows, in rows."""

    def ours(metric: str, stat: str = "Sum", label: str = "") -> Series:
        return ["Envmig", metric, "Environment", names.suffix, {"stat": stat, "label": label or metric}]

    def by(dimension: str, metric: str, stat: str = "Sum") -> Series:
        search = f'{{Envmig,Environment,{dimension}}} MetricName="{metric}" Environment="{names.suffix}"'
        return [{"expression": f"SEARCH('{search}', '{stat}')", "id": f"by{dimension.lower()}{metric.lower()}"}]

    def of_queue(queue: str, metric: str, label: str) -> Series:
        return ["AWS/SQS", metric, "QueueName", queue, {"stat": "Maximum", "label": label}]

    def of_function(function: str, metric: str) -> Series:
        name = names.function(function)
        return ["AWS/Lambda", metric, "FunctionName", name, {"stat": "Sum", "label": f"{function} {metric.lower()}"}]

    drawn: list[tuple[str, list[Series]]] = [
        ("Events stored, by provider", [by("Provider", "Stored")]),
        ("Events stored, by owner", [by("Owner", "Stored")]),
        ("Deliveries and what became of their events", [
            ours("Received"), ours("Stored"), ours("Duplicates"), ours("Buffered"), ours("Conflicts"),
        ]),
        ("Share not stored within 1 s (budget 0.1 %)", [ours("StoredLate", "Average", "late")]),
        ("Time of each step, 99th percentile, ms", [
            ours(f"{step}Time", "p99", step.lower()) for step in ("Secret", "Verify", "Read", "Store", "Buffer")
        ]),
        ("Age of an event when stored, ms", [ours("EventAge", "p50", "p50"), ours("EventAge", "p99", "p99")]),
        ("Refusals, by reason", [by("Reason", "Refused")]),
        ("Share of deliveries without a valid signature", [ours("NotAuthentic", "Average", "not authentic")]),
        ("Card numbers masked, cold starts", [ours("MaskedCards"), ours("ColdStarts")]),
        ("Buffer and dead letters, messages", [
            of_queue(names.buffer, "ApproximateNumberOfMessagesVisible", "buffer"),
            of_queue(names.dead_letters, "ApproximateNumberOfMessagesVisible", "dead letters"),
            ours("Waiting"), ours("DeadLetters"),
        ]),
        ("Buffer and dead letters, age of the oldest, s", [
            of_queue(names.buffer, "ApproximateAgeOfOldestMessage", "buffer"),
            of_queue(names.dead_letters, "ApproximateAgeOfOldestMessage", "dead letters"),
        ]),
        ("Relays: age of the oldest that waits, s", [
            ours("AwsLag", "Maximum", "for AWS"), ours("LegacyLag", "Maximum", "for legacy"),
        ]),
        ("Relays: waiting, parked, mismatches", [
            ours("AwsWaiting", "Maximum", "for AWS"), ours("LegacyWaiting", "Maximum", "for legacy"),
            ours("RelayParked", "Maximum", "parked"), ours("RelayMismatches", "Sum", "mismatches"),
        ]),
        ("Cut-over: AWS's share of payments, %, and gates that do not hold", [
            ours("AwsShare", "Maximum", "share"), ours("CutoverFailures", "Maximum", "gates"),
        ]),
        ("Relays: answers, spool %", [ours("RelayAnswers"), ours("SpoolShare", "Maximum", "spool")]),
        ("Validation", [ours("EventsValidated"), ours("ValidationRuns"), ours("Mismatches")]),
        ("Functions", [
            of_function(function, metric) for function in FUNCTIONS for metric in ("Errors", "Throttles")
        ]),
    ]  # fmt: skip
    return [
        {
            "type": "metric",
            "x": place % _IN_A_ROW * _WIDTH,
            "y": place // _IN_A_ROW * _HEIGHT,
            "width": _WIDTH,
            "height": _HEIGHT,
            "properties": {"title": title, "region": region, "view": "timeSeries", "period": 60, "metrics": metrics},
        }
        for place, (title, metrics) in enumerate(drawn)
    ]
