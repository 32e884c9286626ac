"""Webhooks through the function URL on the emulator, with IAM enforced."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from adapters.envelope import decode
from adapters.items import partition_key
from migration.signing import Signed, sign
from tests.e2e.client import outcome
from tests.provider_events import (
    adyen_item,
    sign_adyen,
    sign_standard,
    sign_stripe,
    standard_event,
    stripe_event,
    stripe_payment_life,
)

if TYPE_CHECKING:
    from tests.e2e.client import System


def delivery(system: System, provider: str, unique: str) -> tuple[bytes, dict[str, str], str]:
    """A delivery signed by the provider's official library, and the partition key of its event."""
    if provider == "stripe":
        body = stripe_payment_life(unique)[0]
        key = partition_key("EVT", "stripe", "-", json.loads(body)["id"])
        return body, sign_stripe(body, system.secret("stripe")), key
    if provider == "adyen":
        body = sign_adyen([adyen_item("CAPTURE", unique.upper(), original=f"P{unique}")], system.secret("adyen"))
        key = partition_key("EVT", "adyen", "ExampleMerchant", f"CAPTURE:{unique.upper()}:true")
        return body, {"content-type": "application/json"}, key
    body = standard_event("payment.captured", {"payment": unique, "movement": "m1", "amount": 1, "currency": "EUR"})
    key = partition_key("EVT", "standard", "-", f"msg_{unique}")
    return body, sign_standard(body, system.secret("standard"), f"msg_{unique}"), key


@pytest.mark.parametrize("provider", ["stripe", "adyen", "standard"])
class TestEachProvider:
    def test_a_signed_webhook_is_stored_and_the_same_again_is_a_duplicate(
        self, system: System, provider: str
    ) -> None:
        body, headers, key = delivery(system, provider, secrets.token_hex(8))
        first, second = (system.post(f"/webhooks/{provider}", body, headers) for _ in range(2))
        assert (first.status, outcome(first)) == (200, "stored")
        assert (second.status, outcome(second)) == (200, "duplicate")
        event = system.items(key)["EVENT"]
        assert event["verification"]["M"]["key_id"] == {"S": "local"}
        state = system.items(event["payment_key"]["S"])["STATE"]
        assert state["status"] == {"S": "captured"}
        assert state["event_count"] == {"N": "1"}

    def test_a_forged_signature_is_refused_and_stores_nothing(self, system: System, provider: str) -> None:
        body, headers, key = delivery(system, provider, secrets.token_hex(8))
        other = {"stripe": "whsec_x", "adyen": "00" * 32, "standard": "whsec_AAAA"}[provider]
        if provider == "stripe":
            headers = sign_stripe(body, other)
        elif provider == "adyen":
            body = sign_adyen(
                [entry["NotificationRequestItem"] for entry in json.loads(body)["notificationItems"]], other
            )
        else:
            headers = sign_standard(body, other, headers["webhook-id"])
        answer = system.post(f"/webhooks/{provider}", body, headers)
        assert answer.status == 401
        assert json.loads(answer.body)["title"] == "Not authentic"
        assert system.items(key) == {}

    def test_a_missing_signature_is_refused_and_stores_nothing(self, system: System, provider: str) -> None:
        body, _, key = delivery(system, provider, secrets.token_hex(8))
        if provider == "adyen":
            document = json.loads(body)
            del document["notificationItems"][0]["NotificationRequestItem"]["additionalData"]
            body = json.dumps(document).encode()
        answer = system.post(f"/webhooks/{provider}", body, {"content-type": "application/json"})
        assert answer.status == 401
        assert system.items(key) == {}

    def test_a_stale_signature_is_refused_and_stores_nothing(self, system: System, provider: str) -> None:
        body, _, key = delivery(system, provider, secrets.token_hex(8))
        if provider == "adyen":
            pytest.skip("Adyen signs no time")
        hour_ago = time.time() - 3600
        headers = (
            sign_stripe(body, system.secret("stripe"), hour_ago)
            if provider == "stripe"
            else sign_standard(body, system.secret("standard"), "msg_old", hour_ago)
        )
        assert system.post(f"/webhooks/{provider}", body, headers).status == 401
        assert system.items(key) == {}

    def test_a_changed_body_is_refused(self, system: System, provider: str) -> None:
        body, headers, key = delivery(system, provider, secrets.token_hex(8))
        changed = body.replace(b"4200", b"4201").replace(b"5000", b"5001").replace(b'"amount": 1', b'"amount": 2')
        assert changed != body
        assert system.post(f"/webhooks/{provider}", changed, headers).status == 401
        assert system.items(key) == {}


