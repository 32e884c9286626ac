"""Each role, tried on the emulator: what it must be able to do, and what it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.client import System


class Role:
    """Clients with the rights of one role."""

    def __init__(self, system: System, holder: str) -> None:
        arn = system.deployment.output("security", "role_arns")[holder]
        granted = system.root("sts").assume_role(RoleArn=arn, RoleSessionName="try")["Credentials"]
        self._endpoint = system.deployment.outputs["local"]["endpoint"]
        self._session = boto3.Session(
            granted["AccessKeyId"],
            granted["SecretAccessKey"],
            granted["SessionToken"],
            region_name="us-east-1",
        )

    def __call__(self, service: Any) -> Any:
        return self._session.client(service, endpoint_url=self._endpoint)


def denied(call: Callable[[], object]) -> bool:
    with pytest.raises(ClientError) as refusal:
        call()
    return "AccessDenied" in refusal.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def table(system: System) -> str:
    return str(system.deployment.output("data", "table_name"))


ITEM = {"PK": {"S": "EVT#rights"}, "SK": {"S": "EVENT"}}


@pytest.fixture(scope="module")
def role(system: System) -> Role:
    return Role(system, "webhook")


class TestWebhookRole:
    def test_it_writes_in_transactions(self, role: Role, table: str) -> None:
        role("dynamodb").transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": ITEM}}])

    def test_it_reads_its_one_secret(self, role: Role, system: System) -> None:
        secret = system.deployment.output("security", "api_keys_secret_arn")
        assert role("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]

    def test_it_sends_to_the_buffer(self, role: Role, system: System) -> None:
        url = system.deployment.output("data", "buffer_url")
        role("sqs").send_message(QueueUrl=url, MessageBody="tried")
        system.root("sqs").purge_queue(QueueUrl=url)

    def test_it_never_reads_the_table(self, role: Role, table: str) -> None:
        client = role("dynamodb")
        assert denied(lambda: client.scan(TableName=table))
        assert denied(lambda: client.get_item(TableName=table, Key=ITEM))
        query = {"KeyConditionExpression": "PK = :k", "ExpressionAttributeValues": {":k": {"S": "x"}}}
        assert denied(lambda: client.query(TableName=table, **query))

    def test_it_writes_only_in_transactions_and_deletes_nothing(self, role: Role, table: str) -> None:
        client = role("dynamodb")
        assert denied(lambda: client.put_item(TableName=table, Item=ITEM))
        assert denied(lambda: client.delete_item(TableName=table, Key=ITEM))
        assert denied(
            lambda: client.transact_write_items(TransactItems=[{"Delete": {"TableName": table, "Key": ITEM}}])
        )
        assert denied(lambda: client.delete_table(TableName=table))

    def test_it_cannot_touch_another_table(self, role: Role, system: System) -> None:
        root = system.root("dynamodb")
        root.create_table(
            TableName="somebody-elses",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
        )
        write = [{"Put": {"TableName": "somebody-elses", "Item": {"PK": {"S": "x"}}}}]
        assert denied(lambda: role("dynamodb").transact_write_items(TransactItems=write))
        root.delete_table(TableName="somebody-elses")

    def test_it_cannot_read_another_secret_or_change_its_own(self, role: Role, system: System) -> None:
        root = system.root("secretsmanager")
        other = root.create_secret(Name="somebody-elses", SecretString="x")["ARN"]
        client = role("secretsmanager")
        assert denied(lambda: client.get_secret_value(SecretId=other))
        own = system.deployment.output("security", "api_keys_secret_arn")
        assert denied(lambda: client.put_secret_value(SecretId=own, SecretString="{}"))
        root.delete_secret(SecretId=other, ForceDeleteWithoutRecovery=True)

    def test_it_makes_no_log_group_and_no_metric(self, role: Role) -> None:
        assert denied(lambda: role("logs").create_log_group(logGroupName="/aws/lambda/other"))
        metric = [{"MetricName": "m", "Value": 1}]
        assert denied(lambda: role("cloudwatch").put_metric_data(Namespace="n", MetricData=metric))


class TestOtherRoles:
    def test_the_reader_reads_and_writes_nothing(self, system: System, table: str) -> None:
        client = Role(system, "reader")("dynamodb")
        client.get_item(TableName=table, Key=ITEM)
        client.query(
            TableName=table,
            IndexName="by-payment",
            KeyConditionExpression="payment_key = :k",
            ExpressionAttributeValues={":k": {"S": "x"}},
        )
        assert denied(lambda: client.put_item(TableName=table, Item=ITEM))
        assert denied(lambda: client.scan(TableName=table))

    def test_the_relay_cannot_touch_the_table(self, system: System, table: str) -> None:
        client = Role(system, "relay")("dynamodb")
        assert denied(lambda: client.get_item(TableName=table, Key=ITEM))
        assert denied(lambda: client.put_item(TableName=table, Item=ITEM))

    def test_the_operator_writes_states_and_deletes_nothing(self, system: System, table: str) -> None:
        """That it writes no events stands in its policy; the emulator knows no dynamodb:LeadingKeys."""
        client = Role(system, "operator")("dynamodb")
        state = {"PK": {"S": "PAY#rights"}, "SK": {"S": "STATE"}}
        client.put_item(TableName=table, Item=state)
        assert denied(lambda: client.delete_item(TableName=table, Key=state))

    def test_only_the_webhook_puts_messages_into_the_buffer(self, system: System) -> None:
        """What is in the buffer counts as verified, so the queue itself refuses even the root user."""
        url = system.deployment.output("data", "buffer_url")
        assert denied(lambda: system.root("sqs").send_message(QueueUrl=url, MessageBody="forged"))
