"""aws:cloudwatch/logGroup:LogGroup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_aws.resources.base import Handler, Properties, retag

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class LogGroup(Handler):
    """A log group with a retention."""

    token = "aws:cloudwatch/logGroup:LogGroup"  # noqa: S105
    inputs = frozenset({"name", "retentionInDays", "skipDestroy"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.logs.create_log_group(logGroupName=inputs["name"], tags=inputs["tagsAll"])
        cloud.logs.put_retention_policy(logGroupName=inputs["name"], retentionInDays=inputs["retentionInDays"])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        found = cloud.logs.describe_log_groups(logGroupNamePrefix=resource_id)["logGroups"]
        for group in found:
            if group.get("logGroupName") == resource_id:
                return {"arn": group["arn"].removesuffix(":*")}
        return None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        cloud.logs.put_retention_policy(logGroupName=resource_id, retentionInDays=new["retentionInDays"])
        arn = f"arn:aws:logs:{cloud.region}:{cloud.account}:log-group:{resource_id}"
        retag(
            old,
            new,
            lambda tags: cloud.logs.tag_resource(resourceArn=arn, tags=tags),
            lambda keys: cloud.logs.untag_resource(resourceArn=arn, tagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.logs.delete_log_group(logGroupName=resource_id)
