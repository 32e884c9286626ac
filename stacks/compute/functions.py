"""The Lambda functions, each with its log group, and the URL that the relay calls."""

import pulumi
import pulumi_aws as aws
from package import lambda_package

from envmig_stacks import settings
from envmig_stacks.contract import DataOutputs, SecurityOutputs
from envmig_stacks.naming import Names

_RETENTION_DAYS = 7
_TIMEOUT_S = 10


def log_group(names: Names, function: str, options: pulumi.ResourceOptions) -> aws.cloudwatch.LogGroup:
    """Make a function's log group, so that it has its retention from the first line on."""
    return aws.cloudwatch.LogGroup(
        f"{function}-logs",
        name=names.log_group(function),
        retention_in_days=_RETENTION_DAYS,
        skip_destroy=False,
        opts=options,
    )


def webhook_function(
    names: Names,
    data: DataOutputs,
    security: SecurityOutputs,
    logs: aws.cloudwatch.LogGroup,
    options: pulumi.ResourceOptions,
) -> aws.lambda_.Function:
    """Make the function that takes webhooks."""
    return aws.lambda_.Function(
        "webhook",
        name=names.function("webhook"),
        description="Verifies payment webhooks and stores each event with its payment's state",
        role=security.role_arns["webhook"],
        runtime=aws.lambda_.Runtime.PYTHON3D13,
        architectures=["arm64"],
        handler="handlers.webhook.handler",
        code=lambda_package(),
        memory_size=settings.whole_number("webhookMemoryMb", 512, low=128, high=10240),
        timeout=_TIMEOUT_S,
        tracing_config={"mode": "Active"},
        logging_config={"log_format": "JSON", "log_group": logs.name},
        environment={
            "variables": {
                "TABLE_NAME": data.table_name,
                "INDEX_SHARDS": data.index_shards.apply(lambda shards: str(int(shards))),
                "API_KEYS_SECRET": security.api_keys_secret_arn,
                "SPOOL_RETENTION_DAYS": str(settings.whole_number("spoolRetentionDays", 14, low=1, high=90)),
                # A role made anew under its old name breaks the grant on the key that encrypts these variables,
                # and its ARN shows no difference. Its unique id does.
                "ROLE_ID": security.role_ids["webhook"],
            }
        },
        opts=options,
    )


def webhook_url(function: aws.lambda_.Function, options: pulumi.ResourceOptions) -> aws.lambda_.FunctionUrl:
    """Make the URL. Who may call it stands in the relay role's policy, which survives the role's being remade."""
    return aws.lambda_.FunctionUrl(
        "webhook-url",
        function_name=function.name,
        authorization_type="AWS_IAM",
        invoke_mode="BUFFERED",
        opts=options,
    )
