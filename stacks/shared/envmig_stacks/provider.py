"""The AWS provider of a layer: explicit, with the region and the tags that every resource carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

if TYPE_CHECKING:
    from envmig_stacks.settings import Settings


def explicit(settings: Settings) -> tuple[pulumi.ResourceOptions, pulumi.InvokeOptions]:
    """Make the provider, and the options by which resources and look-ups use it."""
    provider = aws.Provider(
        "aws",
        region=settings.region,
        default_tags=aws.ProviderDefaultTagsArgs(tags=settings.tags),
    )
    return pulumi.ResourceOptions(provider=provider), pulumi.InvokeOptions(provider=provider)
