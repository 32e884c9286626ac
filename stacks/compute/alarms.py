"""What wakes somebody: every alarm of the system, each with its page among the runbooks."""

from typing import Any, NamedTuple

import pulumi
import pulumi_aws as aws

from envmig_stacks.contract import DataOutputs
from envmig_stacks.naming import FUNCTIONS, Names

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

RUNBOOKS = "docs/runbooks"


class Metric(NamedTuple):
    """What an alarm looks at."""

    namespace: str
    name: str
    dimensions: dict[str, str]
    statistic: str


class Alarm(NamedTuple):
    """When an alarm goes off, by the name of its page."""

    page: str
    metric: Metric
    threshold: float
    period_s: int
    says: str
    comparison: str = "GreaterThanThreshold"
    periods: int = 1
    missing: str = "notBreaching"
    tells: bool = True
    """Whether it alerts by itself, and not only as a part of another."""


def alarms(names: Names) -> dict[str, Alarm]:
    """All alarms on one metric each, by their name."""
    dead_letters, buffer = _queue(names.dead_letters), _queue(names.buffer)

    def ours(metric: str, statistic: str = "Sum", **dimensions: str) -> Metric:
        return Metric("Envmig", metric, {"Environment": names.suffix, **dimensions}, statistic)

    def of_function(metric: str, function: str) -> Metric:
        return Metric("AWS/Lambda", metric, {"FunctionName": names.function(function)}, "Sum")

    listed = {
        "dead-letters": Alarm(
            "dead-letters", dead_letters("ApproximateNumberOfMessagesVisible"), 0, _MINUTE,
            "there are dead letters: verified events that are not in the table",
        ),
        "dead-letter-age": Alarm(
            "dead-letters", dead_letters("ApproximateAgeOfOldestMessage"), 10 * _DAY, 5 * _MINUTE,
            "a dead letter is 10 days old; it is dropped for good at 14",
        ),
        "buffer-age": Alarm(
            "buffer-age", buffer("ApproximateAgeOfOldestMessage"), 5 * _MINUTE, _MINUTE,
            "an event has waited in the buffer for over 5 minutes", periods=3,
        ),
        "refused-signatures": Alarm(
            "refused-signatures", ours("NotAuthentic", "Average"), 0.05, 5 * _MINUTE,
            "over 5 % of deliveries have no valid signature", periods=2,
        ),
        "conflicts": Alarm(
            "conflicts", ours("Conflicts"), 0, 5 * _MINUTE,
            "an event came under a used id with other content; it is kept as evidence and not applied",
        ),
        "masked-cards": Alarm(
            "masked-cards", ours("MaskedCards"), 0, 5 * _MINUTE,
            "a body held a card number, which is masked at rest",
        ),
    }  # fmt: skip
    listed |= {
        "validation-mismatch": Alarm(
            "validation", ours("Mismatches"), 0, 5 * _MINUTE,
            "the stored events do not add up",
        ),
        "validation-missing": Alarm(
            "validation", ours("ValidationRuns"), 1, _HOUR,
            "no validation was completed for three hours", comparison="LessThanThreshold", periods=3,
            missing="breaching",
        ),
    }  # fmt: skip
    listed |= {
        "relay-lag": Alarm(
            "relay-lag", ours("AwsLag", "Maximum"), 5 * _MINUTE, _MINUTE,
            "a webhook has waited in a relay for AWS for over 5 minutes", periods=3,
        ),
        "relay-parked": Alarm(
            "relay-parked", ours("RelayParked", "Maximum"), 0, 5 * _MINUTE,
            "the old system or AWS will not take a webhook as it is",
        ),
        "relay-mismatches": Alarm(
            "relay-parked", ours("RelayMismatches"), 0, 5 * _MINUTE,
            "one side took a webhook that the other never will",
        ),
        "spool-filling": Alarm(
            "spool-filling", ours("SpoolShare", "Maximum"), 80, _MINUTE,
            "a relay's spool is over 80 % full; at 100 % it acknowledges nothing", periods=3,
        ),
        "rolled-back": Alarm(
            "rolled-back", ours("RolledBack"), 0, _MINUTE,
            "the cut-over went back to parallel",
        ),
    }  # fmt: skip
    for function in FUNCTIONS:
        listed[f"{function}-errors"] = Alarm(
            "function-errors", of_function("Errors", function), 0, _MINUTE, f"the function {function} failed"
        )
        listed[f"{function}-throttles"] = Alarm(
            "function-throttles", of_function("Throttles", function), 0, _MINUTE,
            f"the function {function} was throttled", periods=3,
        )  # fmt: skip
    for burn, (factor, windows) in _BURNS.items():
        for window, period_s in windows.items():
            listed[f"slo-{burn}-{window}"] = Alarm(
                "slo-burn", ours("StoredLate", "Average"), factor * _BUDGET, period_s,
                f"over {factor * _BUDGET:.2%} of verified events were not stored within 1 s in {window}", tells=False,
            )  # fmt: skip
    return listed


