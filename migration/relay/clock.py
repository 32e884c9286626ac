"""The time, as the parts of the relay ask for it: one to reckon spans by, and one that providers and AWS share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock(NamedTuple):
    """Where the time comes from."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds that never go back."""
    wall_ms: Callable[[], int] = _wall_ms
    """Milliseconds since 1970."""


REAL = Clock()
