"""The secret that holds the providers' keys. Its value is never in code, in outputs or in Pulumi's state."""

import pulumi
import pulumi_aws as aws

from envmig_stacks.naming import Names


def api_keys_secret(names: Names, options: pulumi.ResourceOptions) -> aws.secretsmanager.Secret:
    """Make the secret without a value; the deploy script puts one through the API.

    Without a recovery window the name is free again at once, so that destroy and deploy work back to back.
    """
    return aws.secretsmanager.Secret(
        "apikeys",
        name=names.api_keys,
        description="Webhook signing keys of the payment providers and of the relay",
        recovery_window_in_days=0,
        opts=options,
    )
