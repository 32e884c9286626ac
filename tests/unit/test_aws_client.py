"""The small AWS client: its signatures against botocore's, its retries against a server that misbehaves."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import botocore.retries.standard
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from adapters import aws_json
from adapters.aws_json import DYNAMODB, SECRETS_MANAGER, AwsError, Client
from adapters.secrets import ApiKeys
from adapters.sigv4 import Credentials, signed_headers
from providers.errors import KeysUnavailableError
from tests.faulty_proxy import FaultyProxy
from tests.unit.fake_aws import FakeAws

ENVIRONMENT = {"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}


class _At(SigV4Auth):
    """botocore's signer at a given time."""

    def __init__(self, credentials: BotocoreCredentials, at: datetime) -> None:
        super().__init__(credentials, "dynamodb", "eu-central-1")
        self._at = at

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self._at.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)  # type: ignore[attr-defined]
        self._inject_signature_to_request(  # type: ignore[attr-defined]
            request, self.signature(self.string_to_sign(request, self.canonical_request(request)), request)
        )


@pytest.mark.parametrize("token", [None, "session-token"])
def test_signatures_equal_botocores(token: str | None) -> None:
    for _ in range(50):
        body = secrets.token_bytes(secrets.randbelow(300))
        secret = secrets.token_urlsafe(30)
        at = datetime.fromtimestamp(secrets.randbelow(2**31), UTC)
        headers = {
            "host": "dynamodb.eu-central-1.amazonaws.com",
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"DynamoDB_20120810.{secrets.token_hex(4)}",
        }
        ours = signed_headers(
            headers, body, service="dynamodb", region="eu-central-1",
            credentials=Credentials("AKIA", secret, token), at=at,
        )  # fmt: skip
        request = AWSRequest("POST", f"https://{headers['host']}/", headers=dict(headers), data=body)
        _At(BotocoreCredentials("AKIA", secret, token), at).add_auth(request)
        assert ours["authorization"] == request.headers["Authorization"]


def test_credentials_never_show_their_secret() -> None:
    assert "hush" not in repr(Credentials("AKIA", "hush", "hush"))


def test_everything_that_botocore_calls_throttling_is_retryable_here() -> None:
    """All but codes of services that the Lambda does not call."""
    theirs = set(botocore.retries.standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES)  # type: ignore[attr-defined]
    theirs |= set(botocore.retries.standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES)  # type: ignore[attr-defined]
    elsewhere = {"BandwidthLimitExceeded", "SlowDown", "PriorRequestNotComplete", "EC2ThrottledException"}
    assert theirs - elsewhere <= aws_json._RETRYABLE


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    with FakeAws() as running:
        yield running


@pytest.fixture
def proxy(aws: FakeAws) -> Iterator[FaultyProxy]:
    with FaultyProxy(aws.endpoint) as running:
        yield running


@pytest.fixture
def client(proxy: FaultyProxy) -> Iterator[Client]:
    made = Client(DYNAMODB, {**ENVIRONMENT, "AWS_ENDPOINT_URL": proxy.endpoint})
    yield made
    made.close()


def soon(seconds: float = 3) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize("fault", ["throttle", "internal", "cut", "lost"])
def test_what_passes_is_tried_again(client: Client, proxy: FaultyProxy, fault: str) -> None:
    client.call("Warm", {}, soon())
    proxy.plan.extend([fault, fault, fault])
    assert client.call("Echo", {"a": 1}, soon()) == {"operation": "Echo", "payload": {"a": 1}}


def test_what_does_not_pass_is_told_at_once(client: Client, proxy: FaultyProxy) -> None:
    proxy.plan.append("validation")
    with pytest.raises(AwsError) as refusal:
        client.call("Echo", {}, soon())
    assert refusal.value.code == "ValidationException"
    assert not refusal.value.retryable
    assert len(proxy.calls) == 1


def test_retries_end_at_the_deadline(client: Client, proxy: FaultyProxy) -> None:
    proxy.plan.extend(["throttle"] * 10_000)
    # Ten thousand attempts would take many minutes: that it ends at all is the deadline's doing.
    with pytest.raises(AwsError):
        client.call("Echo", {}, soon(0.5))
    assert proxy.plan


def test_a_connection_is_kept_for_many_calls(client: Client, aws: FakeAws) -> None:
    direct = Client(DYNAMODB, {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.endpoint})
    for _ in range(5):
        direct.call("Echo", {}, soon())
    direct.close()
    assert aws.connections == 1


def test_a_connection_that_aws_closed_meanwhile_costs_no_retry(aws: FakeAws) -> None:
    direct = Client(DYNAMODB, {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.endpoint})
    direct.call("Echo", {}, soon())
    aws.hang_up()
    assert direct.call("Echo", {}, soon(0.04))["operation"] == "Echo"
    direct.close()


def test_nothing_listening_is_an_error_with_a_reason() -> None:
    dead = Client(DYNAMODB, {**ENVIRONMENT, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    with pytest.raises(AwsError, match="ConnectionRefused"):
        dead.call("Echo", {}, soon(1))


def test_the_endpoint_of_a_service_goes_before_that_of_all() -> None:
    environment = {
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": "http://all:1",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://one:2",
    }
    assert Client(DYNAMODB, environment)._url.netloc == "one:2"
    assert Client(SECRETS_MANAGER, environment)._url.netloc == "all:1"
    assert Client(SECRETS_MANAGER, ENVIRONMENT)._url.geturl() == "https://secretsmanager.eu-central-1.amazonaws.com"


class TestApiKeys:
    @pytest.fixture
    def keys(self, aws: FakeAws) -> Iterator[ApiKeys]:
        made = Client(SECRETS_MANAGER, {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.endpoint})
        yield ApiKeys(made, "secret")
        made.close()

    def test_they_are_fetched_once_while_they_are_fresh(self, keys: ApiKeys, aws: FakeAws) -> None:
        aws.secret = '{"a": 1}'
        assert keys.current(0, soon()) == keys.current(299, soon()) == {"a": 1}
        assert aws.calls == ["GetSecretValue"]

    def test_they_are_fetched_again_when_they_are_old(self, keys: ApiKeys, aws: FakeAws) -> None:
        aws.secret = '{"a": 1}'
        keys.current(0, soon())
        aws.secret = '{"a": 2}'
        assert keys.current(301, soon()) == {"a": 2}

    def test_cached_ones_serve_an_hour_while_secrets_manager_is_down(self, keys: ApiKeys, aws: FakeAws) -> None:
        aws.secret = '{"a": 1}'
        keys.current(0, soon())
        aws.secret = None
        assert keys.current(400, soon()) == {"a": 1}
        assert keys.current(3600, soon()) == {"a": 1}
        with pytest.raises(KeysUnavailableError):
            keys.current(3700, soon())

    def test_a_mismatch_fetches_again_at_a_bounded_rate(self, keys: ApiKeys, aws: FakeAws) -> None:
        aws.secret = '{"a": 1}'
        keys.current(0, soon())
        aws.secret = '{"a": 2}'
        assert keys.newer(5, soon()) is None
        assert keys.newer(11, soon()) == {"a": 2}
        for second in range(12, 21):
            assert keys.newer(second, soon()) is None
        assert len(aws.calls) == 2

    @pytest.mark.parametrize("text", ["", "[]", "{", '"x"'])
    def test_a_secret_that_is_no_object_is_unavailable(self, keys: ApiKeys, aws: FakeAws, text: str) -> None:
        aws.secret = text
        with pytest.raises(KeysUnavailableError):
            keys.current(0, soon())
