"""Every permission in the system: what each role may do, exact actions on exact ARNs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pulumi

from envmig_stacks.contract import DataOutputs
from envmig_stacks.naming import FUNCTIONS, Arns

Statement = Mapping[str, Any]

_CONSUME = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]


class Grants(NamedTuple):
    """The grants of one environment's roles."""

    arns: Arns
    data: DataOutputs
    secret_arn: pulumi.Output[str]

    def of(self, holder: str) -> list[Statement]:
        """The statements of a role's policy, by who holds the role."""
        statements: list[Statement] = getattr(self, f"_{holder}")()
        return statements

    def _webhook(self) -> list[Statement]:
        return [
            self._read_api_keys(),
            self._write_events(),
            _allow("Buffer", ["sqs:SendMessage"], self.data.buffer_arn),
            *self._run("webhook"),
        ]

    def _drain(self) -> list[Statement]:
        return [
            _allow("Drain", _CONSUME, self.data.buffer_arn),
            _allow("DeadLetters", ["sqs:SendMessage"], self.data.dead_letters_arn),
            self._write_events(),
            *self._run("drain"),
        ]

    def _validate(self) -> list[Statement]:
        return [
            self._query(),
            self._write_items_of("VAL#*"),
            *self._run("validate"),
        ]

    def _relay(self) -> list[Statement]:
        webhook = self.arns.function("webhook")
        return [
            # Since October 2025 a function URL needs both grants.
            # https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
            _allow(
                "CallUrl",
                ["lambda:InvokeFunctionUrl"],
                webhook,
                {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}},
            ),
            _allow(
                "CallFunctionThroughUrl",
                ["lambda:InvokeFunction"],
                webhook,
                {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
            ),
            _allow("FindUrl", ["lambda:GetFunctionUrlConfig"], webhook),
            self._put_figures(),
            self._read_api_keys(),
        ]

    def _reader(self) -> list[Statement]:
        groups = [self.arns.log_group(function) for function in FUNCTIONS]
        # A group's ARN is written with and without a star at its end; which of them an action asks for differs.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
        starred = [pulumi.Output.concat(group, ":*") for group in groups]
        return [
            self._query(),
            _allow("ReadLogs", ["logs:FilterLogEvents"], [*groups, *starred]),
            # X-Ray and CloudWatch's metrics know no resource for these; a dashboard has one, and holds no secret.
            _allow("ReadTraces", ["xray:GetTraceSummaries", "xray:BatchGetTraces"], "*"),
            _allow(
                "ReadMetrics", ["cloudwatch:GetDashboard", "cloudwatch:GetMetricData", "cloudwatch:ListMetrics"], "*"
            ),
        ]

    def _operator(self) -> list[Statement]:
        return [
            self._query(),
            # Openings and rebuilt states; events come through the drain alone.
            self._write_items_of("PAY#*"),
            # Reconciliation reads everything: states and openings from the table, events from the index by day.
            _allow(
                "Reconcile",
                ["dynamodb:Scan"],
                pulumi.Output.all(self.data.table_arn, self.data.table_indexes).apply(
                    lambda found: [found[0], f"{found[0]}/index/{found[1]['by_day']}"]
                ),
            ),
            _allow("Waiting", ["sqs:GetQueueAttributes"], self.data.buffer_arn),
            self._put_figures(),
            _allow("DeadLetters", _CONSUME, self.data.dead_letters_arn),
            _allow("Replay", ["lambda:InvokeFunction"], self.arns.function("drain")),
        ]

    @staticmethod
    def _put_figures() -> Statement:
        # CloudWatch knows no resource for this, but the namespace, which every PutMetricData has.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/iam-cw-condition-keys-namespace.html
        condition = {"StringEqualsIfExists": {"cloudwatch:namespace": "Envmig"}}
        return _allow("PutFigures", ["cloudwatch:PutMetricData"], "*", condition)

    def _read_api_keys(self) -> Statement:
        return _allow("ApiKeys", ["secretsmanager:GetSecretValue"], self.secret_arn)

    def _write_events(self) -> Statement:
        # TransactWriteItems is no IAM action. The key is an array, so plain StringEquals would deny.
        # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
        return _allow(
            "WriteInTransactions",
            ["dynamodb:PutItem", "dynamodb:UpdateItem"],
            self.data.table_arn,
            {"ForAnyValue:StringEquals": {"dynamodb:EnclosingOperation": ["TransactWriteItems"]}},
        )

    def _write_items_of(self, partition_keys: str) -> Statement:
        return _allow(
            "WriteOwnItems",
            ["dynamodb:PutItem", "dynamodb:UpdateItem"],
            self.data.table_arn,
            # As AWS documents it; every PutItem and UpdateItem has a leading key.
            # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
            {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [partition_keys]}},
        )

    def _query(self) -> Statement:
        indexes = self.data.table_indexes.apply(lambda names: sorted(names.values()))
        resources = pulumi.Output.all(self.data.table_arn, indexes).apply(
            lambda found: [found[0], *(f"{found[0]}/index/{index}" for index in found[1])]
        )
        return _allow("Query", ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"], resources)

    def _run(self, function: str) -> list[Statement]:
        """Logs to the function's own, declared group, and traces. Without CreateLogGroup on purpose:

        logs in flight would bring the group back after a destroy, without its retention.
        """
        return [
            _allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], self.arns.log_streams(function)),
            # X-Ray knows no resource for these: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
            _allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
        ]


def _allow(sid: str, actions: list[str], resources: Any, condition: Mapping[str, Any] | None = None) -> Statement:
    statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement
