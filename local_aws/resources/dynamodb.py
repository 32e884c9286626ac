"""aws:dynamodb/table:Table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_aws.resources.base import Handler, Properties, retag, tag_list

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class Table(Handler):
    """A table with global secondary indexes, without streams or replicas."""

    token = "aws:dynamodb/table:Table"  # noqa: S105
    inputs = frozenset(
        {
            "name", "billingMode", "hashKey", "rangeKey", "attributes", "globalSecondaryIndexes",
            "serverSideEncryption", "pointInTimeRecovery", "ttl", "deletionProtectionEnabled",
        }
    )  # fmt: skip
    # Indexes can be changed in place on AWS, one at a time; no local table is worth that much code.
    replace_on = frozenset({"name", "hashKey", "rangeKey", "attributes", "globalSecondaryIndexes"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.dynamodb.create_table(
            TableName=inputs["name"],
            BillingMode=inputs["billingMode"],
            KeySchema=[
                {"AttributeName": inputs["hashKey"], "KeyType": "HASH"},
                {"AttributeName": inputs["rangeKey"], "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": each["name"], "AttributeType": each["type"]} for each in inputs["attributes"]
            ],
            GlobalSecondaryIndexes=[_index(each) for each in inputs.get("globalSecondaryIndexes", [])],
            SSESpecification={"Enabled": inputs.get("serverSideEncryption", {}).get("enabled", False)},
            DeletionProtectionEnabled=inputs.get("deletionProtectionEnabled", False),
            Tags=tag_list(inputs["tagsAll"]),
        )
        cloud.dynamodb.get_waiter("table_exists").wait(
            TableName=inputs["name"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
        self._settle(cloud, {}, inputs)

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        table = cloud.dynamodb.describe_table(TableName=resource_id)["Table"]
        return {"arn": table["TableArn"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        changes: dict[str, Any] = {}
        if old.get("billingMode") != new["billingMode"]:
            changes["BillingMode"] = new["billingMode"]
        if old.get("deletionProtectionEnabled") != new.get("deletionProtectionEnabled"):
            changes["DeletionProtectionEnabled"] = new.get("deletionProtectionEnabled", False)
        if old.get("serverSideEncryption") != new.get("serverSideEncryption"):
            changes["SSESpecification"] = {"Enabled": new.get("serverSideEncryption", {}).get("enabled", False)}
        if changes:
            cloud.dynamodb.update_table(TableName=resource_id, **changes)
        arn = cloud.dynamodb.describe_table(TableName=resource_id)["Table"]["TableArn"]
        retag(
            old,
            new,
            lambda tags: cloud.dynamodb.tag_resource(ResourceArn=arn, Tags=tag_list(tags)),
            lambda keys: cloud.dynamodb.untag_resource(ResourceArn=arn, TagKeys=keys),
        )
        self._settle(cloud, old, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.dynamodb.delete_table(TableName=resource_id)
        cloud.dynamodb.get_waiter("table_not_exists").wait(
            TableName=resource_id, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )

    @staticmethod
    def _settle(cloud: Cloud, old: Properties, new: Properties) -> None:
        """What AWS takes in calls of its own."""
        if old.get("pointInTimeRecovery") != new.get("pointInTimeRecovery"):
            cloud.dynamodb.update_continuous_backups(
                TableName=new["name"],
                PointInTimeRecoverySpecification={
                    "PointInTimeRecoveryEnabled": new.get("pointInTimeRecovery", {}).get("enabled", False)
                },
            )
        if old.get("ttl") != new.get("ttl"):
            ttl = new.get("ttl") or old["ttl"]
            cloud.dynamodb.update_time_to_live(
                TableName=new["name"],
                TimeToLiveSpecification={
                    "AttributeName": ttl["attributeName"],
                    "Enabled": new.get("ttl", {}).get("enabled", False),
                },
            )


def _index(index: Properties) -> Any:
    return {
        "IndexName": index["name"],
        "KeySchema": [
            {"AttributeName": key["attributeName"], "KeyType": key["keyType"]} for key in index["keySchemas"]
        ],
        "Projection": {
            "ProjectionType": index["projectionType"],
            "NonKeyAttributes": index["nonKeyAttributes"],
        },
    }
