"""Each provider's signatures against code of others, on random keys and bodies, and under every mutation."""

from __future__ import annotations

import base64
import json
import random
import secrets
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import providers
from migration.samples import life, sample
from migration.signing import Signed, new_settings, sign
from payments.event import Event
from providers.base import Delivery, Item, open_delivery
from providers.errors import DeliveryError, NotAuthenticError
from providers.keys import InvalidKeysError, parse_keys
from tests.official import Settings, accepts
from tests.provider_events import adyen_item

NOW = datetime.now(UTC).replace(microsecond=0)
FIXED = {name: new_settings(name) for name in providers.NAMES}
"""Settings for tests that need no fresh ones: RSA keys take their time."""

TIMED = ["plaid", "standard", "stripe"]
IN_HEADERS = [name for name in providers.NAMES if name not in ("adyen", "braintree")]
"""Providers whose signature comes in a header."""


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def fresh(provider: str) -> Settings:
    return FIXED[provider] if provider == "paypal" else new_settings(provider)


def random_delivery(provider: str, own: Settings, at: datetime = NOW) -> tuple[Signed, dict[str, str]]:
    """A random delivery of a payment's life, with random text in it, and its other headers."""
    sent = random.choice(life(provider, at).deliveries)
    body = sent.body
    if provider == "adyen":
        document = json.loads(body)
        document["notificationItems"][0]["NotificationRequestItem"]["merchantReference"] = f'a:b\\c"{noise()}'
        body = json.dumps(document).encode()
    elif provider != "braintree":
        body = json.dumps({**json.loads(body), "note": f"é {noise()}"}, ensure_ascii=False).encode()
    signed = sign(provider, body, own, at)
    return signed, {**sent.headers, **signed.headers}


def noise() -> str:
    return secrets.token_urlsafe(secrets.randbelow(60))


def opened(provider: str, body: bytes, headers: dict[str, str], own: Any, at: datetime = NOW) -> list[Item]:
    return open_delivery(providers.load(provider), Delivery(headers, body, at), own)


def authentic(provider: str, body: bytes, headers: dict[str, str], own: Any, at: datetime = NOW) -> bool:
    """Whether every item was verified; anything but a refusal is a failure of the test."""
    try:
        verified = providers.load(provider).verify(Delivery(headers, body, at), own)
    except DeliveryError:
        return False
    return not isinstance(verified, list) or not any(isinstance(each, DeliveryError) for each in verified)


@pytest.mark.parametrize("provider", providers.NAMES)
class TestAgainstOthersCode:
    def test_both_take_what_is_signed_and_refuse_what_another_key_signed(self, provider: str) -> None:
        for _ in range(5 if provider == "paypal" else 20):
            # The libraries look at the clock themselves.
            own, now = fresh(provider), datetime.now(UTC)
            signed, headers = random_delivery(provider, own, now)
            assert accepts(provider, signed, own)
            assert authentic(provider, signed.body, headers, own, now)
            other = new_settings(provider) if provider != "paypal" else {**own, "webhook_id": "WH-other"}
            if "keys" in own and provider in ("braintree", "plaid"):
                other["keys"][0]["id"] = own["keys"][0]["id"]
            assert not accepts(provider, signed, other)
            assert not authentic(provider, signed.body, headers, other, now)

    def test_the_key_that_signed_is_named_among_several(self, provider: str) -> None:
        old, new = FIXED[provider], new_settings(provider)
        signed, headers = random_delivery(provider, old)
        new["keys"][0]["id"] = "new"
        both = {**old, "keys": [new["keys"][0], old["keys"][0]]}
        for item in opened(provider, signed.body, headers, both):
            assert item.signature
            assert item.signature.key_id == old["keys"][0]["id"]

    def test_a_retired_key_signs_until_its_end_and_not_after(self, provider: str) -> None:
        own = FIXED[provider]
        signed, headers = random_delivery(provider, own)
        retired = {**own, "keys": [{**own["keys"][0], "not_after": NOW.isoformat().replace("+00:00", "Z")}]}
        assert authentic(provider, signed.body, headers, retired)
        if provider != "paypal":  # It would be looked for at PayPal.
            assert not authentic(provider, signed.body, headers, retired, NOW + timedelta(seconds=1))

    def test_every_bit_of_what_is_signed_counts(self, provider: str) -> None:
        own = FIXED[provider]
        signed, headers = random_delivery(provider, own)
        places = random.sample(range(len(signed.body)), min(150, len(signed.body)))
        if provider == "adyen":
            start = signed.body.index(b'"pspReference": "') + len(b'"pspReference": "')
            places = list(range(start, start + 16))
        for place in places:
            for bit in (0, 3, 5):
                changed = bytearray(signed.body)
                changed[place] ^= 1 << bit
                if provider == "braintree" and _same_form(bytes(changed), signed.body):
                    continue
                assert not authentic(provider, bytes(changed), headers, own), (place, bit)

    def test_arbitrary_json_that_is_signed_is_read_or_refused_as_malformed(self, provider: str) -> None:
        own = FIXED[provider]

        @given(value=_ANY_JSON)
        @settings(max_examples=40)
        def check(value: Any) -> None:
            wrapped = {
                "id": "e", "type": value, "event": value, "data": value, "resource": value, "events": [value],
                "payload": value, "webhook_type": "a", "webhook_code": value, "created": value, "created_at": value,
                "amount": value, "currency": value, "_embedded": {"entity": value},
            }  # fmt: skip
            for document in (value, wrapped):
                body = json.dumps(document).encode()
                if provider == "adyen":
                    body = json.dumps({"notificationItems": [{"NotificationRequestItem": {"amount": {}}}]}).encode()
                signed = sign(provider, body, own, NOW)
                try:
                    items = opened(provider, signed.body, {"x-shopify-topic": "refunds/create"} | signed.headers, own)
                except DeliveryError:
                    continue
                for item in items:
                    assert isinstance(item.event, Event) or item.refusal

        check()