_BUDGET = 0.001
"""99.9 % of verified events are in the table within 1 s. Loss has no budget: any is an alarm."""

_BURNS = {
    # The share of the budget that is burnt so fast, and over which two windows.
    # https://sre.google/workbook/alerting-on-slos/#6-multiwindow-multi-burn-rate-alerts
    "fast": (14.4, {"1h": _HOUR, "5m": 5 * _MINUTE}),
    "slow": (6.0, {"6h": 6 * _HOUR, "30m": 30 * _MINUTE}),
}


def make_alarms(names: Names, data: DataOutputs, options: pulumi.ResourceOptions) -> None:
    """Make every alarm; those that tell do so through the alerts topic, when it begins and when it is over."""
    made = {name: _metric_alarm(names, name, alarm, data, options) for name, alarm in alarms(names).items()}
    for burn, (factor, windows) in _BURNS.items():
        name = f"slo-{burn}-burn"
        parts = [made[f"slo-{burn}-{window}"].arn for window in windows]
        rule = pulumi.Output.all(*parts).apply(lambda arns: " AND ".join(f'ALARM("{arn}")' for arn in arns))
        aws.cloudwatch.CompositeAlarm(
            name,
            alarm_name=names.of(name),
            alarm_description=_description("slo-burn", f"the error budget is burnt {factor:g} times too fast"),
            alarm_rule=rule,
            alarm_actions=[data.alerts_topic_arn],
            ok_actions=[data.alerts_topic_arn],
            opts=options,
        )


def _metric_alarm(
    names: Names, name: str, alarm: Alarm, data: DataOutputs, options: pulumi.ResourceOptions
) -> aws.cloudwatch.MetricAlarm:
    actions: list[Any] = [data.alerts_topic_arn] if alarm.tells else []
    return aws.cloudwatch.MetricAlarm(
        name,
        name=names.of(name),
        alarm_description=_description(alarm.page, alarm.says),
        namespace=alarm.metric.namespace,
        metric_name=alarm.metric.name,
        dimensions=alarm.metric.dimensions,
        statistic=alarm.metric.statistic,
        period=alarm.period_s,
        evaluation_periods=alarm.periods,
        datapoints_to_alarm=alarm.periods,
        threshold=alarm.threshold,
        comparison_operator=alarm.comparison,
        treat_missing_data=alarm.missing,
        alarm_actions=actions,
        ok_actions=actions,
        opts=options,
    )


def _description(page: str, says: str) -> str:
    base = pulumi.Config().get("runbooks") or RUNBOOKS
    return f"{says[0].upper()}{says[1:]}. What to do: {base}/{page}.md"


def _queue(name: str) -> Any:
    def metric(metric_name: str) -> Metric:
        return Metric("AWS/SQS", metric_name, {"QueueName": name}, "Maximum")

    return metric
