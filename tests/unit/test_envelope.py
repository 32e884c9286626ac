"""The buffer's message: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.envelope import UnreadableEnvelopeError, decode, encode
from payments.routing import Mode, Routing
from providers.base import Signature
from providers.verified import VerifiedDelivery, own_headers

NOW = datetime.now(UTC)
DELIVERY = VerifiedDelivery(
    provider="stripe",
    headers={"stripe-signature": "t=1,v1=00", "x-note": "é"},
    body=b"\xff\x00 not text",
    received_at=NOW,
    routing=Routing(Mode.CANARY, 500, "salt", 7),
    trace="trace",
    verified_at=NOW,
    signatures=Signature("stripe-v1", "k"),
)


@pytest.mark.parametrize(
    "delivery",
    [
        DELIVERY,
        DELIVERY._replace(routing=None, trace=""),
        DELIVERY._replace(signatures=[Signature("adyen-hmac", "k"), None]),
    ],
)
def test_it_comes_back_as_it_was(delivery: VerifiedDelivery) -> None:
    assert decode(encode(delivery)) == delivery


def test_the_largest_body_fits_into_a_message() -> None:
    """SQS takes 1 MiB; the webhook takes 350 KB compressed."""
    assert len(encode(DELIVERY._replace(body=secrets.token_bytes(350 * 1024))).encode()) < 1024 * 1024


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"v": None}, {"provider": None, "headers": []}, {"body": "%"}, {"body": base64.b64encode(b"x").decode()},
        {"body": base64.b64encode(zlib.compress(b"another")).decode()}, {"received_at": "soon"}, {"routing": "x"},
        {"verification": {}}, {"verification": None},
    ],
)  # fmt: skip
def test_another_message_is_no_envelope(change: dict[str, Any]) -> None:
    message = {**json.loads(encode(DELIVERY)), **change}
    with pytest.raises(UnreadableEnvelopeError):
        decode(json.dumps(message))


@given(message=st.text())
def test_arbitrary_text_is_no_envelope(message: str) -> None:
    with pytest.raises(UnreadableEnvelopeError):
        decode(message)


def test_the_transports_headers_stay_behind() -> None:
    """Neither IAM's authorization nor the relay's headers are kept with an event."""
    sent = {"authorization": "AWS4-HMAC-SHA256 secret", "x-envmig-attestation": "v1", "x-forwarded-for": "1",
            "x-amzn-trace-id": "r", "cookie": "c", "webhook-id": "msg_1"}  # fmt: skip
    assert own_headers(sent) == {"webhook-id": "msg_1"}