def _same_form(one: bytes, other: bytes) -> bool:
    """Whether two forms say the same: %2b is %2B."""
    try:
        return parse_qs(one.decode("ascii")) == parse_qs(other.decode("ascii"))
    except ValueError:
        return False


@pytest.mark.parametrize("provider", IN_HEADERS)
class TestHeaders:
    def signature_headers(self, headers: dict[str, str]) -> list[str]:
        others = ("content-type", "x-shopify-topic", "x-shopify-shop-domain", "x-shopify-webhook-id")
        return [name for name in headers if name not in others]

    def test_every_header_of_the_scheme_is_needed(self, provider: str) -> None:
        signed, headers = random_delivery(provider, FIXED[provider])
        for name in self.signature_headers(headers):
            rest = {other: value for other, value in headers.items() if other != name}
            assert not authentic(provider, signed.body, rest, FIXED[provider])
            assert not authentic(provider, signed.body, {**rest, name: ""}, FIXED[provider])
            assert not authentic(provider, signed.body, {**rest, name: f"{headers[name]}é"}, FIXED[provider])

    def test_every_character_of_the_signature_counts(self, provider: str) -> None:
        signed, headers = random_delivery(provider, FIXED[provider])
        for name in self.signature_headers(headers):
            value = headers[name]
            if name == "paypal-cert-url":
                continue
            for place in range(len(value)):
                if value[: place + 1] in ("sha256=", "sha256"):
                    continue
                other = "A" if value[place] != "A" else "B"
                changed = f"{value[:place]}{other}{value[place + 1 :]}"
                assert not authentic(provider, signed.body, {**headers, name: changed}, FIXED[provider]), place

    @pytest.mark.parametrize(
        "junk",
        [" ", "v1,", "v1=", "t=,v1=", "v1,====", "\x00", "v1,AAAA" * 500, "t=1,t=2,v1=00", "a.b.c", "e30.e30.", "..",
         "sha256=", "0" * 64, "A" * 43 + "=", "=" * 44, "bnVsbA.bnVsbA.AAAA", "٣" * 64, "https://evil.example/CERT"],
    )  # fmt: skip
    def test_junk_is_refused(self, provider: str, junk: str) -> None:
        signed, headers = random_delivery(provider, FIXED[provider])
        for name in self.signature_headers(headers):
            assert not authentic(provider, signed.body, {**headers, name: junk}, FIXED[provider])

    def test_a_header_that_came_twice_raises_nothing(self, provider: str) -> None:
        signed, headers = random_delivery(provider, FIXED[provider])
        for name in self.signature_headers(headers):
            twice = f"{headers[name]},{headers[name]}"
            if name != "paypal-cert-url":
                authentic(provider, signed.body, {**headers, name: twice}, FIXED[provider])

    @given(body=st.binary(max_size=200), values=st.lists(st.text(max_size=60), min_size=6, max_size=6))
    @settings(max_examples=60)
    def test_arbitrary_bytes_and_headers(self, provider: str, body: bytes, values: list[str]) -> None:
        names = self.signature_headers(sign(provider, b"{}", FIXED[provider], NOW).headers)
        headers = dict(zip(names, values, strict=False))
        assert not authentic(provider, body, headers, FIXED[provider])


