"""aws:sns/topic:Topic, its policy and its subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_aws.resources.base import Handler, Properties, enforceable, retag, tag_list

if TYPE_CHECKING:
    from local_aws.cloud import Cloud


class Topic(Handler):
    """A standard topic."""

    token = "aws:sns/topic:Topic"  # noqa: S105
    inputs = frozenset({"name"})
    tagged = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"arn:aws:sns:{cloud.region}:{cloud.account}:{inputs['name']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.sns.create_topic(Name=inputs["name"], Tags=tag_list(inputs["tagsAll"]))

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        cloud.sns.get_topic_attributes(TopicArn=resource_id)
        return {"arn": resource_id}

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        retag(
            old,
            new,
            lambda tags: cloud.sns.tag_resource(ResourceArn=resource_id, Tags=tag_list(tags)),
            lambda keys: cloud.sns.untag_resource(ResourceArn=resource_id, TagKeys=keys),
        )

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        cloud.sns.delete_topic(TopicArn=resource_id)


class TopicPolicy(Handler):
    """Who may use a topic. AWS has no topic without a policy, so deleting it leaves the topic's as it is."""

    token = "aws:sns/topicPolicy:TopicPolicy"  # noqa: S105
    inputs = frozenset({"arn", "policy"})
    replace_on = frozenset({"arn"})
    attached = True

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return str(inputs["arn"])

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.sns.set_topic_attributes(
            TopicArn=inputs["arn"],
            AttributeName="Policy",
            AttributeValue=enforceable(cloud, inputs["policy"]),
        )

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        attributes = cloud.sns.get_topic_attributes(TopicArn=resource_id)["Attributes"]
        return {} if attributes.get("Policy") else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        self.create(cloud, new)

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        pass


class TopicSubscription(Handler):
    """Who is told what is published."""

    token = "aws:sns/topicSubscription:TopicSubscription"  # noqa: S105
    inputs = frozenset({"topic", "protocol", "endpoint"})
    replace_on = frozenset({"topic", "protocol", "endpoint"})

    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        return f"{inputs['topic']} {inputs['protocol']} {inputs['endpoint']}"

    def create(self, cloud: Cloud, inputs: Properties) -> None:
        cloud.sns.subscribe(TopicArn=inputs["topic"], Protocol=inputs["protocol"], Endpoint=inputs["endpoint"])

    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        arn = self._find(cloud, resource_id)
        return {"arn": arn} if arn else None

    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        """Every input makes another subscription."""

    def delete(self, cloud: Cloud, resource_id: str) -> None:
        if arn := self._find(cloud, resource_id):
            cloud.sns.unsubscribe(SubscriptionArn=arn)

    @staticmethod
    def _find(cloud: Cloud, resource_id: str) -> str | None:
        topic, protocol, endpoint = resource_id.split(" ", 2)
        for page in cloud.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic):
            for each in page["Subscriptions"]:
                if (each["Protocol"], each["Endpoint"]) == (protocol, endpoint):
                    return str(each["SubscriptionArn"])
        return None
