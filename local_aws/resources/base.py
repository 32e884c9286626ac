"""What a resource handler is: one class a resource type, the same for the local engine and for a provider plugin."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from botocore.exceptions import ClientError

from local_aws.errors import UnknownPropertyError
from local_aws.values import concealed, has_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local_aws.cloud import Cloud

Properties = dict[str, Any]


class Difference(NamedTuple):
    """How a program's wish differs from what is there: the changed inputs, and those that need a new resource."""

    changed: tuple[str, ...]
    replaces: tuple[str, ...]


class Handler(ABC):
    """Creates, reads, updates and deletes the resources of one type.

    Inputs and outputs have the names of the AWS provider's schema, in camel case. Every resource here has a
    fixed name, so a replacement deletes the old one first.
    """

    token: ClassVar[str]
    """The type as Pulumi writes it, such as aws:sqs/queue:Queue."""

    inputs: ClassVar[frozenset[str]]
    """The inputs the handler knows; any other stops the deployment."""

    replace_on: ClassVar[frozenset[str]] = frozenset({"name"})
    """The inputs that cannot be changed in place."""

    attached: ClassVar[bool] = False
    """Whether it is a part of another resource, which has some value of it from the start."""

    tagged: ClassVar[bool] = False
    """Whether the type takes tags; the handler finds all of them in tagsAll."""

    def check(self, cloud: Cloud, name: str, inputs: Properties) -> Properties:
        """Complete the inputs, or raise UnknownPropertyError."""
        known = self.inputs | ({"tags", "tagsAll"} if self.tagged else frozenset())
        if unknown := sorted(inputs.keys() - known):
            raise UnknownPropertyError(self.token, name, unknown)
        if self.tagged:
            return {**inputs, "tagsAll": {**cloud.default_tags, **inputs.get("tags", {})}}
        return inputs

    def diff(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
        """Compare the inputs of the last deployment with the new ones."""
        changed = tuple(
            name
            for name in sorted(old.keys() | new.keys())
            if has_unknown(new.get(name)) or concealed(old.get(name)) != concealed(new.get(name))
        )
        return Difference(changed, tuple(name for name in changed if name in self.replace_on))

    @abstractmethod
    def identify(self, cloud: Cloud, inputs: Properties) -> str:
        """The id that the resource of these inputs has or will have."""

    @abstractmethod
    def create(self, cloud: Cloud, inputs: Properties) -> None:
        """Make the resource."""

    def read(self, cloud: Cloud, resource_id: str) -> Properties | None:
        """What AWS adds to the inputs (ARNs, URLs, unique ids), or None when the resource is not there."""
        try:
            return self.describe(cloud, resource_id)
        except ClientError as error:
            if _absent(error):
                return None
            raise

    def remove(self, cloud: Cloud, resource_id: str) -> None:
        """Delete the resource; that it is already gone is fine."""
        try:
            self.delete(cloud, resource_id)
        except ClientError as error:
            if not _absent(error):
                raise

    @abstractmethod
    def describe(self, cloud: Cloud, resource_id: str) -> Properties | None:
        """Read the resource; None, or AWS's own error, says that it is not there."""

    @abstractmethod
    def update(self, cloud: Cloud, resource_id: str, old: Properties, new: Properties) -> None:
        """Change the resource in place."""

    @abstractmethod
    def delete(self, cloud: Cloud, resource_id: str) -> None:
        """Delete the resource; AWS's own error says that it is already gone."""


def _absent(error: ClientError) -> bool:
    return any(word in error.response["Error"]["Code"] for word in ("NotFound", "NoSuchEntity", "NonExistent"))


def enforceable(cloud: Cloud, policy: str) -> str:
    """A resource's policy in the form in which the emulator enforces what AWS would.

    It has no TLS, so that the rule against its absence would shut everyone out; and to it the principal of a
    role's session is the session, where to AWS it is the role.
    """
    document = json.loads(policy)
    statements = document["Statement"]
    if cloud.endpoint.startswith("http://"):
        tls_only = {"Bool": {"aws:SecureTransport": "false"}}
        statements = [each for each in statements if each.get("Condition") != tls_only]
    for statement in statements:
        role = statement.get("Condition", {}).pop("ArnNotEquals", {}).get("aws:PrincipalArn")
        if role:
            session = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/*"
            statement["Condition"]["ArnNotLike"] = {"aws:PrincipalArn": [role, session]}
    return json.dumps({**document, "Statement": statements})


def tag_list(tags: Mapping[str, str]) -> list[Any]:
    """Tags in the form that most of AWS takes."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def retag(
    old: Properties,
    new: Properties,
    tag: Callable[[dict[str, str]], object],
    untag: Callable[[list[str]], object],
) -> None:
    """Set the new tags and take away those no longer wanted."""
    before, after = old.get("tagsAll", {}), new["tagsAll"]
    if gone := sorted(before.keys() - after.keys()):
        untag(gone)
    if before != after:
        tag(after)