@pytest.mark.parametrize("provider", TIMED)
class TestTime:
    @pytest.mark.parametrize("seconds", [301, -301, 3600, -3600, 10**9])
    def test_a_time_too_far_from_the_receipt_is_refused_both_ways(self, provider: str, seconds: int) -> None:
        signed, headers = random_delivery(provider, FIXED[provider])
        assert not authentic(provider, signed.body, headers, FIXED[provider], NOW + timedelta(seconds=seconds))

    @pytest.mark.parametrize("seconds", [300, -300])
    def test_a_time_within_the_tolerance_is_taken(self, provider: str, seconds: int) -> None:
        signed, headers = random_delivery(provider, FIXED[provider])
        assert authentic(provider, signed.body, headers, FIXED[provider], NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("provider", ["stripe", "standard"])
@pytest.mark.parametrize("stamp", ["1.5", "-1", "+1", "1e9", "١٢", "0x10", " 1", "9" * 5000])
def test_a_time_that_is_no_number_is_refused(provider: str, stamp: str) -> None:
    signed, headers = random_delivery(provider, FIXED[provider])
    changed = (
        {**headers, "stripe-signature": f"t={stamp},v1={'0' * 64}"}
        if provider == "stripe"
        else {**headers, "webhook-timestamp": stamp}
    )
    assert not authentic(provider, signed.body, changed, FIXED[provider])


@pytest.mark.parametrize("provider", ["stripe", "standard"])
def test_a_good_signature_is_found_beside_junk(provider: str) -> None:
    signed, headers = random_delivery(provider, FIXED[provider])
    name = "stripe-signature" if provider == "stripe" else "webhook-signature"
    beside = f"{headers[name]},v1=zz,v0=1" if provider == "stripe" else f"v1,%% v2,x {headers[name]} junk"
    assert authentic(provider, signed.body, {**headers, name: beside}, FIXED[provider])


class TestAdyenItems:
    """Every item on its own: the official library checks only the first."""

    def notification(self, count: int) -> Any:
        items = [adyen_item("CAPTURE", f"PSP{place}", original="P") for place in range(count)]
        listed = [{"NotificationRequestItem": item} for item in items]
        signed = sign("adyen", json.dumps({"notificationItems": listed}).encode(), FIXED["adyen"], NOW)
        return json.loads(signed.body)

    def test_a_tampered_second_item_is_refused_and_the_others_are_taken(self) -> None:
        document = self.notification(3)
        document["notificationItems"][1]["NotificationRequestItem"]["amount"]["value"] += 1
        found = opened("adyen", json.dumps(document).encode(), {}, FIXED["adyen"])
        assert [bool(item.event) for item in found] == [True, False, True]
        assert isinstance(found[1].refusal, NotAuthenticError)

    @pytest.mark.parametrize("additional", [None, {}, {"hmacSignature": None}, {"hmacSignature": 1}, [], "x"])
    def test_an_item_without_a_signature_is_refused(self, additional: Any) -> None:
        document = self.notification(1)
        document["notificationItems"][0]["NotificationRequestItem"]["additionalData"] = additional
        assert not authentic("adyen", json.dumps(document).encode(), {}, FIXED["adyen"])

    @given(value=_ANY_JSON)
    def test_arbitrary_items_are_refused(self, value: Any) -> None:
        body = json.dumps({"notificationItems": [{"NotificationRequestItem": value}, value]}).encode()
        assert not authentic("adyen", body, {}, FIXED["adyen"])


class TestSquareUrl:
    def test_another_url_than_the_one_it_was_signed_for_is_refused(self) -> None:
        signed, headers = random_delivery("square", FIXED["square"])
        moved = {**FIXED["square"], "notification_url": "https://pay.example.com/webhooks/squarf"}
        assert not authentic("square", signed.body, headers, moved)


class TestStandardAsymmetric:
    """Signatures v1a, made by openssl."""

    @pytest.fixture
    def signed(self, tmp_path: Path) -> tuple[Signed, Settings]:
        for arguments in (
            ["genpkey", "-algorithm", "ed25519", "-out", "key.pem"],
            ["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "public.der"],
        ):
            subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)
        body = sample("standard", NOW).body
        (tmp_path / "content").write_bytes(f"msg_1.{int(NOW.timestamp())}.".encode() + body)
        command = ["openssl", "pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "content"]
        signature = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(NOW.timestamp())),
            "webhook-signature": f"v1a,{base64.b64encode(signature).decode()}",
        }
        public = base64.b64encode((tmp_path / "public.der").read_bytes()[-32:]).decode()
        return Signed(body, headers), {"keys": [{"id": "ed", "secret": f"whpk_{public}"}]}

    def test_it_is_taken_and_its_scheme_recorded(self, signed: tuple[Signed, Settings]) -> None:
        (delivery, own) = signed
        item = opened("standard", delivery.body, delivery.headers, own)[0]
        assert item.signature == ("standard-webhooks-v1a", "ed")

    def test_a_changed_body_is_refused(self, signed: tuple[Signed, Settings]) -> None:
        delivery, own = signed
        assert not authentic("standard", delivery.body + b" ", delivery.headers, own)

    def test_a_public_key_is_no_secret_to_sign_with(self, signed: tuple[Signed, Settings]) -> None:
        """An HMAC by the bytes of the public key, which everybody knows, is refused."""
        delivery, own = signed
        public = base64.b64decode(own["keys"][0]["secret"].removeprefix("whpk_"))
        as_secret = {"keys": [{"id": "ed", "secret": f"whsec_{base64.b64encode(public).decode()}"}]}
        forged = sign("standard", delivery.body, as_secret, NOW)
        assert not authentic("standard", forged.body, forged.headers, own)


