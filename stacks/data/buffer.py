"""The queue that takes verified events when the table cannot, and the queue for what can never be stored."""

from typing import Any

import pulumi
import pulumi_aws as aws

from envmig_stacks.naming import Arns, Names

_DAY_S = 24 * 60 * 60
_LARGEST_MESSAGE = 1024 * 1024
"""Bytes: the most that SQS takes. The provider's default of 256 KiB would refuse bodies that the table takes."""

_DRAIN_TIMEOUT_S = 60
_VISIBILITY_S = 6 * _DRAIN_TIMEOUT_S
"""Six times the drain's time-out, as AWS asks for with batches.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

_MOST_RECEIVES = 500
"""The drain hides what an outage keeps from being stored for up to 15 minutes at a time: five days of that.

What cannot be stored for its own sake it sends to the dead letters itself, at once and with the reason.
"""


def dead_letter_queue(names: Names, options: pulumi.ResourceOptions) -> aws.sqs.Queue:
    """Make the last horizon: 14 days, longer than the buffer, since the clock of the first enqueue runs on."""
    return _queue("dead-letters", options, name=names.dead_letters, retention_s=14 * _DAY_S)


def buffer_queue(
    names: Names, arns: Arns, dead_letters: aws.sqs.Queue, options: pulumi.ResourceOptions
) -> aws.sqs.Queue:
    """Make the buffer. What is in it counts as verified, so the webhook's role alone may put it there."""
    only_the_webhook: dict[str, Any] = {
        "Sid": "OnlyTheWebhookSends",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:SendMessage",
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": arns.role("webhook")}},
    }
    redrive = pulumi.Output.json_dumps({"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": _MOST_RECEIVES})
    queue = _queue(
        "buffer",
        options,
        name=names.buffer,
        retention_s=7 * _DAY_S,
        redrive=redrive,
        statements=[only_the_webhook],
    )
    aws.sqs.RedriveAllowPolicy(
        "dead-letters-source",
        queue_url=dead_letters.url,
        redrive_allow_policy=pulumi.Output.json_dumps(
            {"redrivePermission": "byQueue", "sourceQueueArns": [queue.arn]}
        ),
        opts=options,
    )
    return queue


def _queue(
    resource: str,
    options: pulumi.ResourceOptions,
    *,
    name: str,
    retention_s: int,
    redrive: pulumi.Output[str] | None = None,
    statements: list[dict[str, Any]] | None = None,
) -> aws.sqs.Queue:
    queue = aws.sqs.Queue(
        resource,
        name=name,
        sqs_managed_sse_enabled=True,
        message_retention_seconds=retention_s,
        visibility_timeout_seconds=_VISIBILITY_S,
        max_message_size=_LARGEST_MESSAGE,
        redrive_policy=redrive,
        opts=options,
    )
    tls_only: dict[str, Any] = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    aws.sqs.QueuePolicy(
        f"{resource}-policy",
        queue_url=queue.url,
        policy=pulumi.Output.json_dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{**statement, "Resource": queue.arn} for statement in (tls_only, *(statements or []))],
            }
        ),
        opts=options,
    )
    return queue
