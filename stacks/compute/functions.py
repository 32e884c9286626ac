"""The Lambda functions, each with its log group; the URL that the relay calls, the queue that the drain empties."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws
from package import ARCHITECTURE, lambda_package

from envmig_stacks import settings
from envmig_stacks.contract import DataOutputs, SecurityOutputs
from envmig_stacks.naming import Names

_RETENTION_DAYS = 7
_WEBHOOK_TIMEOUT_S = 10
_DRAIN_TIMEOUT_S = 60
"""A sixth of the buffer's visibility timeout, as AWS asks for; see the data layer's buffer.py."""

_VALIDATE_TIMEOUT_S = 300
_BATCH = 10


class Functions:
    """What the functions of one environment have in common."""

    def __init__(
        self, names: Names, data: DataOutputs, security: SecurityOutputs, options: pulumi.ResourceOptions
    ) -> None:
        self._names = names
        self._data = data
        self._security = security
        self._options = options

    def webhook(self) -> aws.lambda_.Function:
        """Make the function that takes webhooks."""
        mode = settings.one_of("ingestMode", ("direct", "buffered"))
        return self._function(
            "webhook",
            "Verifies payment webhooks and stores each event with its payment's state",
            lambda_package(libraries=True),
            memory_mb=settings.whole_number("webhookMemoryMb", 512, low=128, high=10240),
            timeout_s=_WEBHOOK_TIMEOUT_S,
            variables={
                "API_KEYS_SECRET": self._security.api_keys_secret_arn,
                "BUFFER_URL": self._data.buffer_url,
                "INGEST_MODE": mode,
                "SPOOL_RETENTION_DAYS": str(settings.whole_number("spoolRetentionDays", 14, low=1, high=90)),
            },
        )

    def url(self, function: aws.lambda_.Function) -> aws.lambda_.FunctionUrl:
        """Make the URL. Who may call it stands in the relay role's policy, which survives the role's being remade."""
        return aws.lambda_.FunctionUrl(
            "webhook-url",
            function_name=function.name,
            authorization_type="AWS_IAM",
            invoke_mode="BUFFERED",
            opts=self._options,
        )

    def drain(self) -> aws.lambda_.Function:
        """Make the function that stores what waits in the buffer."""
        return self._function(
            "drain",
            "Stores the events that wait in the buffer, and those replayed from the dead letters",
            lambda_package(),
            memory_mb=512,
            timeout_s=_DRAIN_TIMEOUT_S,
            variables={
                "BUFFER_URL": self._data.buffer_url,
                "DEAD_LETTERS_URL": self._data.dead_letters_url,
            },
        )

    def drain_source(self, function: aws.lambda_.Function) -> aws.lambda_.EventSourceMapping:
        """Have the drain take the buffer's messages, each stored or kept on its own."""
        at_once = settings.whole_number("drainMaximumConcurrency", 10, low=2, high=1000)
        return aws.lambda_.EventSourceMapping(
            "drain-source",
            event_source_arn=self._data.buffer_arn,
            function_name=function.arn,
            batch_size=_BATCH,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config={"maximum_concurrency": at_once},
            opts=self._options,
        )

    def validate(self) -> aws.lambda_.Function:
        """Make the function that checks what came in."""
        return self._function(
            "validate",
            "Checks on a schedule that events, bodies and states add up",
            lambda_package(),
            memory_mb=512,
            timeout_s=_VALIDATE_TIMEOUT_S,
            variables={},
        )

    def validate_schedule(self, function: aws.lambda_.Function) -> None:
        """Have the validation run every so often."""
        every = settings.whole_number("validateEveryMinutes", 60, low=5, high=720)
        rule = aws.cloudwatch.EventRule(
            "validate-schedule",
            name=self._names.of("validate-schedule"),
            description="When the stored events are checked",
            schedule_expression=f"rate({every} minutes)",
            opts=self._options,
        )
        aws.lambda_.Permission(
            "validate-schedule-permission",
            function=function.name,
            statement_id="Schedule",
            action="lambda:InvokeFunction",
            principal="events.amazonaws.com",
            source_arn=rule.arn,
            opts=self._options,
        )
        aws.cloudwatch.EventTarget(
            "validate-schedule-target", rule=rule.name, target_id="validate", arn=function.arn, opts=self._options
        )

    def _function(
        self,
        function: str,
        description: str,
        code: pulumi.AssetArchive,
        *,
        memory_mb: int,
        timeout_s: int,
        variables: Mapping[str, Any],
    ) -> aws.lambda_.Function:
        logs = aws.cloudwatch.LogGroup(
            f"{function}-logs",
            # Declared, so that it has its retention from the first line on.
            name=self._names.log_group(function),
            retention_in_days=_RETENTION_DAYS,
            skip_destroy=False,
            opts=self._options,
        )
        return aws.lambda_.Function(
            function,
            name=self._names.function(function),
            description=description,
            role=self._security.role_arns[function],
            runtime=aws.lambda_.Runtime.PYTHON3D13,
            architectures=[ARCHITECTURE],
            handler=f"handlers.{function}.handler",
            code=code,
            memory_size=memory_mb,
            timeout=timeout_s,
            tracing_config={"mode": "Active"},
            logging_config={"log_format": "JSON", "log_group": logs.name},
            environment={
                "variables": {
                    **variables,
                    "ENVIRONMENT": self._names.suffix,
                    "TABLE_NAME": self._data.table_name,
                    "INDEX_SHARDS": self._data.index_shards.apply(lambda shards: str(int(shards))),
                    # A role made anew under its old name breaks the grant on the key that encrypts these variables,
                    # and its ARN shows no difference. Its unique id does.
                    "ROLE_ID": self._security.role_ids[function],
                }
            },
            opts=self._options,
        )
