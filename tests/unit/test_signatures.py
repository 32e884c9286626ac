"""Each provider's signatures against its own library, on random keys and bodies, and under every mutation."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import providers
from migration.samples import sample
from migration.signing import sign
from providers.base import Delivery, Item
from providers.errors import DeliveryError, NotAuthenticError
from providers.keys import InvalidKeysError, parse_keys
from tests.provider_events import (
    adyen_item,
    sign_adyen,
    sign_standard,
    sign_stripe,
    standard_event,
    stripe_event,
)

NOW = datetime.now(UTC).replace(microsecond=0)


def new_secret(provider: str) -> str:
    return {
        "stripe": f"whsec_{secrets.token_urlsafe(24)}",
        "adyen": secrets.token_hex(32).upper(),
        "standard": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
    }[provider]


def officially_signed(provider: str, secret: str, at: datetime = NOW) -> tuple[bytes, dict[str, str]]:
    """A random delivery signed by the provider's own library."""
    noise = secrets.token_urlsafe(secrets.randbelow(200))
    if provider == "stripe":
        body = stripe_event("charge.succeeded", {"object": "charge", "id": "ch_1", "note": f"é{noise}"})
        return body, sign_stripe(body, secret, at.timestamp())
    if provider == "adyen":
        item = adyen_item("CAPTURE", secrets.token_hex(8), original="P1")
        item["merchantReference"] = f"a:b\\c{noise}"
        return sign_adyen([item], secret), {}
    body = standard_event("payment.captured", {"payment": "p", "note": noise, "amount": 1, "currency": "EUR"})
    return body, sign_standard(body, secret, f"msg_{secrets.token_hex(8)}", at.timestamp())


def keyed(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"keys": [{"id": key_id, "secret": secret} for key_id, secret in pairs]}


def opened(
    provider: str, body: bytes, headers: dict[str, str], settings: dict[str, Any], at: datetime = NOW
) -> list[Item]:
    return list(providers.load(provider).open_delivery(Delivery(headers, body, at), settings))


def authentic(
    provider: str, body: bytes, headers: dict[str, str], settings: dict[str, Any], at: datetime = NOW
) -> bool:
    """Whether every item was taken; anything but a DeliveryError is a failure of the test."""
    try:
        return all(item.key_id is not None for item in opened(provider, body, headers, settings, at))
    except DeliveryError:
        return False


PROVIDERS = ["stripe", "adyen", "standard"]


@pytest.mark.parametrize("provider", PROVIDERS)
class TestAgainstTheOfficialLibrary:
    def test_what_it_signs_is_authentic(self, provider: str) -> None:
        for _ in range(50):
            secret = new_secret(provider)
            body, headers = officially_signed(provider, secret)
            assert opened(provider, body, headers, keyed(("k", secret)))[0].key_id == "k"

    def test_what_we_sign_as_it_is_authentic(self, provider: str) -> None:
        secret = new_secret(provider)
        signed = sign(provider, sample(provider, NOW), secret, NOW)
        assert authentic(provider, signed.body, signed.headers, keyed(("k", secret)))

    def test_the_key_that_signed_is_named_among_several(self, provider: str) -> None:
        old, new = new_secret(provider), new_secret(provider)
        body, headers = officially_signed(provider, old)
        assert opened(provider, body, headers, keyed(("new", new), ("old", old)))[0].key_id == "old"

    def test_a_retired_key_signs_until_its_end_and_not_after(self, provider: str) -> None:
        secret = new_secret(provider)
        body, headers = officially_signed(provider, secret)
        until = {"id": "old", "secret": secret, "not_after": NOW.isoformat().replace("+00:00", "Z")}
        assert authentic(provider, body, headers, {"keys": [until]})
        assert not authentic(provider, body, headers, {"keys": [until]}, NOW + timedelta(seconds=1))

    def test_another_key_is_refused(self, provider: str) -> None:
        body, headers = officially_signed(provider, new_secret(provider))
        assert not authentic(provider, body, headers, keyed(("k", new_secret(provider))))

    def test_no_keys_refuse_everything(self, provider: str) -> None:
        body, headers = officially_signed(provider, new_secret(provider))
        assert not authentic(provider, body, headers, {"keys": []})

    def test_every_bit_of_the_body_counts(self, provider: str) -> None:
        """For Adyen every bit of what it signs: its other fields are known to be open."""
        secret = new_secret(provider)
        body, headers = officially_signed(provider, secret)
        settings = keyed(("k", secret))
        span = range(len(body))
        if provider == "adyen":
            start = body.index(b'"pspReference": "') + len(b'"pspReference": "')
            span = range(start, start + 16)
        for place in span:
            for bit in (0, 3, 6):
                changed = bytearray(body)
                changed[place] ^= 1 << bit
                assert not authentic(provider, bytes(changed), headers, settings), (place, bit)


