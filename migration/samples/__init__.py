"""The life of one payment at each provider, in its own words, and what it must add up to.

A file a provider, named as in the webhook's path: `deliveries` as they are sent, in order; `sample`, which of them
`envmig send` sends; `ledger`, the status and the sums in minor units of each payment, reckoned by hand from `note`.

Inside a file `$unique` stands for a text that is new every time, `$number1` for a number that is, and `$seconds+9`
and `$iso+9` for a moment so many seconds after the life began.
"""

from __future__ import annotations

import json
import re
import secrets
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

_FOLDER = Path(__file__).parent
_NUMBER = re.compile(r"\$number(\d)")
_SECONDS = re.compile(r"\$seconds\+(\d+)")
_ISO = re.compile(r"\$iso\+(\d+)")


class Sent(NamedTuple):
    """A delivery before it is signed."""

    body: bytes
    headers: dict[str, str]
    """Those that are not part of the signature's scheme."""


class Expected(NamedTuple):
    """What a payment's events add up to."""

    status: str
    totals: dict[tuple[str, str], int]
    """Minor units by measure and currency."""


class Life(NamedTuple):
    """One payment's deliveries, in order, and its ledger by the payments' ids."""

    deliveries: list[Sent]
    ledger: dict[str, Expected]


def sample(provider: str, at: datetime) -> Sent:
    """One believable delivery of a minute ago, with ids of its own."""
    place: int = _template(provider)["sample"]
    return life(provider, at - timedelta(minutes=1)).deliveries[place]


def life(provider: str, began: datetime) -> Life:
    """The life of a new payment that began at a time."""
    unique, number = secrets.token_hex(8), secrets.randbelow(10**9) + 10**9

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {filled(name): filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        if not isinstance(value, str):
            return value
        if match := _SECONDS.fullmatch(value):
            return int(began.timestamp()) + int(match[1])
        if match := _NUMBER.fullmatch(value):
            return number * 10 + int(match[1])
        value = _ISO.sub(
            lambda match: (began + timedelta(seconds=int(match[1]))).isoformat(timespec="seconds"), value
        )
        return value.replace("$unique", unique)

    told = filled({name: _template(provider)[name] for name in ("deliveries", "ledger")})
    ledger = {
        str(payment): Expected(
            expected["status"],
            {(key.split(" ")[0], key.split(" ")[1]): amount for key, amount in expected["totals"].items()},
        )
        for payment, expected in told["ledger"].items()
    }
    return Life([_sent(delivery) for delivery in told["deliveries"]], ledger)


def _sent(delivery: Any) -> Sent:
    if isinstance(delivery, str):
        return Sent(delivery.encode(), {})
    if delivery.keys() == {"headers", "body"}:
        return Sent(json.dumps(delivery["body"]).encode(), delivery["headers"])
    return Sent(json.dumps(delivery).encode(), {})


@cache
def _template(provider: str) -> Any:
    return json.loads((_FOLDER / f"{provider}.json").read_text())
