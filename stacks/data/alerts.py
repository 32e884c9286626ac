"""The topic that tells people what went wrong."""

import pulumi
import pulumi_aws as aws

from envmig_stacks.errors import InvalidSettingError
from envmig_stacks.naming import Arns, Names


def alerts_topic(names: Names, arns: Arns, options: pulumi.ResourceOptions) -> aws.sns.Topic:
    """Make the topic. Its policy replaces SNS's own, so it must let the account's alarms publish.

    The topic is not encrypted with the AWS-managed key, because alarms cannot use that key, and its messages
    hold no payment data.
    """
    topic = aws.sns.Topic("alerts", name=names.alerts, opts=options)
    aws.sns.TopicPolicy(
        "alerts-policy",
        arn=topic.arn,
        policy=pulumi.Output.json_dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "TlsOnly",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "sns:Publish",
                        "Resource": topic.arn,
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    },
                    {
                        "Sid": "AlarmsOfThisAccount",
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudwatch.amazonaws.com"},
                        "Action": "sns:Publish",
                        "Resource": topic.arn,
                        "Condition": {"StringEquals": {"aws:SourceAccount": arns.account}},
                    },
                ],
            }
        ),
        opts=options,
    )
    for place, subscription in enumerate(_subscriptions()):
        aws.sns.TopicSubscription(
            f"alerts-subscription-{place}",
            topic=topic.arn,
            protocol=subscription["protocol"],
            endpoint=subscription["endpoint"],
            opts=options,
        )
    return topic


def _subscriptions() -> list[dict[str, str]]:
    """Who is told, from the setting `alertSubscriptions`: a list of protocol (email, https, sqs) and endpoint."""
    listed = pulumi.Config().get_object("alertSubscriptions") or []
    for each in listed if isinstance(listed, list) else [listed]:
        if (
            not isinstance(each, dict)
            or each.keys() != {"protocol", "endpoint"}
            or each["protocol"] not in _PROTOCOLS
        ):
            expected = f"a list of objects with protocol (one of {', '.join(_PROTOCOLS)}) and endpoint"
            raise InvalidSettingError("alertSubscriptions", each, expected)
    return list(listed)


_PROTOCOLS = ("email", "https", "sqs")
