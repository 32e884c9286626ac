"""One invocation, as a person finds it later: its log line, its trace and its metrics."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adapters.metrics import BY_OWNER, BY_PROVIDER, Metrics
from adapters.table import Outcome
from adapters.traces import Trace
from handlers.storing import BUFFERED, UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from providers.verified import VerifiedDelivery

_IN_TIME_S = 1.0
"""The objective: an event is in the table so soon after it was verified."""

_STEP_METRICS = {
    "secret": "SecretTime", "verify": "VerifyTime", "read": "ReadTime", "store": "StoreTime", "buffer": "BufferTime",
}  # fmt: skip

_cold = True


class Invocation:
    """What is known of an invocation while it runs, told when it ends."""

    def __init__(self, function: str, message: str, context: Any) -> None:
        global _cold  # noqa: PLW0603 (an environment is cold once)
        self._began = time.monotonic()
        self.deadline = self._began + context.get_remaining_time_in_millis() / 1000
        """On the monotonic clock, in seconds: when Lambda ends the function."""
        self.trace = Trace(function)
        self.metrics = Metrics()
        self.line: dict[str, Any] = {
            "message": message,
            "level": "INFO",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "requestId": context.aws_request_id,
            "xray": self.trace.id,
            "cold": _cold,
        }
        if _cold:
            self.metrics.add("ColdStarts")
        _cold = False

    def tell_results(self, verified: VerifiedDelivery, results: Iterable[dict[str, Any]]) -> None:
        """Count what became of a delivery's events."""
        now = datetime.now(UTC)
        provider = verified.provider
        for result in results:
            outcome = result["outcome"]
            if name := _COUNTED.get(outcome):
                self.metrics.add(name, 1, BY_PROVIDER, provider)
            if outcome == Outcome.STORED:
                late = (now - verified.verified_at).total_seconds() > _IN_TIME_S
                self.metrics.add("StoredLate", int(late), BY_PROVIDER, provider)
                age_ms = max(0.0, (now - verified.received_at).total_seconds() * 1000)
                self.metrics.add("EventAge", round(age_ms, 1), BY_PROVIDER, provider)
                if owner := result.get("owner"):
                    self.metrics.add_only("Stored", 1, BY_OWNER, owner)
            elif outcome == UNAVAILABLE:
                self.metrics.add("StoredLate", 1, BY_PROVIDER, provider)

    def end(self) -> None:
        """Print the line and the metrics, and send the trace."""
        steps = self.trace.milliseconds()
        provider = self.line.get("provider", "")
        for step, taken in steps.items():
            if name := _STEP_METRICS.get(step):
                # In the line of what else is told by provider, where there is one: each line costs.
                self.metrics.add(name, taken, BY_PROVIDER if provider else "", provider)
        self.line |= {"steps_ms": steps, "duration_ms": round((time.monotonic() - self._began) * 1000, 1)}
        # Printed, not logged: CloudWatch reads one JSON object a line, and `logging` would wrap it in another.
        print(json.dumps(self.line), *self.metrics.lines(), sep="\n")
        self.trace.send()


_COUNTED = {
    Outcome.STORED: "Stored",
    Outcome.DUPLICATE: "Duplicates",
    Outcome.CONFLICT: "Conflicts",
    BUFFERED: "Buffered",
}
