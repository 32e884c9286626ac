"""The webhook with Powertools: tracer, logger, idempotency, parameters; as its documentation puts them together."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from bench.baselines.job import late_writes, verified, writes

tracer = Tracer(service="webhook")
logger = Logger(service="webhook")
dynamodb = boto3.client("dynamodb")
persistence = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"])
config = IdempotencyConfig(event_key_jmespath="id")


@idempotent_function(data_keyword_argument="document", config=config, persistence_store=persistence)
def store(document: dict[str, Any], body: bytes) -> dict[str, Any]:
    try:
        dynamodb.transact_write_items(TransactItems=writes(os.environ["TABLE_NAME"], document, body))
    except dynamodb.exceptions.TransactionCanceledException:
        late = late_writes(os.environ["TABLE_NAME"], document, body)
        dynamodb.transact_write_items(TransactItems=late)
    return {"outcome": "stored"}


@logger.inject_lambda_context
@tracer.capture_lambda_handler
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    config.register_lambda_context(context)
    keys = json.loads(parameters.get_secret(os.environ["API_KEYS_SECRET"], max_age=300))
    document, body = verified(event, keys)
    result = store(document=document, body=body)
    logger.info("delivery", outcome=result["outcome"])
    return {"statusCode": 200, "body": json.dumps(result)}
