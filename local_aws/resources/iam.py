"""aws:iam/role:Role and its inline policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_aws.resources.base import Handler, Properties, retag, tag_list

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class Role(Handler):
    """A role."""

    token = "aws:iam/role:Role"  # noqa: S105
    inputs = frozenset({"name", "description", "assumeRolePolicy", "forceDetachPolicies", "maxSessionDuration"})
    tagged = True

    def check(self, cloud: Cloud, name: str, inputs: Properties) -> Properties:
        # The SDK leaves these to the provider, which has AWS's own defaults.
        defaults = {"forceDetachPolicies": False, "maxSessionDuration": 3600}
        return super().check(cloud, name, {**defaults, **inputs})

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.iam.create_role(
            RoleName=inputs["name"],
            Description=inputs.get("description", ""),
            AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
            MaxSessionDuration=inputs["maxSessionDuration"],
            Tags=tag_list(inputs["tagsAll"]),
        )

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        role = cloud.iam.get_role(RoleName=resource_id)["Role"]
        return {"arn": role["Arn"], "uniqueId": role["RoleId"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        cloud.iam.update_role(
            RoleName=resource_id,
            Description=new.get("description", ""),
            MaxSessionDuration=new["maxSessionDuration"],
        )
        cloud.iam.update_assume_role_policy(RoleName=resource_id, PolicyDocument=new["assumeRolePolicy"])
        retag(
            old,
            new,
            lambda tags: cloud.iam.tag_role(RoleName=resource_id, Tags=tag_list(tags)),
            lambda keys: cloud.iam.untag_role(RoleName=resource_id, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        for policy in cloud.iam.list_role_policies(RoleName=resource_id)["PolicyNames"]:
            cloud.iam.delete_role_policy(RoleName=resource_id, PolicyName=policy)
        cloud.iam.delete_role(RoleName=resource_id)


class RolePolicy(Handler):
    """What a role may do."""

    token = "aws:iam/rolePolicy:RolePolicy"  # noqa: S105
    inputs = frozenset({"name", "role", "policy"})
    replace_on = frozenset({"name", "role"})

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"{inputs['role']}:{inputs['name']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.iam.put_role_policy(RoleName=inputs["role"], PolicyName=inputs["name"], PolicyDocument=inputs["policy"])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        role, policy = resource_id.split(":")
        cloud.iam.get_role_policy(RoleName=role, PolicyName=policy)
        return {}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        self.create(cloud, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        role, policy = resource_id.split(":")
        cloud.iam.delete_role_policy(RoleName=role, PolicyName=policy)
