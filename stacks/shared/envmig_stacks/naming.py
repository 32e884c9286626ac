"""Names and ARNs of every resource, so that a layer can name what another one makes later.

The convention is envmig-{service}-{environmentSuffix}.
"""

from __future__ import annotations

from typing import NamedTuple

import pulumi

FUNCTIONS = ("webhook", "drain", "validate")
"""The Lambda functions, each with a role and a log group of its own."""

CALLERS = ("relay", "reader", "operator")
"""The roles that people and the relay assume."""


class Names(NamedTuple):
    """The names of one environment's resources."""

    suffix: str

    def of(self, service: str) -> str:
        """envmig-{service}-{environmentSuffix}."""
        return f"envmig-{service}-{self.suffix}"

    @property
    def table(self) -> str:
        return self.of("transactions")

    @property
    def buffer(self) -> str:
        return self.of("buffer")

    @property
    def dead_letters(self) -> str:
        return self.of("dead-letters")

    @property
    def alerts(self) -> str:
        return self.of("alerts")

    @property
    def api_keys(self) -> str:
        return self.of("apikeys")

    def function(self, function: str) -> str:
        return self.of(function)

    def role(self, holder: str) -> str:
        return self.of(f"{holder}-role")

    def log_group(self, function: str) -> str:
        return f"/aws/lambda/{self.function(function)}"


class Arns(NamedTuple):
    """ARNs that follow from the names, for what a policy must name before it exists."""

    names: Names
    account: pulumi.Output[str]
    region: str

    def role(self, holder: str) -> pulumi.Output[str]:
        return pulumi.Output.concat("arn:aws:iam::", self.account, ":role/", self.names.role(holder))

    def function(self, function: str) -> pulumi.Output[str]:
        name = self.names.function(function)
        return pulumi.Output.concat("arn:aws:lambda:", self.region, ":", self.account, ":function:", name)

    def log_group(self, function: str) -> pulumi.Output[str]:
        group = self.names.log_group(function)
        return pulumi.Output.concat("arn:aws:logs:", self.region, ":", self.account, ":log-group:", group)

    def log_streams(self, function: str) -> pulumi.Output[str]:
        """Every stream of one log group: AWS names streams itself, so the last part cannot be exact."""
        group = self.names.log_group(function)
        return pulumi.Output.concat(
            "arn:aws:logs:", self.region, ":", self.account, ":log-group:", group, ":log-stream:*"
        )

    def account_root(self) -> pulumi.Output[str]:
        """The principal that stands for everyone in the account whom an identity policy allows."""
        return pulumi.Output.concat("arn:aws:iam::", self.account, ":root")
