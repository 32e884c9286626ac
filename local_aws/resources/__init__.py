"""The resource types that the stacks use, each with its handler; and the one look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_aws.errors import UnknownFunctionError, UnknownResourceTypeError
from local_aws.resources import cloudwatch, dynamodb, events, iam, lambda_, logs, secretsmanager, sns, sqs

if TYPE_CHECKING:
    from local_aws.cloud import Cloud
    from local_aws.resources.base import Handler

_HANDLERS: dict[str, Handler] = {
    handler.token: handler
    for handler in (
        dynamodb.Table(),
        sqs.Queue(),
        sqs.QueuePolicy(),
        sqs.RedriveAllowPolicy(),
        sns.Topic(),
        sns.TopicPolicy(),
        sns.TopicSubscription(),
        secretsmanager.Secret(),
        iam.Role(),
        iam.RolePolicy(),
        logs.LogGroup(),
        lambda_.Function(),
        lambda_.FunctionUrl(),
        lambda_.EventSourceMapping(),
        lambda_.Permission(),
        events.EventRule(),
        events.EventTarget(),
        cloudwatch.MetricAlarm(),
        cloudwatch.CompositeAlarm(),
        cloudwatch.Dashboard(),
    )
}


def handler_of(token: str, name: str) -> Handler:
    """The handler of a resource type, or UnknownResourceTypeError."""
    try:
        return _HANDLERS[token]
    except KeyError:
        raise UnknownResourceTypeError(token, name) from None


def look_up(cloud: Cloud, token: str) -> dict[str, Any]:
    """Answer a function of the AWS provider, or raise UnknownFunctionError."""
    if token == "aws:index/getCallerIdentity:getCallerIdentity":  # noqa: S105
        account = cloud.account
        return {"id": account, "accountId": account, "arn": f"arn:aws:iam::{account}:root", "userId": account}
    raise UnknownFunctionError(token)