class TestCallers:
    """Only the relay's role gets as far as the function. Held for unsigned, wrongly signed and unpermitted calls."""

    def test_an_unsigned_call_is_forbidden(self, system: System) -> None:
        url, host = system.deployment.url("/webhooks/stripe")
        request = Request(url, data=b"{}", headers={"host": host}, method="POST")
        with pytest.raises(Exception, match="403"):
            urlopen(request, timeout=10)

    def test_a_call_signed_with_a_wrong_secret_is_forbidden(self, system: System) -> None:
        invoker = system.deployment.outputs["local"]["invoker"]
        wrong = Credentials(invoker["access_key_id"], "0" * 40, invoker["session_token"])
        with pytest.raises(Exception, match="403"):
            self._call(system, wrong)

    def test_a_caller_without_the_grants_is_forbidden(self, system: System) -> None:
        reader = system.deployment.outputs["local"]["reader"]
        unpermitted = Credentials(reader["access_key_id"], reader["secret_access_key"], reader["session_token"])
        with pytest.raises(Exception, match="403"):
            self._call(system, unpermitted)

    @staticmethod
    def _call(system: System, credentials: Credentials) -> None:
        url, host = system.deployment.url("/webhooks/stripe")
        request = AWSRequest("POST", url, data=b"{}", headers={"host": host})
        SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        urlopen(Request(url, data=b"{}", headers=dict(request.prepare().headers), method="POST"), timeout=10)


def test_curl_can_send_a_webhook(system: System) -> None:
    """The way that the README shows: curl signs by itself."""
    curl = shutil.which("curl")
    assert curl, "curl is not installed"
    body, headers, key = delivery(system, "stripe", secrets.token_hex(8))
    url, host = system.deployment.url("/webhooks/stripe")
    invoker = system.deployment.outputs["local"]["invoker"]
    answer = subprocess.run(
        [
            curl, "--silent", "--aws-sigv4", "aws:amz:us-east-1:lambda",
            "--user", f"{invoker['access_key_id']}:{invoker['secret_access_key']}",
            "--header", f"x-amz-security-token: {invoker['session_token']}",
            "--header", f"host: {host}",
            "--header", f"stripe-signature: {headers['stripe-signature']}",
            "--header", "content-type: application/json",
            "--data-binary", "@-", url,
        ],
        input=body, capture_output=True, check=True, env=dict(os.environ), timeout=30,
    )  # fmt: skip
    assert json.loads(answer.stdout)["outcome"] == "stored", answer
    assert "EVENT" in system.items(key)


