"""Every name, tag, size, retention and grant that is required, as the programs declare it."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT
from tests.stacks.conftest import declared

if TYPE_CHECKING:
    from tests.stacks.conftest import Declared

LAYERS = ["data", "security", "compute"]
FUNCTIONS = ["webhook", "drain", "validate"]
ACCOUNT = "123456789012"


@pytest.mark.parametrize("layer", LAYERS)
class TestEveryLayer:
    def test_the_region_is_us_east_1(self, layer: str) -> None:
        assert declared(layer).provider["region"] == "us-east-1"

    def test_everything_is_tagged(self, layer: str) -> None:
        tags = json.loads(declared(layer).provider["defaultTags"])["tags"]
        assert tags == {"Environment": "prod", "MigrationPhase": "testing"}

    def test_every_resource_uses_the_explicit_provider(self, layer: str) -> None:
        assert {each["provider"].split("::")[-2] for each in declared(layer).resources} == {"aws"}

    def test_names_follow_the_convention_and_hold_the_suffix(self, layer: str) -> None:
        """envmig-{service}-{environment}, for another suffix too, and nothing of one in the other."""
        for stack in ("prod", "blue7"):
            for resource in declared(layer, stack).resources:
                name = resource["inputs"].get("name")
                if name is not None and name != "grants":
                    assert name.removeprefix("/aws/lambda/").startswith("envmig-"), resource
                    assert name.endswith(f"-{stack}"), resource
        assert "prod" not in json.dumps(declared(layer, "blue7").resources).replace("production", "")

    def test_everything_can_be_destroyed(self, layer: str) -> None:
        text = json.dumps(declared(layer).resources)
        assert '"deletionProtectionEnabled": true' not in text
        assert '"skipDestroy": true' not in text
        assert '"protect": true' not in text
        assert "retainOnDelete" not in text

    def test_no_secret_is_in_the_program_or_its_outputs(self, layer: str) -> None:
        text = json.dumps([declared(layer).resources, declared(layer).exports])
        assert "secretString" not in text
        assert "whsec_" not in text


class TestTable:
    def test_it_is_on_demand_encrypted_restorable_and_expiring(self, data: Declared) -> None:
        table = data.one("Table")
        assert table["name"] == "envmig-transactions-prod"
        assert table["billingMode"] == "PAY_PER_REQUEST"
        assert table["serverSideEncryption"] == {"enabled": True}
        assert table["pointInTimeRecovery"] == {"enabled": True}
        assert table["ttl"] == {"attributeName": "expires_at", "enabled": True}
        assert table["deletionProtectionEnabled"] is False

    def test_its_indexes_never_carry_a_body(self, data: Declared) -> None:
        indexes = data.one("Table")["globalSecondaryIndexes"]
        assert {index["name"] for index in indexes} == {"by-payment", "by-merchant", "by-day", "by-status"}
        assert all(index["projectionType"] == "INCLUDE" for index in indexes)
        assert not any("body" in index["nonKeyAttributes"] for index in indexes)

    def test_it_declares_just_the_attributes_that_are_keys(self, data: Declared) -> None:
        table = data.one("Table")
        keys = {table["hashKey"], table["rangeKey"]}
        for index in table["globalSecondaryIndexes"]:
            keys |= {key["attributeName"] for key in index["keySchemas"]}
        assert keys == {attribute["name"] for attribute in table["attributes"]}


class TestQueuesAndTopic:
    def test_the_dead_letters_are_kept_longer_than_the_buffer(self, data: Declared) -> None:
        buffer, dead = data.one("Queue", "buffer"), data.one("Queue", "dead-letters")
        assert (buffer["name"], dead["name"]) == ("envmig-buffer-prod", "envmig-dead-letters-prod")
        assert dead["messageRetentionSeconds"] == 14 * 24 * 3600 > buffer["messageRetentionSeconds"]
        assert buffer["sqsManagedSseEnabled"] and dead["sqsManagedSseEnabled"]
        assert buffer["maxMessageSize"] == 1024 * 1024
        target = json.loads(buffer["redrivePolicy"])["deadLetterTargetArn"]
        assert target.endswith(":envmig-dead-letters-prod")

    def test_only_the_webhook_role_sends_to_the_buffer(self, data: Declared) -> None:
        statements = json.loads(data.one("QueuePolicy", "buffer-policy")["policy"])["Statement"]
        denied = next(each for each in statements if each["Action"] == "sqs:SendMessage")
        assert denied["Effect"] == "Deny"
        role = f"arn:aws:iam::{ACCOUNT}:role/envmig-webhook-role-prod"
        assert denied["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": role}}

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("QueuePolicy", "buffer-policy"),
            ("QueuePolicy", "dead-letters-policy"),
            ("TopicPolicy", "alerts-policy"),
        ],
    )
    def test_transport_is_tls_only(self, data: Declared, kind: str, name: str) -> None:
        statements = json.loads(data.one(kind, name)["policy"])["Statement"]
        tls = [each for each in statements if each.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}]
        assert [(each["Effect"], each["Principal"]) for each in tls] == [("Deny", "*")]

    def test_alarms_of_this_account_may_publish(self, data: Declared) -> None:
        assert data.one("Topic")["name"] == "envmig-alerts-prod"
        statements = json.loads(data.one("TopicPolicy")["policy"])["Statement"]
        allowed = next(each for each in statements if each["Effect"] == "Allow")
        assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def statements(security: Declared, holder: str) -> dict[str, dict[str, Any]]:
    policy = json.loads(security.one("RolePolicy", f"{holder}-grants")["policy"])
    return {statement["Sid"]: statement for statement in policy["Statement"]}


TABLE = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:envmig-transactions-prod"
SECRET = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:envmig-apikeys-prod"
WEBHOOK = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:envmig-webhook-prod"
INDEXES = [f"{TABLE}/index/{name}" for name in ("by-day", "by-merchant", "by-payment", "by-status")]


class TestSecurity:
    def test_the_secret_leaves_at_once(self, security: Declared) -> None:
        secret = security.one("Secret")
        assert secret["name"] == "envmig-apikeys-prod"
        assert secret["recoveryWindowInDays"] == 0

    def test_every_action_of_every_role(self, security: Declared) -> None:
        """The whole of what is granted: a change to it is a change to this list."""
        granted = {
            holder: sorted(action for each in statements(security, holder).values() for action in each["Action"])
            for holder in ("webhook", "drain", "validate", "relay", "reader", "operator")
        }
        run = [
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ]
        query = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
        write = ["dynamodb:PutItem", "dynamodb:UpdateItem"]
        consume = [
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        ]
        assert granted == {
            "webhook": sorted([*write, *run, "secretsmanager:GetSecretValue", "sqs:SendMessage"]),
            "drain": sorted([*write, *run, *consume, "sqs:SendMessage"]),
            "validate": sorted([*query, *write, *run]),
            "relay": [
                "cloudwatch:PutMetricData", "lambda:GetFunctionUrlConfig", "lambda:InvokeFunction", "lambda:InvokeFunctionUrl",
                "secretsmanager:GetSecretValue",
            ],
            "reader": sorted([*query, "logs:FilterLogEvents", "xray:BatchGetTraces", "xray:GetTraceSummaries",
                              "cloudwatch:GetDashboard", "cloudwatch:GetMetricData", "cloudwatch:ListMetrics"]),
            # The buffer's and the dead letters' attributes are two grants of one action.
            "operator": sorted([*query, *write, *consume, "sqs:GetQueueAttributes", "dynamodb:Scan",
                                "cloudwatch:PutMetricData", "lambda:InvokeFunction"]),
        }  # fmt: skip

    def test_nothing_is_granted_on_everything_but_traces_and_metrics(self, security: Declared) -> None:
        for holder in security.every("RolePolicy"):
            for sid, statement in statements(security, holder.removesuffix("-grants")).items():
                resources = statement["Resource"]
                resources = [resources] if isinstance(resources, str) else resources
                for resource in resources:
                    if sid in {"Trace", "ReadTraces", "ReadMetrics", "PutFigures"}:
                        assert resource == "*"
                    elif sid == "ReadLogs":
                        assert resource.removesuffix(":*").endswith("-prod")
                    elif sid == "Log":
                        assert resource.endswith(":log-stream:*")
                        assert resource.count("*") == 1
                    else:
                        assert "*" not in resource
                assert not any("*" in action for action in statement["Action"])

    def test_only_the_operator_reads_the_whole_table(self, security: Declared) -> None:
        assert set(statements(security, "operator")["Reconcile"]["Resource"]) == {TABLE, f"{TABLE}/index/by-day"}

    def test_figures_go_into_our_own_namespace_alone(self, security: Declared) -> None:
        for holder in ("relay", "operator"):
            condition = statements(security, holder)["PutFigures"]["Condition"]
            assert condition == {"StringEqualsIfExists": {"cloudwatch:namespace": "Envmig"}}

    def test_the_webhook_reads_one_secret_and_writes_one_table_in_transactions(self, security: Declared) -> None:
        granted = statements(security, "webhook")
        assert granted["ApiKeys"]["Resource"] == SECRET
        assert granted["WriteInTransactions"]["Resource"] == TABLE
        assert granted["WriteInTransactions"]["Condition"] == {
            "ForAnyValue:StringEquals": {"dynamodb:EnclosingOperation": ["TransactWriteItems"]}
        }

    def test_the_relay_has_both_grants_that_a_function_url_needs(self, security: Declared) -> None:
        granted = statements(security, "relay")
        assert granted["CallUrl"]["Resource"] == granted["CallFunctionThroughUrl"]["Resource"] == WEBHOOK
        assert granted["CallUrl"]["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}
        assert granted["CallFunctionThroughUrl"]["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}

    @pytest.mark.parametrize(("holder", "keys"), [("validate", "VAL#*"), ("operator", "PAY#*")])
    def test_others_write_only_items_of_their_own(self, security: Declared, holder: str, keys: str) -> None:
        condition = statements(security, holder)["WriteOwnItems"]["Condition"]
        assert condition == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}}

    def test_readers_have_the_table_and_its_indexes(self, security: Declared) -> None:
        assert statements(security, "reader")["Query"]["Resource"] == [TABLE, *INDEXES]

    @pytest.mark.parametrize("function", ["webhook", "drain", "validate"])
    def test_a_function_writes_its_own_log_group_and_makes_none(self, security: Declared, function: str) -> None:
        resource = statements(security, function)["Log"]["Resource"]
        group = f"/aws/lambda/envmig-{function}-prod"
        assert resource == f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group}:log-stream:*"

    def test_functions_are_assumed_by_lambda_and_callers_by_the_account(self, security: Declared) -> None:
        for name, role in security.every("Role").items():
            trusted = json.loads(role["assumeRolePolicy"])["Statement"][0]["Principal"]
            is_function = name.removesuffix("-role") in ("webhook", "drain", "validate")
            root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
            assert trusted == ({"Service": "lambda.amazonaws.com"} if is_function else root)


class TestCompute:
    def test_the_webhook(self, compute: Declared) -> None:
        function = compute.every("Function")["webhook"]
        assert function["name"] == "envmig-webhook-prod"
        assert function["memorySize"] == 512
        assert set(function["environment"]["variables"]) == {
            "API_KEYS_SECRET", "BUFFER_URL", "ENVIRONMENT", "INDEX_SHARDS", "INGEST_MODE", "ROLE_ID", "SPOOL_RETENTION_DAYS",
            "TABLE_NAME",
        }  # fmt: skip
        assert function["environment"]["variables"]["INGEST_MODE"] == "direct"

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_every_function(self, compute: Declared, name: str) -> None:
        function = compute.every("Function")[name]
        assert function["tracingConfig"] == {"mode": "Active"}
        assert function["runtime"] == "python3.13"
        assert function["architectures"] == ["arm64"]
        assert function["handler"] == f"handlers.{name}.handler"
        assert function["loggingConfig"] == {"logFormat": "JSON", "logGroup": f"/aws/lambda/envmig-{name}-prod"}
        assert function["role"].endswith(f":envmig-{name}-role-prod")

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_a_function_depends_on_its_roles_unique_id(self, compute: Declared, name: str) -> None:
        variables = compute.every("Function")[name]["environment"]["variables"]
        assert variables["ROLE_ID"] == f"AROA-envmig-{name}-role-prod"

    def test_the_drains_package_holds_our_code_and_nothing_else(self, compute: Declared) -> None:
        files = compute.every("Function")["drain"]["code"]
        assert {file.split("/")[0] for file in files} == {"adapters", "handlers", "payments", "providers"}
        assert {file for file in files if not file.endswith((".py", ".pyc"))} == set()

    def test_the_webhooks_package_adds_the_locked_libraries_for_its_architecture(self, compute: Declared) -> None:
        """And never an AWS SDK."""
        files = set(compute.every("Function")["webhook"]["code"])
        added = {file.split("/")[0] for file in files - set(compute.every("Function")["drain"]["code"])}
        locked = (ROOT / "requirements" / "lambda.txt").read_text()
        distributions = {name.partition("-")[0] for name in added if name.endswith(".dist-info")}
        assert distributions == set(re.findall(r"^([a-z]+)==", locked, re.MULTILINE))
        assert not any("boto" in name for name in added)
        assert "_cffi_backend.cpython-313-aarch64-linux-gnu.so" in added

    def test_its_byte_code_is_the_runtimes(self, compute: Declared) -> None:
        """Another Python's would be ignored, so it is left out."""
        byte_code = [file for file in compute.every("Function")["webhook"]["code"] if file.endswith(".pyc")]
        assert all(".cpython-313." in file for file in byte_code)
        assert bool(byte_code) == (sys.version_info[:2] == (3, 13))

    def test_every_log_group_keeps_seven_days(self, compute: Declared) -> None:
        groups = compute.every("LogGroup").values()
        assert {(group["name"], group["retentionInDays"]) for group in groups} == {
            ("/aws/lambda/envmig-webhook-prod", 7),
            ("/aws/lambda/envmig-drain-prod", 7),
            ("/aws/lambda/envmig-validate-prod", 7),
        }

    def test_the_drain_takes_the_buffers_messages_one_by_one(self, compute: Declared) -> None:
        source = compute.one("EventSourceMapping")
        assert source["eventSourceArn"].endswith(":envmig-buffer-prod")
        assert source["functionResponseTypes"] == ["ReportBatchItemFailures"]
        assert source["scalingConfig"] == {"maximumConcurrency": 10}

    def test_the_validation_runs_on_a_schedule_that_alone_may_call_it(self, compute: Declared) -> None:
        rule = compute.one("EventRule")
        assert (rule["name"], rule["scheduleExpression"]) == ("envmig-validate-schedule-prod", "rate(60 minutes)")
        permission = compute.one("Permission")
        assert permission["principal"] == "events.amazonaws.com"
        assert permission["sourceArn"].endswith("envmig-validate-schedule-prod")
        assert compute.one("EventTarget")["arn"] == permission_target(compute)

    def test_the_buffer_hides_a_message_six_times_as_long_as_the_drain_may_take(
        self, compute: Declared, data: Declared
    ) -> None:
        hidden = data.every("Queue")["buffer"]["visibilityTimeoutSeconds"]
        assert hidden >= 6 * compute.every("Function")["drain"]["timeout"]

    def test_the_url_asks_for_iam(self, compute: Declared) -> None:
        assert compute.one("FunctionUrl")["authorizationType"] == "AWS_IAM"

    def test_it_exports_the_url_and_the_tables_arn(self, compute: Declared) -> None:
        assert compute.exports["function_url"] == "https://abc.lambda-url.us-east-1.on.aws/"
        assert compute.exports["table_arn"] == TABLE


def permission_target(compute: Declared) -> str:
    return f"arn:aws:lambda:us-east-1:{ACCOUNT}:{compute.one('Permission')['function']}"
