"""Card numbers in bodies: found where they are ones, left alone where they are ids, masked in place."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import providers
from migration.samples import life
from payments.cards import mask
from tests.unit.test_lives import BEGAN

VISA = "4111111111111111"


def with_check_digit(partial: str) -> str:
    """A number completed by the digit that satisfies Luhn, reckoned in another way than the project's."""
    total = 0
    for place, digit in enumerate(reversed(partial)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return partial + str(-total % 10)


def card(prefix: str, length: int) -> str:
    rest = length - len(prefix) - 1
    return with_check_digit(prefix + "".join(random.choices("0123456789", k=rest)))


SCHEMES = [
    ("4", 13), ("4", 16), ("4", 19), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16), ("34", 15), ("37", 15),
    ("6011", 16), ("65", 16), ("62", 19), ("3528", 16), ("36", 14), ("38", 14), ("50", 13), ("6759", 16),
]  # fmt: skip


@pytest.mark.parametrize(("prefix", "length"), SCHEMES)
@pytest.mark.parametrize("separator", ["", " ", "-"])
def test_a_card_number_of_each_scheme_is_masked_in_place(prefix: str, length: int, separator: str) -> None:
    for _ in range(20):
        number = card(prefix, length)
        written = separator.join(number[place : place + 4] for place in range(0, length, 4))
        body = json.dumps({"note": f"card {written}, thanks", "id": "evt_1"}).encode()
        masked, count = mask(body)
        assert count == 1
        assert len(masked) == len(body)
        assert number not in masked.decode().replace(" ", "").replace("-", "")
        shown = [digit for digit in json.loads(masked)["note"].split("card ")[1] if digit.isdecimal()]
        assert "".join(shown) == number[:6] + number[-4:]


def test_a_bare_number_stays_one() -> None:
    masked, count = mask(f'{{"n": {VISA}, "l": [{VISA}, {VISA}]}}'.encode())
    assert count == 3
    assert json.loads(masked) == {"n": 4111110000001111, "l": [4111110000001111, 4111110000001111]}


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "4111111111111111"}',
        '{"payment_id": 4111111111111111}',
        '{"networkTransactionId": "4111111111111111"}',
        '{"merchantReference": "4111111111111111"}',
        '{"admin_graphql_api_id": "gid://shopify/Order/4111111111111111"}',
        '{"note": "pi_4111111111111111"}',
        '{"note": "4111111111111112"}',
        '{"created": 1795413047123, "micros": 1795413047123456}',
        '{"amount": "4111111111111.11"}',
        '{"phone": "+4915112345678901"}',
        '{"note": "41111111111111111111111111"}',
        '{"note": "9111111111111119"}',
    ],
)
def test_what_is_no_card_number_is_left_alone(text: str) -> None:
    assert mask(text.encode()) == (text.encode(), 0)


def test_several_are_found_beside_other_digits() -> None:
    body = b'{"a": "4111 1111 1111 1111 123", "paid": "5500005555555559", "b": "378282246310005/12"}'
    masked, count = mask(body)
    assert count == 3
    assert b"4111 11** **** 1111 123" in masked
    assert b"550000******5559" in masked
    assert b"378282*****0005/12" in masked


@pytest.mark.parametrize("provider", providers.NAMES)
def test_no_provider_sends_one(provider: str) -> None:
    """What providers document has none: nothing is masked that was not put there by a person."""
    for _ in range(20):
        for sent in life(provider, BEGAN).deliveries:
            assert mask(sent.body) == (sent.body, 0)


@given(body=st.binary(max_size=300))
def test_any_bytes_keep_their_length(body: bytes) -> None:
    masked, count = mask(body)
    assert len(masked) == len(body)
    assert (masked == body) == (count == 0)


@given(digits=st.text("0123456789 -", min_size=2000, max_size=3000))
def test_a_long_run_of_digits_takes_no_time(digits: str) -> None:
    mask(digits.encode())