class TestBadRequests:
    """A clear answer each, and never a 500."""

    def signed(self, system: System, body: bytes) -> tuple[int, dict[str, str]]:
        answer = system.post("/webhooks/stripe", body, self._headers(system, body))
        problem: dict[str, str] = json.loads(answer.body)
        return answer.status, problem

    @staticmethod
    def _headers(system: System, body: bytes) -> dict[str, str]:
        import hmac

        stamp = int(time.time())
        tag = hmac.new(system.secret("stripe").encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        return {"content-type": "application/octet-stream", "stripe-signature": f"t={stamp},v1={tag}"}

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'{"id": ', "the body is not JSON in UTF-8"),
            (b'{"id": "\xff\xfe"}', "the body is not JSON in UTF-8"),
            (b"[1]", "the body is not a JSON object"),
            (b"[" * 100_000, "the body is nested too deeply"),
            (b'{"type": 7}', "the event's type is not a printable text of 1 to 255 bytes"),
        ],
    )
    def test_what_is_authentic_and_cannot_be_read_is_not_lost(self, system: System, body: bytes, reason: str) -> None:
        """It goes through the buffer to the dead letters, where a person finds it with the reason."""
        status, answer = self.signed(system, body)
        assert (status, answer["outcome"]) == (202, "buffered")
        dead = system.dead_letter_of(hashlib.sha256(body).hexdigest())
        assert dead.reason == reason
        assert decode(dead.body).body == body

    @pytest.mark.parametrize("body", [b'{"id": ', b"[]", b"{}", b'{"notificationItems": []}'])
    def test_what_is_neither_authentic_nor_readable_is_malformed(self, system: System, body: bytes) -> None:
        """Adyen signs inside the body, so that there is nothing to verify in a body that cannot be read."""
        answer = system.post("/webhooks/adyen", body, {"content-type": "application/json"})
        assert answer.status == 400
        assert json.loads(answer.body)["title"] == "Malformed request"

    def test_an_empty_body(self, system: System) -> None:
        answer = system.post("/webhooks/stripe", b"", {})
        assert (answer.status, json.loads(answer.body)["detail"]) == (400, "the body is empty")

    def test_an_unknown_provider(self, system: System) -> None:
        answer = system.post("/webhooks/nobody", b"{}", {})
        assert answer.status == 404
        assert "known are adyen, adyen-platforms, braintree" in answer.body

    def test_an_unknown_path(self, system: System) -> None:
        assert system.post("/", b"{}", {}).status == 404

    def test_a_wrong_method(self, system: System) -> None:
        url, host = system.deployment.url("/webhooks/stripe")
        invoker = system.deployment.outputs["local"]["invoker"]
        request = AWSRequest("PUT", url, data=b"{}", headers={"host": host})
        credentials = Credentials(*(invoker[k] for k in ("access_key_id", "secret_access_key", "session_token")))
        SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        with pytest.raises(Exception, match="405"):
            urlopen(Request(url, data=b"{}", headers=dict(request.prepare().headers), method="PUT"), timeout=10)

    def test_a_body_over_the_limit_is_not_acknowledged(self, system: System) -> None:
        noise = secrets.token_hex(400 * 1024)
        body = stripe_event("charge.succeeded", {"object": "charge", "id": "ch_big", "metadata": {"noise": noise}})
        status, problem = self.signed(system, body)
        assert (status, problem["title"]) == (413, "Body too large")

    def test_a_large_body_under_the_limit_is_stored(self, system: System) -> None:
        noise = secrets.token_hex(300 * 1024)
        body = stripe_event("charge.succeeded", {"object": "charge", "id": "ch_l", "metadata": {"noise": noise}})
        assert self.signed(system, body)[0] == 200


