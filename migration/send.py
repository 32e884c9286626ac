"""Sending one webhook as a provider signs it and as the relay passes it on."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

import tenacity
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from migration.signing import Settings, Signed, sign
from payments import attestation
from payments.attestation import AttestationKey
from payments.routing import Mode, Routing

if TYPE_CHECKING:
    from datetime import datetime

    from migration.deployment import Deployment
    from migration.samples import Sent

_TIMEOUT_S = 30
_SERVER_ERROR = 500


class Answer(NamedTuple):
    """What the function URL said."""

    status: int
    body: str


def send(deployment: Deployment, provider: str, sent: Sent, at: datetime) -> Answer:
    """Sign a delivery with the provider's first key, attest it as the relay, and post it SigV4-signed.

    Raises
    ------
    LookupError
        The secret holds no key for the provider or for the relay, or none that can sign.
    """
    keys = _keys(deployment)
    signed = sign(provider, sent.body, _of(keys, provider), at)
    relay = _of(keys, "relay")["keys"][0]
    headers = {
        **sent.headers,
        **signed.headers,
        attestation.RECEIVED_AT: at.isoformat(timespec="milliseconds"),
        attestation.ROUTING: str(Routing(Mode.PARALLEL, 0, "by-hand", 0)),
        attestation.TRACE: secrets.token_hex(8),
    }
    key = AttestationKey(relay["id"], relay["secret"].encode())
    headers[attestation.ATTESTATION] = attestation.attest(headers, signed.body, provider, key)
    return post(deployment, f"/webhooks/{provider}", Signed(signed.body, headers))


def send_patiently(deployment: Deployment, provider: str, sent: Sent, at: datetime) -> Answer:
    """Send, and again while the answer is a 5xx, as a provider does: a function that changes just now gives one."""
    again = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda answer: answer.status >= _SERVER_ERROR),
        stop=tenacity.stop_after_attempt(4),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    answer: Answer = again(send, deployment, provider, sent, at)
    return answer


def post(deployment: Deployment, path: str, message: Signed) -> Answer:
    """Post to the function URL with the relay's credentials."""
    url, host = deployment.url(path)
    request = AWSRequest("POST", url, data=message.body, headers={**message.headers, "host": host})
    SigV4Auth(deployment.credentials("invoker"), "lambda", deployment.region).add_auth(request)
    prepared = request.prepare()
    wire = urllib.request.Request(url, data=message.body, headers=dict(prepared.headers), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(wire, timeout=_TIMEOUT_S) as response:  # noqa: S310
            return Answer(response.status, response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode())


def _keys(deployment: Deployment) -> dict[str, Settings]:
    secret = deployment.output("security", "api_keys_secret_arn")
    value = deployment.client("invoker", "secretsmanager").get_secret_value(SecretId=secret)
    keys: dict[str, Settings] = json.loads(value["SecretString"])
    return keys


def _of(keys: dict[str, Settings], holder: str) -> Settings:
    if not keys.get(holder, {}).get("keys"):
        raise LookupError(f"the secret holds no key for {holder}; it holds keys for {', '.join(sorted(keys))}")
    return keys[holder]
