"""The webhook with boto3 and nothing else."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3

from bench.baselines.job import late_writes, verified, writes

dynamodb = boto3.client("dynamodb")
secretsmanager = boto3.client("secretsmanager")
_keys: dict[str, Any] = {}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if not _keys:
        secret = secretsmanager.get_secret_value(SecretId=os.environ["API_KEYS_SECRET"])
        _keys.update(json.loads(secret["SecretString"]))
    document, body = verified(event, _keys)
    try:
        dynamodb.transact_write_items(TransactItems=writes(os.environ["TABLE_NAME"], document, body))
        outcome = "stored"
    except dynamodb.exceptions.TransactionCanceledException as error:
        reasons = [reason["Code"] for reason in error.response["CancellationReasons"]]
        if reasons[0] == "ConditionalCheckFailed":
            outcome = "duplicate"
        else:
            late = late_writes(os.environ["TABLE_NAME"], document, body)
            dynamodb.transact_write_items(TransactItems=late)
            outcome = "stored"
    print(json.dumps({"message": "delivery", "outcome": outcome}))
    return {"statusCode": 200, "body": json.dumps({"outcome": outcome})}