@pytest.mark.parametrize("body", [b"", b"bt_signature=a", b"bt_signature=a&bt_payload=b&bt_payload=c", b"\xff=\xff",
                                  b"bt_signature=%C3%A9&bt_payload=x", b"&" * 500, b"[]", b"{}"])  # fmt: skip
def test_junk_forms_of_braintree_are_refused(body: bytes) -> None:
    assert not authentic("braintree", body, {}, FIXED["braintree"])


@given(body=st.binary(max_size=200))
def test_arbitrary_bodies_of_those_that_sign_in_the_body(body: bytes) -> None:
    for provider in ("adyen", "braintree"):
        assert not authentic(provider, body, {}, FIXED[provider])


def test_an_entity_in_braintrees_xml_is_refused() -> None:
    bomb = b'<!DOCTYPE n [<!ENTITY a "aaaa">]><notification><kind>&a;</kind></notification>'
    signed = sign("braintree", bomb, FIXED["braintree"], NOW)
    assert authentic("braintree", signed.body, {}, FIXED["braintree"])
    with pytest.raises(DeliveryError, match="document type"):
        opened("braintree", signed.body, {}, FIXED["braintree"])


@pytest.mark.parametrize(
    ("provider", "own"),
    [
        ("adyen", {"keys": [{"id": "k", "secret": "not hex"}]}),
        ("adyen-platforms", {"keys": [{"id": "k", "secret": "not hex"}]}),
        ("standard", {"keys": [{"id": "k", "secret": "whsec_%%%"}]}),
        ("square", {"keys": [{"id": "k", "secret": "s"}]}),
        ("paypal", {"keys": []}),
        ("paypal", {**FIXED["paypal"], "keys": [{**FIXED["paypal"]["keys"][0], "secret": "no certificate"}]}),
        ("plaid", {"keys": [{**FIXED["plaid"]["keys"][0], "secret": "no key"}]}),
        ("plaid", {"keys": [{**FIXED["plaid"]["keys"][0], "secret": '{"x": "AA", "y": "AA"}'}]}),
    ],
)
def test_a_key_that_cannot_be_one_is_our_fault_and_not_the_senders(provider: str, own: Settings) -> None:
    signed, headers = random_delivery(provider, FIXED[provider])
    with pytest.raises(InvalidKeysError):
        opened(provider, signed.body, headers, own)


def test_a_key_never_shows_its_secret() -> None:
    assert "hush" not in repr(parse_keys({"keys": [{"id": "k", "secret": "hush"}]}))
