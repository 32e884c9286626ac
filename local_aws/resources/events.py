"""aws:cloudwatch/eventRule:EventRule and its target: schedules of EventBridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_aws.resources.base import Handler, Properties, retag, tag_list

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class EventRule(Handler):
    """A rule on a schedule."""

    token = "aws:cloudwatch/eventRule:EventRule"  # noqa: S105
    inputs = frozenset({"name", "description", "scheduleExpression", "state"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.events.put_rule(**_rule(inputs), Tags=tag_list(inputs["tagsAll"]))

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        return {"arn": cloud.events.describe_rule(Name=resource_id)["Arn"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        arn = cloud.events.put_rule(**_rule(new))["RuleArn"]
        retag(
            old,
            new,
            lambda tags: cloud.events.tag_resource(ResourceARN=arn, Tags=tag_list(tags)),
            lambda keys: cloud.events.untag_resource(ResourceARN=arn, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.events.delete_rule(Name=resource_id)


class EventTarget(Handler):
    """What a rule calls."""

    token = "aws:cloudwatch/eventTarget:EventTarget"  # noqa: S105
    inputs = frozenset({"rule", "targetId", "arn"})
    replace_on = frozenset({"rule", "targetId"})
    attached = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"{inputs['rule']}-{inputs['targetId']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.events.put_targets(Rule=inputs["rule"], Targets=[{"Id": inputs["targetId"], "Arn": inputs["arn"]}])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        rule, _, target = resource_id.rpartition("-")
        targets = cloud.events.list_targets_by_rule(Rule=rule)["Targets"]
        return {} if any(each["Id"] == target for each in targets) else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        self.create(cloud, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        rule, _, target = resource_id.rpartition("-")
        cloud.events.remove_targets(Rule=rule, Ids=[target])


def _rule(inputs: Properties) -> dict[str, Any]:
    return {
        "Name": inputs["name"],
        "Description": inputs.get("description", ""),
        "ScheduleExpression": inputs["scheduleExpression"],
        "State": inputs.get("state", "ENABLED"),
    }