class TestWhatIsKept:
    def test_an_event_of_an_unknown_type_is_kept_with_its_payment_but_moves_nothing(self, system: System) -> None:
        payment = f"pi_{secrets.token_hex(8)}"
        body = stripe_event("payment_intent.levitated", {"object": "payment_intent", "id": payment})
        answer = system.post("/webhooks/stripe", body, sign_stripe(body, system.secret("stripe")))
        assert outcome(answer) == "stored"
        state = system.items(partition_key("PAY", "stripe", "-", payment))["STATE"]
        assert "status" not in state
        assert state["event_count"] == {"N": "1"}

    def test_an_event_about_no_payment_is_kept_without_a_state(self, system: System) -> None:
        event_id = f"evt_{secrets.token_hex(8)}"
        body = stripe_event("payout.paid", {"object": "payout", "id": "po_1"}, event_id=event_id)
        assert outcome(system.post("/webhooks/stripe", body, sign_stripe(body, system.secret("stripe")))) == "stored"
        event = system.items(partition_key("EVT", "stripe", "-", event_id))["EVENT"]
        assert event["kind"] == {"S": "payout"}
        assert "payment_key" not in event

    def test_the_same_id_with_other_content_is_kept_as_evidence_and_never_applied(self, system: System) -> None:
        payment, event_id = secrets.token_hex(8), f"evt_{secrets.token_hex(8)}"
        charge = {"object": "charge", "id": f"ch_{payment}", "captured": True, "currency": "eur"}
        bodies = [
            stripe_event("charge.succeeded", {**charge, "amount_captured": amount}, event_id=event_id)
            for amount in (100, 999, 999)
        ]
        answers = [
            system.post("/webhooks/stripe", body, sign_stripe(body, system.secret("stripe"))) for body in bodies
        ]
        assert [(answer.status, outcome(answer)) for answer in answers] == [
            (200, "stored"), (200, "conflict"), (200, "conflict"),
        ]  # fmt: skip
        found = system.items(partition_key("EVT", "stripe", "-", event_id))
        assert len(found) == 2
        state = system.items(found["EVENT"]["payment_key"]["S"])["STATE"]
        assert state[f"mov#captured#ch_{payment}"]["M"]["minor_units"] == {"N": "100"}
        assert state["event_count"] == {"N": "1"}

    def test_a_resend_in_another_envelope_is_a_plain_duplicate(self, system: System) -> None:
        body = stripe_payment_life(secrets.token_hex(8))[0]
        resent = json.dumps({**json.loads(body), "pending_webhooks": 7, "request": None}).encode()
        answers = [
            system.post("/webhooks/stripe", each, sign_stripe(each, system.secret("stripe")))
            for each in (body, resent)
        ]
        assert [outcome(answer) for answer in answers] == ["stored", "duplicate"]

    def test_every_item_of_a_batch_is_taken_or_refused_on_its_own(self, system: System) -> None:
        unique = secrets.token_hex(8).upper()
        items = [adyen_item("CAPTURE", f"{unique}{place}", original=f"P{unique}") for place in range(3)]
        document = json.loads(sign_adyen(items, system.secret("adyen")))
        document["notificationItems"][1]["NotificationRequestItem"]["amount"]["value"] = 1
        answer = system.post("/webhooks/adyen", json.dumps(document).encode(), {"content-type": "application/json"})
        assert answer.status == 401
        assert "item 2 of 3" in answer.body
        state = system.items(partition_key("PAY", "adyen", "ExampleMerchant", f"P{unique}"))["STATE"]
        assert {name for name in state if name.startswith("mov#")} == {
            f"mov#captured#{unique}0", f"mov#captured#{unique}2",
        }  # fmt: skip

    def test_a_batchs_body_is_kept_once_for_all_its_events(self, system: System) -> None:
        unique = secrets.token_hex(8).upper()
        items = [adyen_item("CAPTURE", f"{unique}{place}", original=f"P{unique}") for place in range(3)]
        body = sign_adyen(items, system.secret("adyen"))
        for expected in ("stored", "duplicate"):
            assert outcome(system.post("/webhooks/adyen", body, {"content-type": "application/json"})) == expected
        kept = system.items(partition_key("BODY", hashlib.sha256(body).hexdigest()))["BODY"]
        assert zlib.decompress(kept["body"]["B"]) == body
        for place in range(3):
            key = partition_key("EVT", "adyen", "ExampleMerchant", f"CAPTURE:{unique}{place}:true")
            event = system.items(key)["EVENT"]
            assert "body" not in event
            assert event["body_sha256"] == {"S": hashlib.sha256(body).hexdigest()}

    def test_a_single_events_body_is_kept_with_it(self, system: System) -> None:
        body, headers, key = delivery(system, "stripe", secrets.token_hex(8))
        system.post("/webhooks/stripe", body, headers)
        assert zlib.decompress(system.items(key)["EVENT"]["body"]["B"]) == body

    def test_bodies_and_secrets_are_not_logged(self, system: System) -> None:
        body, headers, _ = delivery(system, "stripe", secrets.token_hex(8))
        system.post("/webhooks/stripe", body, headers)
        logs = system.root("logs").filter_log_events(logGroupName="/aws/lambda/envmig-webhook-e2e")
        text = "\n".join(event["message"] for event in logs["events"])
        assert '"message": "delivery"' in text
        for provider in ("stripe", "adyen", "standard", "relay"):
            assert system.secret(provider) not in text
        assert headers["stripe-signature"] not in text
        assert "amount_captured" not in text


def test_64_concurrent_sends_of_one_event_give_one_apply(system: System) -> None:
    payment = secrets.token_hex(8)
    body = stripe_payment_life(payment)[0]
    headers = sign_stripe(body, system.secret("stripe"))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: system.post("/webhooks/stripe", body, headers), range(64)))
    assert {answer.status for answer in answers} == {200}
    assert sorted(outcome(answer) for answer in answers) == ["duplicate"] * 63 + ["stored"]
    state = system.items(partition_key("PAY", "stripe", "-", f"pi_{payment}"))["STATE"]
    assert state["event_count"] == {"N": "1"}


def test_the_shipped_package_holds_no_aws_sdk(system: System) -> None:
    import io
    import zipfile

    location = system.root("lambda").get_function(FunctionName="envmig-webhook-e2e")["Code"]["Location"]
    with urlopen(location, timeout=10) as response:
        names = zipfile.ZipFile(io.BytesIO(response.read())).namelist()
    assert "handlers/webhook.py" in names
    assert not any("boto" in name for name in names)


