"""The table of payment events and states, and the indexes that answer its queries without a scan."""

import pulumi
import pulumi_aws as aws

from envmig_stacks.naming import Names

_Key = aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs

INDEX_NAMES = {
    "by_payment": "by-payment",
    "by_merchant": "by-merchant",
    "by_day": "by-day",
    "by_status": "by-status",
}

_EVENT_FIELDS = [
    "entity", "provider", "account", "event_id", "type", "kind", "payment", "occurred_at", "received_at",
    "digest", "movement", "owner",
]  # fmt: skip
"""What an event's indexes carry beside their keys: the canonical fields, never the body."""

_KEYS = {
    # index: (partition key, sort key, what it projects)
    "by_payment": ("payment_key", "version", _EVENT_FIELDS),
    "by_merchant": ("merchant_month", "version", _EVENT_FIELDS),
    "by_day": ("provider_day", "received_sort", [*_EVENT_FIELDS, "version", "body_sha256"]),
    "by_status": ("status_shard", "version", ["entity", "provider", "account", "payment", "status"]),
}


def transactions_table(names: Names, options: pulumi.ResourceOptions) -> aws.dynamodb.Table:
    """Make the table: on demand, encrypted, restorable to any second, and destroyable."""
    keys = {"PK", "SK"} | {key for hash_key, range_key, _ in _KEYS.values() for key in (hash_key, range_key)}
    return aws.dynamodb.Table(
        "transactions",
        name=names.table,
        billing_mode="PAY_PER_REQUEST",
        hash_key="PK",
        range_key="SK",
        attributes=[aws.dynamodb.TableAttributeArgs(name=key, type="S") for key in sorted(keys)],
        global_secondary_indexes=[
            aws.dynamodb.TableGlobalSecondaryIndexArgs(
                name=INDEX_NAMES[index],
                key_schemas=[
                    _Key(attribute_name=hash_key, key_type="HASH"),
                    _Key(attribute_name=range_key, key_type="RANGE"),
                ],
                projection_type="INCLUDE",
                non_key_attributes=projected,
            )
            for index, (hash_key, range_key, projected) in _KEYS.items()
        ],
        server_side_encryption={"enabled": True},
        point_in_time_recovery={"enabled": True},
        ttl={"attribute_name": "expires_at", "enabled": True},
        deletion_protection_enabled=False,
        opts=options,
    )
