"""Every provider: our verification beside its official library's, and a whole warm request's own CPU.

Usage: scripts/bench.sh verification [--runs N] [--json]
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import providers
from bench.handler import Warm
from bench.system import System, measured, shown, spread
from migration.samples import sample
from migration.signing import Signed, sign
from providers.base import Delivery
from tests.e2e.processes import url_event
from tests.official import accepts

if TYPE_CHECKING:
    from collections.abc import Callable

_BY_LIBRARY = {
    "adyen": "Adyen", "adyen-platforms": "Adyen", "braintree": "braintree", "gocardless": "gocardless_pro",
    "plaid": "PyJWT", "razorpay": "razorpay", "square": "squareup", "standard": "standardwebhooks",
    "stripe": "stripe",
}  # fmt: skip
_WARM_UP = 20


def delivery(bench: System, provider: str) -> Signed:
    """A fresh delivery of the provider's sample, signed."""
    now = datetime.now(UTC)
    sent = sample(provider, now)
    signed = sign(provider, sent.body, bench.keys[provider], now)
    return Signed(signed.body, {**sent.headers, **signed.headers})


def microseconds(work: Callable[[], object], runs: int) -> dict[str, float]:
    """What one call takes, over so many."""
    taken = []
    for _ in range(runs + _WARM_UP):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e6)
    return spread(taken[_WARM_UP:])


def hmac_and_json(signed: Signed) -> object:
    """What no verification of a body can do without; the baseline where there is no library."""
    return hmac.new(b"key", signed.body, hashlib.sha256).hexdigest(), json.loads(signed.body)


def figures(bench: System, warm: Warm, provider: str, runs: int) -> dict[str, Any]:
    """One provider's figures."""
    signed, own = delivery(bench, provider), bench.keys[provider]
    verify = providers.load(provider).verify
    came = Delivery(signed.headers, signed.body, datetime.now(UTC))

    def ours() -> object:
        # A delivery keeps its parsed body, so each is a new one.
        return verify(Delivery(came.headers, came.body, came.received_at), own)

    def theirs() -> object:
        return accepts(provider, signed, own) if provider in _BY_LIBRARY else hmac_and_json(signed)

    events = [delivery(bench, provider) for _ in range(runs // 4 + _WARM_UP)]
    told = [warm.handle(url_event(provider, each.body, each.headers)) for each in events][_WARM_UP:]
    return {
        "bytes": len(signed.body),
        "verify_us": microseconds(ours, runs),
        "baseline": _BY_LIBRARY.get(provider, "HMAC and json.loads"),
        "baseline_us": microseconds(theirs, runs),
        "request_cpu_ms": spread([each["cpu_ms"] for each in told]),
        "calls": median([each["calls"] for each in told]),
    }


def measure(bench: System, runs: int) -> dict[str, Any]:
    """Every provider's figures, from one process of ours that stays warm."""
    warm = Warm(bench, "ours")
    try:
        return {provider: figures(bench, warm, provider, runs) for provider in providers.NAMES}
    finally:
        warm.close()


def main() -> None:
    results = measured(__doc__, measure, runs=200)
    print(
        "\nVerification alone, µs, beside the provider's library in the same process; a whole request's own CPU, ms"
    )
    print(f"  {'provider':<16} {'bytes':>5}  {'ours':<22} {'baseline':<24} {'by':<20} {'request CPU':<22} AWS calls")
    for provider, told in results.items():
        print(
            f"  {provider:<16} {told['bytes']:>5}  {shown(told['verify_us']):<22} {shown(told['baseline_us']):<24} "
            f"{told['baseline']:<20} {shown(told['request_cpu_ms']):<22} {told['calls']:g}"
        )


if __name__ == "__main__":
    main()
