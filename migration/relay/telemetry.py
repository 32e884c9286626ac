"""What the relay measures, in Prometheus's form."""

from __future__ import annotations

import time
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from migration.relay.spool import TARGETS
from migration.relay.targets import Fate

if TYPE_CHECKING:
    from migration.relay.delivery import Delivery
    from migration.relay.spool import Kept, Spool
    from migration.relay.targets import Said
    from payments.routing import Routing

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MOST_UNDECIDED = 10_000
_MOST_SAMPLES = 360


class Waiting(NamedTuple):
    """What waits for a target."""

    pending: int
    oldest_s: float
    parked: int


class Sample(NamedTuple):
    """How it went since the sample before."""

    at_ms: int
    rate: float
    """Answers a second."""
    p50_ms: float
    p99_ms: float
    waiting: dict[str, Waiting]
    hundredths: int


class Telemetry:
    """The relay's metrics, and who watches the deliveries for them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answered = Counter(
            "envmig_relay_answers", "Answers to providers", ["provider", "status"], registry=self.registry
        )
        self.acknowledging = Histogram(
            "envmig_relay_acknowledge_seconds", "From a request's arrival to its answer", registry=self.registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.tries = Counter(
            "envmig_relay_tries", "Tries to deliver, by what became of them", ["target", "fate"],
            registry=self.registry,
        )  # fmt: skip
        self.delivering = Histogram(
            "envmig_relay_delivery_seconds",
            "One try to deliver",
            ["target"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.lag = Histogram(
            "envmig_relay_lag_seconds", "From receipt to delivery", ["target"], registry=self.registry,
            buckets=(*_SECONDS, 60, 600, 3600),
        )  # fmt: skip
        self.mismatches = Counter(
            "envmig_relay_mismatches", "Requests that one target took and the other never will",
            registry=self.registry,
        )  # fmt: skip
        self.pending = Gauge("envmig_relay_pending", "Requests that wait", ["target"], registry=self.registry)
        self.oldest = Gauge(
            "envmig_relay_oldest_seconds", "Age of the oldest request that waits", ["target"], registry=self.registry
        )
        self.parked = Gauge(
            "envmig_relay_parked", "Requests that a target will never take as they are", ["target"],
            registry=self.registry,
        )  # fmt: skip
        self.breaker_open = Gauge(
            "envmig_relay_breaker_open", "1 while a target is left alone", ["target"], registry=self.registry
        )
        self.spool_bytes = Gauge("envmig_relay_spool_bytes", "What the spool takes on disk", registry=self.registry)
        self.spool_most_bytes = Gauge("envmig_relay_spool_most_bytes", "What it may take", registry=self.registry)
        self.hundredths = Gauge(
            "envmig_relay_aws_hundredths", "AWS's share of payments, in hundredths of a per cent",
            registry=self.registry,
        )  # fmt: skip
        # A series is looked for once: each look costs as much as counting.
        self._answered = cache(lambda provider, status: self.answered.labels(provider, str(status)))
        self._tries = cache(lambda target, fate: self.tries.labels(target, fate.value))
        self._delivering = cache(self.delivering.labels)
        self._lag = cache(self.lag.labels)
        self._fates: dict[int, tuple[str, Fate]] = {}
        self._answers = 0
        self._all_answers = 0
        self._all_mismatches = 0
        self._figured: dict[str, float] = {}
        self._taken_s: list[float] = []
        self._sampled_at = time.monotonic()
        self.samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        """The latest, for the status page's charts."""

    def answer(self, provider: str, status: int, took_s: float) -> None:
        """Count one answer to a provider."""
        self._answered(provider, status).inc()
        self.acknowledging.observe(took_s)
        self._answers += 1
        self._all_answers += 1
        if len(self._taken_s) < _MOST_UNDECIDED:
            self._taken_s.append(took_s)

    def tried(self, target: str, kept: Kept, said: Said, took_s: float) -> None:
        """Count one try, and hold what two targets say of one request against each other."""
        self._tries(target, said.fate).inc()
        self._delivering(target).observe(took_s)
        if said.fate is Fate.RETRY:
            return
        self._lag(target).observe(max(0.0, time.time() - kept.received_ms / 1000))
        other = self._fates.pop(kept.id, None)
        if other is None:
            self._fates[kept.id] = (target, said.fate)
            if len(self._fates) > _MOST_UNDECIDED:
                del self._fates[next(iter(self._fates))]
        elif other[0] != target and other[1] is not said.fate:
            self.mismatches.inc()
            self._all_mismatches += 1

    def look(self, spool: Spool, deliveries: dict[str, Delivery], routing: Routing, now_ms: int) -> None:
        """Set what is read from the spool now and then, and take a sample for the charts."""
        waiting = {}
        for target in TARGETS:
            counts = spool.counts(target)
            age_ms = now_ms - counts.oldest_ms if counts.oldest_ms is not None else 0
            waiting[target] = Waiting(counts.pending, max(0, age_ms) / 1000, counts.parked)
            self.pending.labels(target).set(counts.pending)
            self.oldest.labels(target).set(waiting[target].oldest_s)
            self.parked.labels(target).set(counts.parked)
            self.breaker_open.labels(target).set(deliveries[target].breaker.state != "closed")
        self.spool_bytes.set(spool.bytes)
        self.spool_most_bytes.set(spool.most_bytes)
        hundredths = {"aws": 10_000, "canary": routing.hundredths}.get(routing.mode, 0)
        self.hundredths.set(hundredths)
        now = time.monotonic()
        taken = sorted(self._taken_s)
        self.samples.append(
            Sample(
                at_ms=now_ms,
                rate=self._answers / max(0.001, now - self._sampled_at),
                p50_ms=_percentile(taken, 0.50) * 1000,
                p99_ms=_percentile(taken, 0.99) * 1000,
                waiting=waiting,
                hundredths=hundredths,
            )
        )
        self._answers, self._taken_s, self._sampled_at = 0, [], now

    def figures(self, spool: Spool) -> dict[str, float]:
        """What goes into CloudWatch: what waits now, and what was counted since this was last asked."""
        waiting = self.samples[-1].waiting if self.samples else {}
        counted = {"RelayAnswers": float(self._all_answers), "RelayMismatches": float(self._all_mismatches)}
        added = {name: value - self._figured.get(name, 0.0) for name, value in counted.items()}
        self._figured = counted
        return {
            **added,
            **{f"{target.title()}Lag": each.oldest_s for target, each in waiting.items()},
            **{f"{target.title()}Waiting": float(each.pending) for target, each in waiting.items()},
            "RelayParked": float(sum(each.parked for each in waiting.values())),
            "SpoolShare": 100 * spool.bytes / spool.most_bytes,
        }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
