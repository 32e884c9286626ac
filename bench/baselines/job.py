"""The job, free of any library: verify a Stripe webhook, and the writes of one transaction for its event."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from typing import Any


def verified(event: dict[str, Any], keys: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The webhook's document and raw body, or ValueError."""
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    parts = dict(part.split("=", 1) for part in event["headers"]["stripe-signature"].split(","))
    for key in keys["stripe"]["keys"]:
        tag = hmac.new(key["secret"].encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(tag, parts["v1"]):
            return json.loads(body), body
    raise ValueError("not authentic")


def writes(table: str, document: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """Put the event if it is not there, and lead the payment's state on."""
    charge = document["data"]["object"]
    version = f"{document['created']:015d}#{document['id']}"
    money = {"M": {"minor_units": {"N": str(charge["amount_captured"])}, "currency": {"S": "EUR"}}}
    return [
        {
            "Put": {
                "TableName": table,
                "Item": {
                    "PK": {"S": f"EVT#stripe#{document['id']}"},
                    "SK": {"S": "EVENT"},
                    "type": {"S": document["type"]},
                    "body": {"B": zlib.compress(body)},
                    "body_sha256": {"S": hashlib.sha256(body).hexdigest()},
                },
                "ConditionExpression": "attribute_not_exists(PK)",
            }
        },
        {
            "Update": {
                "TableName": table,
                "Key": {"PK": {"S": f"PAY#stripe#{charge['payment_intent']}"}, "SK": {"S": "STATE"}},
                "UpdateExpression": "SET #v = :v, #s = :s, #m = if_not_exists(#m, :m) ADD event_count :one",
                "ConditionExpression": "attribute_not_exists(#v) OR #v < :v",
                "ExpressionAttributeNames": {"#v": "version", "#s": "status", "#m": f"mov#captured#{charge['id']}"},
                "ExpressionAttributeValues": {
                    ":v": {"S": version},
                    ":s": {"S": "captured"},
                    ":m": money,
                    ":one": {"N": "1"},
                },
            }
        },
    ]


def late_writes(table: str, document: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """The same for an event that comes after a later one: the state keeps its status."""
    put, update = writes(table, document, body)
    values = update["Update"]["ExpressionAttributeValues"]
    movement = update["Update"]["ExpressionAttributeNames"]["#m"]
    del update["Update"]["ConditionExpression"]
    update["Update"] |= {
        "UpdateExpression": "SET #m = if_not_exists(#m, :m) ADD event_count :one",
        "ExpressionAttributeNames": {"#m": movement},
        "ExpressionAttributeValues": {":m": values[":m"], ":one": values[":one"]},
    }
    return [put, update]
