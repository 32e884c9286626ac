"""aws:sqs/queue:Queue, and the policies that are attached to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local_aws.resources.base import Handler, Properties, enforceable, retag

if TYPE_CHECKING:
    from local_aws.cloud import Cloud

_QUEUE_ATTRIBUTES = {
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
    "maxMessageSize": "MaximumMessageSize",
    "redrivePolicy": "RedrivePolicy",
}


class Queue(Handler):
    """A standard queue."""

    token = "aws:sqs/queue:Queue"  # noqa: S105
    inputs = frozenset({"name", *_QUEUE_ATTRIBUTES})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"{cloud.endpoint}/{cloud.account}/{inputs['name']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.sqs.create_queue(QueueName=inputs["name"], Attributes=_attributes(inputs), tags=inputs["tagsAll"])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        attributes = _read_attributes(cloud, resource_id, "QueueArn")
        return None if attributes is None else {"url": resource_id, "arn": attributes["QueueArn"]}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        gone = dict.fromkeys(_attributes(old).keys() - _attributes(new).keys(), "")
        cloud.sqs.set_queue_attributes(QueueUrl=resource_id, Attributes={**_attributes(new), **gone})
        retag(
            old,
            new,
            lambda tags: cloud.sqs.tag_queue(QueueUrl=resource_id, Tags=tags),
            lambda keys: cloud.sqs.untag_queue(QueueUrl=resource_id, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.sqs.delete_queue(QueueUrl=resource_id)


class _QueueAttribute(Handler):
    """One attribute of a queue that Pulumi treats as a resource of its own."""

    source: ClassVar[str]
    attribute: ClassVar[Any]
    replace_on = frozenset({"queueUrl"})
    attached = True

    def value(self, cloud: Cloud, wanted: str) -> str:
        return wanted

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["queueUrl"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.sqs.set_queue_attributes(
            QueueUrl=inputs["queueUrl"],
            Attributes={self.attribute: self.value(cloud, inputs[self.source])},
        )

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        attributes = _read_attributes(cloud, resource_id, self.attribute)
        return {} if attributes and attributes.get(self.attribute) else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        self.create(cloud, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.sqs.set_queue_attributes(QueueUrl=resource_id, Attributes={self.attribute: ""})


class QueuePolicy(_QueueAttribute):
    """Who may use a queue."""

    token = "aws:sqs/queuePolicy:QueuePolicy"  # noqa: S105
    inputs = frozenset({"queueUrl", "policy"})
    source, attribute = "policy", "Policy"

    def value(self, cloud: Cloud, wanted: str) -> str:
        return enforceable(cloud, wanted)


class RedriveAllowPolicy(_QueueAttribute):
    """Which queues may send their dead letters to a queue."""

    token = "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy"  # noqa: S105
    inputs = frozenset({"queueUrl", "redriveAllowPolicy"})
    source, attribute = "redriveAllowPolicy", "RedriveAllowPolicy"


def _attributes(inputs: Properties) -> dict[Any, str]:
    return {
        attribute: str(inputs[name]).lower() if isinstance(inputs[name], bool) else str(inputs[name])
        for name, attribute in _QUEUE_ATTRIBUTES.items()
        if name in inputs
    }


def _read_attributes(cloud: Cloud, url: str, attribute: Any) -> dict[Any, str] | None:
    return cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute]).get("Attributes", {})
