"""aws:cloudwatch alarms and dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_aws.resources.base import Handler, Properties, retag, tag_list

if TYPE_CHECKING:
    from local_aws.cloud import Cloud

_METRIC_ALARM = {
    "name": "AlarmName",
    "alarmDescription": "AlarmDescription",
    "namespace": "Namespace",
    "metricName": "MetricName",
    "dimensions": "Dimensions",
    "statistic": "Statistic",
    "period": "Period",
    "evaluationPeriods": "EvaluationPeriods",
    "datapointsToAlarm": "DatapointsToAlarm",
    "threshold": "Threshold",
    "comparisonOperator": "ComparisonOperator",
    "treatMissingData": "TreatMissingData",
    "alarmActions": "AlarmActions",
    "okActions": "OKActions",
}

_COMPOSITE_ALARM = {
    "alarmName": "AlarmName",
    "alarmDescription": "AlarmDescription",
    "alarmRule": "AlarmRule",
    "alarmActions": "AlarmActions",
    "okActions": "OKActions",
}


class MetricAlarm(Handler):
    """An alarm on one metric."""

    token = "aws:cloudwatch/metricAlarm:MetricAlarm"  # noqa: S105
    inputs = frozenset(_METRIC_ALARM)
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.cloudwatch.put_metric_alarm(**_metric_alarm(inputs), Tags=tag_list(inputs["tagsAll"]))

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        found = cloud.cloudwatch.describe_alarms(AlarmNames=[resource_id], AlarmTypes=["MetricAlarm"])["MetricAlarms"]
        return {"arn": found[0]["AlarmArn"]} if found else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        cloud.cloudwatch.put_metric_alarm(**_metric_alarm(new))
        _retag(cloud, resource_id, old, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.cloudwatch.delete_alarms(AlarmNames=[resource_id])


class CompositeAlarm(Handler):
    """An alarm on other alarms."""

    token = "aws:cloudwatch/compositeAlarm:CompositeAlarm"  # noqa: S105
    inputs = frozenset(_COMPOSITE_ALARM)
    replace_on = frozenset({"alarmName"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["alarmName"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.cloudwatch.put_composite_alarm(**_named(inputs, _COMPOSITE_ALARM), Tags=tag_list(inputs["tagsAll"]))

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        found = cloud.cloudwatch.describe_alarms(AlarmNames=[resource_id], AlarmTypes=["CompositeAlarm"])
        alarms = found["CompositeAlarms"]
        return {"arn": alarms[0]["AlarmArn"]} if alarms else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        cloud.cloudwatch.put_composite_alarm(**_named(new, _COMPOSITE_ALARM))
        _retag(cloud, resource_id, old, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.cloudwatch.delete_alarms(AlarmNames=[resource_id])


class Dashboard(Handler):
    """A dashboard."""

    token = "aws:cloudwatch/dashboard:Dashboard"  # noqa: S105
    inputs = frozenset({"dashboardName", "dashboardBody"})
    replace_on = frozenset({"dashboardName"})

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["dashboardName"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.cloudwatch.put_dashboard(DashboardName=inputs["dashboardName"], DashboardBody=inputs["dashboardBody"])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        return {"dashboardArn": cloud.cloudwatch.get_dashboard(DashboardName=resource_id)["DashboardArn"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        self.create(cloud, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.cloudwatch.delete_dashboards(DashboardNames=[resource_id])


def _named(inputs: Properties, names: dict[str, str]) -> dict[str, Any]:
    return {aws: inputs[name] for name, aws in names.items() if name in inputs}


def _metric_alarm(inputs: Properties) -> dict[str, Any]:
    request = _named(inputs, _METRIC_ALARM)
    dimensions = request.pop("Dimensions", {})
    return {**request, "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()]}


def _retag(cloud: Cloud, name: str, old: Properties, new: Properties) -> None:
    arn = f"arn:aws:cloudwatch:{cloud.region}:{cloud.account}:alarm:{name}"
    retag(
        old,
        new,
        lambda tags: cloud.cloudwatch.tag_resource(ResourceARN=arn, Tags=tag_list(tags)),
        lambda keys: cloud.cloudwatch.untag_resource(ResourceARN=arn, TagKeys=keys),
    )
