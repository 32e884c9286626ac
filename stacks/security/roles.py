"""A role with one inline policy, and who may assume it."""

from typing import Any

import pulumi
import pulumi_aws as aws
from grants import Statement

from envmig_stacks.naming import Arns, Names


def lambda_service() -> dict[str, Any]:
    """The principal of a function's role."""
    return {"Service": "lambda.amazonaws.com"}


def account_callers(arns: Arns) -> dict[str, Any]:
    """Everyone in the account whom an identity policy allows to assume the role, or who is listed."""
    listed: list[str] = pulumi.Config().get_object("callers") or []
    return {"AWS": listed or arns.account_root()}


def role(
    names: Names,
    holder: str,
    principal: dict[str, Any],
    statements: list[Statement],
    options: pulumi.ResourceOptions,
) -> aws.iam.Role:
    """Make the role of one holder with exactly these grants."""
    made = aws.iam.Role(
        f"{holder}-role",
        name=names.role(holder),
        description=f"What {names.of(holder)} may do",
        assume_role_policy=pulumi.Output.json_dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
            }
        ),
        opts=options,
    )
    aws.iam.RolePolicy(
        f"{holder}-grants",
        name="grants",
        role=made.name,
        policy=pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements}),
        opts=options,
    )
    return made