@pytest.mark.parametrize("provider", ["stripe", "standard"])
class TestHeaders:
    def delivery(self, provider: str) -> tuple[bytes, dict[str, str], dict[str, Any], str]:
        secret = new_secret(provider)
        body, headers = officially_signed(provider, secret)
        name = "stripe-signature" if provider == "stripe" else "webhook-signature"
        return body, headers, keyed(("k", secret)), name

    def test_every_header_of_the_scheme_is_needed(self, provider: str) -> None:
        body, headers, settings, _ = self.delivery(provider)
        for name in set(headers) - {"content-type"}:
            rest = {other: value for other, value in headers.items() if other != name}
            assert not authentic(provider, body, rest, settings)

    def test_every_character_of_the_signature_counts(self, provider: str) -> None:
        body, headers, settings, name = self.delivery(provider)
        value = headers[name]
        start = value.index("v1") + 3
        for place in range(start, len(value)):
            if value[place] == "=":
                continue
            other = "A" if value[place] != "A" else "B"
            changed = f"{value[:place]}{other}{value[place + 1 :]}"
            assert not authentic(provider, body, {**headers, name: changed}, settings), place

    @pytest.mark.parametrize(
        "junk",
        ["", " ", "v1,", "v1=", "t=,v1=", "é", "v1,é", "v1,====", "\x00", "v1,AAAA" * 500, "t=1,t=2,v1=00"],
    )
    def test_junk_is_refused(self, provider: str, junk: str) -> None:
        body, headers, settings, name = self.delivery(provider)
        assert not authentic(provider, body, {**headers, name: junk}, settings)

    def test_a_good_signature_is_found_beside_junk(self, provider: str) -> None:
        body, headers, settings, name = self.delivery(provider)
        beside = f"{headers[name]},v1=zz,v0=1" if provider == "stripe" else f"v1,%% v2,x {headers[name]} junk"
        assert authentic(provider, body, {**headers, name: beside}, settings)

    @pytest.mark.parametrize("seconds", [301, -301, 3600, -3600, 10**9])
    def test_a_time_too_far_from_the_receipt_is_refused_both_ways(self, provider: str, seconds: int) -> None:
        body, headers, settings, _ = self.delivery(provider)
        assert not authentic(provider, body, headers, settings, NOW + timedelta(seconds=seconds))

    @pytest.mark.parametrize("seconds", [300, -300])
    def test_a_time_within_the_tolerance_is_taken(self, provider: str, seconds: int) -> None:
        body, headers, settings, _ = self.delivery(provider)
        assert authentic(provider, body, headers, settings, NOW + timedelta(seconds=seconds))

    @pytest.mark.parametrize("stamp", ["1.5", "-1", "+1", "1e9", "١٢", "0x10", " 1", "9" * 5000])
    def test_a_time_that_is_no_number_is_refused(self, provider: str, stamp: str) -> None:
        body, headers, settings, _ = self.delivery(provider)
        changed = (
            {**headers, "stripe-signature": f"t={stamp},v1={'0' * 64}"}
            if provider == "stripe"
            else {**headers, "webhook-timestamp": stamp}
        )
        assert not authentic(provider, body, changed, settings)


class TestAdyenItems:
    """Every item on its own: the official library checks only the first."""

    def test_a_tampered_second_item_is_refused_and_the_others_are_taken(self) -> None:
        secret = new_secret("adyen")
        items = [adyen_item("CAPTURE", f"PSP{place}", original="P") for place in range(3)]
        document = json.loads(sign_adyen(items, secret))
        document["notificationItems"][1]["NotificationRequestItem"]["amount"]["value"] += 1
        found = opened("adyen", json.dumps(document).encode(), {}, keyed(("k", secret)))
        assert [item.key_id for item in found] == ["k", None, "k"]
        assert isinstance(found[1].refusal, NotAuthenticError)

    @pytest.mark.parametrize("additional", [None, {}, {"hmacSignature": None}, {"hmacSignature": 1}, [], "x"])
    def test_an_item_without_a_signature_is_refused(self, additional: Any) -> None:
        item = {**adyen_item("CAPTURE", "X"), "additionalData": additional}
        body = json.dumps({"notificationItems": [{"NotificationRequestItem": item}]}).encode()
        assert not authentic("adyen", body, {}, keyed(("k", new_secret("adyen"))))

    def test_nothing_of_the_signed_content_is_escaped(self) -> None:
        secret = new_secret("adyen")
        item = {**adyen_item("AUTHORISATION", "X"), "merchantReference": 'a:b\\c"d'}
        assert authentic("adyen", sign_adyen([item], secret), {}, keyed(("k", secret)))


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
_HEADERS = st.dictionaries(
    st.sampled_from(["stripe-signature", "webhook-id", "webhook-timestamp", "webhook-signature", "x"]),
    st.text(),
)


@pytest.mark.parametrize("provider", PROVIDERS)
class TestArbitraryInput:
    """Never an exception but a refusal, and never a false yes."""

    @given(body=st.binary(max_size=400), headers=_HEADERS)
    def test_arbitrary_bytes_and_headers(self, provider: str, body: bytes, headers: dict[str, str]) -> None:
        assert not authentic(
            provider, body, headers, keyed(("k", "00" * 16 if provider == "adyen" else "whsec_AAAA"))
        )

    @given(value=_ANY_JSON)
    def test_arbitrary_json_that_is_signed_is_read_or_refused_as_malformed(self, provider: str, value: Any) -> None:
        secret = "00" * 16 if provider == "adyen" else "whsec_AAAA"
        if provider == "adyen":
            body = json.dumps({"notificationItems": [{"NotificationRequestItem": value}, value]}).encode()
            assert not authentic(provider, body, {}, keyed(("k", secret)))
            return
        wrapped = {
            "id": "e",
            "type": "charge.succeeded",
            "created": 1,
            "data": {"object": value},
            "timestamp": value,
        }
        for document in (value, wrapped):
            signed = sign(provider, json.dumps(document).encode(), secret, NOW)
            authentic(provider, signed.body, signed.headers, keyed(("k", secret)))


@pytest.mark.parametrize(("provider", "secret"), [("adyen", "not hex"), ("standard", "whsec_%%%")])
def test_a_key_that_cannot_be_one_is_our_fault_and_not_the_senders(provider: str, secret: str) -> None:
    body, headers = officially_signed(provider, new_secret(provider))
    with pytest.raises(InvalidKeysError):
        opened(provider, body, headers, keyed(("k", secret)))


def test_a_key_never_shows_its_secret() -> None:
    assert "hush" not in repr(parse_keys(keyed(("k", "hush"))))
