"""aws:secretsmanager/secret:Secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_aws.resources.base import Handler, Properties, retag, tag_list

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class Secret(Handler):
    """A secret; its value is put through the API by whoever holds it."""

    token = "aws:secretsmanager/secret:Secret"  # noqa: S105
    inputs = frozenset({"name", "description", "recoveryWindowInDays"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        try:
            return cloud.secretsmanager.describe_secret(SecretId=inputs["name"])["ARN"]
        except cloud.secretsmanager.exceptions.ResourceNotFoundException:
            return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.secretsmanager.create_secret(
            Name=inputs["name"],
            Description=inputs.get("description", ""),
            Tags=tag_list(inputs["tagsAll"]),
        )

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        return {"arn": cloud.secretsmanager.describe_secret(SecretId=resource_id)["ARN"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        cloud.secretsmanager.update_secret(SecretId=resource_id, Description=new.get("description", ""))
        retag(
            old,
            new,
            lambda tags: cloud.secretsmanager.tag_resource(SecretId=resource_id, Tags=tag_list(tags)),
            lambda keys: cloud.secretsmanager.untag_resource(SecretId=resource_id, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.secretsmanager.delete_secret(SecretId=resource_id, ForceDeleteWithoutRecovery=True)
