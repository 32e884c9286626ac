"""What the emulator holds after a deploy: the handlers carried out what the programs declare."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.client import System

TAGS = {"Environment": "e2e", "MigrationPhase": "testing"}


def as_dict(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_every_taggable_resource_carries_both_tags(system: System) -> None:
    data = system.deployment.outputs["data"]
    security, compute = system.deployment.outputs["security"], system.deployment.outputs["compute"]
    root = system.root
    found = [
        as_dict(root("dynamodb").list_tags_of_resource(ResourceArn=data["table_arn"])["Tags"]),
        root("sqs").list_queue_tags(QueueUrl=data["buffer_url"])["Tags"],
        root("sqs").list_queue_tags(QueueUrl=data["dead_letters_url"])["Tags"],
        as_dict(root("sns").list_tags_for_resource(ResourceArn=data["alerts_topic_arn"])["Tags"]),
        as_dict(root("secretsmanager").describe_secret(SecretId=security["api_keys_secret_arn"])["Tags"]),
        *(
            as_dict(root("iam").list_role_tags(RoleName=arn.rpartition("/")[2])["Tags"])
            for arn in security["role_arns"].values()
        ),
        root("logs").list_tags_log_group(logGroupName="/aws/lambda/envmig-webhook-e2e")["tags"],
        root("lambda").list_tags(Resource=compute["webhook_function_arn"])["Tags"],
    ]
    assert found == [TAGS] * 13


def test_the_table_is_on_demand_restorable_and_expiring(system: System) -> None:
    client, name = system.root("dynamodb"), system.deployment.output("data", "table_name")
    table = client.describe_table(TableName=name)["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {
        "by-payment", "by-merchant", "by-day", "by-status",
    }  # fmt: skip
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "expires_at")


def test_the_function_is_as_required(system: System) -> None:
    function = system.root("lambda").get_function_configuration(FunctionName="envmig-webhook-e2e")
    assert function["MemorySize"] == 512
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["Architectures"] == ["arm64"]
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert function["LoggingConfig"]["LogGroup"] == "/aws/lambda/envmig-webhook-e2e"
    url = system.root("lambda").get_function_url_config(FunctionName="envmig-webhook-e2e")
    assert url["AuthType"] == "AWS_IAM"


def test_the_log_group_keeps_seven_days(system: System) -> None:
    groups = system.root("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/envmig-webhook-e2e")["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [7]


def test_the_dead_letters_take_what_the_buffer_gives_up(system: System) -> None:
    data = system.deployment.outputs["data"]
    attributes = system.root("sqs").get_queue_attributes(QueueUrl=data["buffer_url"], AttributeNames=["All"])
    redrive = json.loads(attributes["Attributes"]["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == data["dead_letters_arn"]
    assert attributes["Attributes"]["MessageRetentionPeriod"] == str(7 * 24 * 3600)


def test_the_state_of_the_engine_holds_no_key(system: System) -> None:
    text = "".join(path.read_text() for path in (Path(os.environ["ENVMIG_LOCAL_DIR"]) / "stacks").rglob("*.json"))
    assert "envmig-transactions-e2e" in text
    for holder in ("stripe", "adyen", "standard", "relay"):
        assert system.secret(holder) not in text
