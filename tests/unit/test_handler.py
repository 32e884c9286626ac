"""The function's entry point under arbitrary requests and broken keys: a clear answer each, never an exception."""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import providers
from migration.samples import sample
from migration.signing import new_settings, sign
from payments import attestation
from tests.unit.context import Context
from tests.unit.fake_aws import FakeAws

KEYS = {
    **{name: new_settings(name) for name in providers.NAMES},
    "relay": {"keys": [{"id": "k", "secret": "relay"}]},
}


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    with FakeAws() as running:
        running.secret = json.dumps(KEYS)
        yield running


@pytest.fixture
def webhook(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The handler's module, freshly imported as in a cold start."""
    environment = {
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": aws.endpoint, "TABLE_NAME": "t", "INDEX_SHARDS": "8",
        "API_KEYS_SECRET": "s", "SPOOL_RETENTION_DAYS": "14",
        "BUFFER_URL": "http://queue/buffer", "INGEST_MODE": "direct", "ENVIRONMENT": "test",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop("handlers.webhook", None)
    module = importlib.import_module("handlers.webhook")
    yield module
    for part in (module._webhook._storing._table, module._webhook._api_keys, module._webhook._buffer):
        part._client.close()


def request(provider: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "rawPath": f"/webhooks/{provider}",
        "requestContext": {"http": {"method": "POST"}},
        "headers": headers,
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def signed(provider: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    sent = sample(provider, now)
    made = sign(provider, sent.body, KEYS[provider], now)
    return request(provider, made.body, {**sent.headers, **made.headers})


@pytest.mark.parametrize("provider", providers.NAMES)
def test_a_signed_webhook_is_stored(webhook: Any, provider: str) -> None:
    answer = webhook.handler(signed(provider), Context)
    assert (answer["statusCode"], json.loads(answer["body"])["outcome"]) == (200, "stored")


@pytest.mark.parametrize(
    "keys",
    [None, "", "[]", '{"stripe": []}', '{"stripe": {"keys": {}}}', '{"stripe": {"keys": [1]}}',
     '{"relay": 7}', '{"relay": {"keys": [{}]}}'],
)  # fmt: skip
def test_keys_that_cannot_be_used_are_our_fault_and_acknowledge_nothing(
    webhook: Any, aws: FakeAws, keys: str | None
) -> None:
    aws.secret = keys
    event = signed("stripe")
    event["headers"][attestation.ATTESTATION] = "v1,k,00"
    answer = webhook.handler(event, Context)
    assert answer["statusCode"] == 503
    assert answer["headers"]["retry-after"]
    assert "TransactWriteItems" not in aws.calls


def test_a_provider_without_keys_is_refused(webhook: Any, aws: FakeAws) -> None:
    aws.secret = "{}"
    assert webhook.handler(signed("stripe"), Context)["statusCode"] == 401


_TEXT = st.text(max_size=40)
_NAMES = st.sampled_from(
    ["stripe-signature", "webhook-id", "webhook-timestamp", "webhook-signature", attestation.ATTESTATION,
     attestation.RECEIVED_AT, attestation.ROUTING, attestation.TRACE, attestation.AUTHORIZATION, "Authorization"]
)  # fmt: skip


@given(
    path=st.sampled_from([*(f"/webhooks/{name}" for name in providers.NAMES), "/", "/webhooks/"]) | _TEXT,
    method=st.sampled_from(["POST", "GET", ""]),
    headers=st.dictionaries(_NAMES, _TEXT | st.sampled_from(["v1,k,00", "v1,k,", "t=1,v1=00"])),
    body=st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()),
    encoded=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # one handler for all examples, as on AWS
def test_any_request_has_an_answer(
    webhook: Any, *, path: str, method: str, headers: dict[str, str], body: str, encoded: bool
) -> None:
    event = {
        "rawPath": path,
        "requestContext": {"http": {"method": method}},
        "headers": headers,
        "body": body,
        "isBase64Encoded": encoded,
    }
    answer = webhook.handler(event, Context)
    assert answer["statusCode"] in (400, 401, 404, 405)
    assert json.loads(answer["body"])["detail"]
