"""A circuit breaker: a target that fails again and again is left alone for a while, then tried by one request."""

from __future__ import annotations

import random

_OPENS_AFTER = 5
"""Failures in a row."""
_SHORTEST_S = 1.0
_LONGEST_S = 30.0


class Breaker:
    """One target's breaker, on a clock that its caller reads."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = _SHORTEST_S
        self._open_until = 0.0
        self._probing = False

    @property
    def state(self) -> str:
        """closed, open, or half-open while one request tries whether the target is back."""
        if self._failures < _OPENS_AFTER:
            return "closed"
        return "half-open" if self._probing else "open"

    def wait(self, now: float) -> float | None:
        """How long to wait before the next request, in seconds; None while another one tries."""
        if self._failures < _OPENS_AFTER:
            return 0.0
        if self._probing:
            return None
        return max(0.0, self._open_until - now)

    def begin(self) -> None:
        """A request goes out."""
        self._probing = self._failures >= _OPENS_AFTER

    def succeeded(self) -> None:
        """The target answered: whatever it said of the request, it is there."""
        self._failures = 0
        self._probing = False
        self._pause_s = _SHORTEST_S

    def failed(self, now: float) -> None:
        """The target did not answer, or answered that it cannot."""
        self._failures += 1
        if self._failures == _OPENS_AFTER or self._probing:
            # Jitter: several hosts must not come back at the same moment.
            self._open_until = now + self._pause_s * random.uniform(0.5, 1)  # noqa: S311
            self._pause_s = min(2 * self._pause_s, _LONGEST_S)
            self._probing = False