def test_boto3_is_never_imported_by_the_handler() -> None:
    import sys

    code = (
        "import os, sys; os.environ.update(AWS_REGION='us-east-1', AWS_ACCESS_KEY_ID='a', AWS_SECRET_ACCESS_KEY='b',"
        " TABLE_NAME='t', INDEX_SHARDS='8', API_KEYS_SECRET='s', SPOOL_RETENTION_DAYS='14', BUFFER_URL='b', INGEST_MODE='direct', ENVIRONMENT='e');"
        "sys.path.insert(0, 'lambda_src'); import handlers.webhook;"
        "print([m for m in sys.modules if m.split('.')[0] in ('boto3', 'botocore', 'cryptography', 'inspect', 'requests', 'urllib3')])"
    )
    ran = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.strip() == "[]"


class TestPayPalTransmissions:
    """PayPal's signature binds the body by a CRC-32 alone, so one transmission stands for one event."""

    def sent(self, system: System, unique: str, amount: str, transmission: str = "") -> tuple[bytes, dict[str, str]]:
        body = json.dumps(
            {
                "id": f"WH-{unique}", "event_type": "PAYMENT.CAPTURE.COMPLETED", "create_time": "2026-11-20T10:00:00Z",
                "resource": {"id": f"CAP{unique}", "amount": {"currency_code": "EUR", "value": amount}},
            }
        ).encode()  # fmt: skip
        own = system.keys["paypal"]
        signed = sign("paypal", body, own, datetime.now(UTC))
        if transmission:
            signed = sign_transmission(body, own, transmission)
        return signed.body, signed.headers

    def test_a_redelivery_in_another_transmission_is_a_duplicate(self, system: System) -> None:
        unique = secrets.token_hex(8)
        answers = [
            system.post("/webhooks/paypal", *self.sent(system, unique, "10.00", f"{unique}-{place}"))
            for place in range(2)
        ]
        assert [outcome(answer) for answer in answers] == ["stored", "duplicate"]

    def test_another_event_under_a_transmission_that_is_taken_is_evidence_and_never_applied(
        self, system: System
    ) -> None:
        first, second = secrets.token_hex(8), secrets.token_hex(8)
        assert outcome(system.post("/webhooks/paypal", *self.sent(system, first, "10.00", first))) == "stored"
        for _ in range(2):
            answer = system.post("/webhooks/paypal", *self.sent(system, second, "99999.00", first))
            assert (answer.status, outcome(answer)) == (200, "conflict")
        items = system.items(partition_key("EVT", "paypal", "-", f"WH-{second}"))
        assert [key.partition("#")[0] for key in items] == ["CONFLICT"]
        assert system.items(partition_key("PAY", "paypal", "-", f"CAP{second}")) == {}

    def test_another_amount_under_the_same_event_is_evidence_and_never_applied(self, system: System) -> None:
        unique = secrets.token_hex(8)
        system.post("/webhooks/paypal", *self.sent(system, unique, "10.00", unique))
        answer = system.post("/webhooks/paypal", *self.sent(system, unique, "99999.00", unique))
        assert outcome(answer) == "conflict"
        state = system.items(partition_key("PAY", "paypal", "-", f"CAP{unique}"))["STATE"]
        assert state[f"mov#captured#CAP{unique}"]["M"]["minor_units"] == {"N": "1000"}

    def test_what_only_the_transport_vouches_for_is_recorded(self, system: System) -> None:
        unique = secrets.token_hex(8)
        system.post("/webhooks/paypal", *self.sent(system, unique, "10.00"))
        event = system.items(partition_key("EVT", "paypal", "-", f"WH-{unique}"))["EVENT"]
        assert event["by_transport"] == {"SS": ["body"]}


def sign_transmission(body: bytes, own: dict[str, Any], transmission: str) -> Signed:
    """A body signed as PayPal does, under a transmission id of our choice."""
    signed = sign("paypal", body, own, datetime.now(UTC))
    sent_at = signed.headers["paypal-transmission-time"]
    content = f"{transmission}|{sent_at}|{own['webhook_id']}|{zlib.crc32(body)}".encode()
    key = load_pem_private_key(own["keys"][0]["private_key"].encode(), None)
    assert isinstance(key, RSAPrivateKey)
    tag = base64.b64encode(key.sign(content, PKCS1v15(), SHA256())).decode()
    changed = {"paypal-transmission-id": transmission, "paypal-transmission-sig": tag}
    return Signed(body, {**signed.headers, **changed})
