"""A warm request's own CPU, its whole time, and its AWS calls: for a new, a duplicate and a late event.

Usage: scripts/bench.sh handler [--runs N] [--json]
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from typing import Any

from bench.system import HANDLERS, System, measured, shown, spread

_WARM_UP = 30
_MEASURED = ("cpu_ms", "ms", "calls")


def cases(bench: System, runs: int) -> list[tuple[str, dict[str, Any]]]:
    """Events by what they are to the table: new, duplicate, late."""
    listed: list[tuple[str, dict[str, Any]]] = [("warm-up", bench.event()) for _ in range(_WARM_UP)]
    hour_ago = int(time.time()) - 3600
    for _ in range(runs):
        payment = secrets.token_hex(8)
        new = bench.event(payment=payment)
        listed += [("new", new), ("duplicate", new), ("late", bench.event(payment=payment, created=hour_ago))]
    return listed


class Warm:
    """A handler's process that stays."""

    def __init__(self, bench: System, handler: str) -> None:
        self._process = subprocess.Popen(
            bench.command("invoke_many.py", handler),
            env=bench.variables(handler),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def handle(self, event: dict[str, Any]) -> dict[str, float]:
        """What one event took."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith('{"cpu_ms"'):
                told: dict[str, float] = json.loads(line)
                return told
        sys.exit(f"a handler ended: {self._process.wait()}")

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def measure(bench: System, runs: int) -> dict[str, Any]:
    """All handlers in turn, event by event, so that a drift of the machine meets them alike."""
    warm = {handler: Warm(bench, handler) for handler in HANDLERS}
    events = {handler: cases(bench, runs) for handler in HANDLERS}
    told: dict[str, dict[str, list[dict[str, float]]]] = {
        handler: {"warm-up": [], "new": [], "duplicate": [], "late": []} for handler in HANDLERS
    }
    for place in range(_WARM_UP + 3 * runs):
        for handler, process in warm.items():
            case, event = events[handler][place]
            told[handler][case].append(process.handle(event))
    for process in warm.values():
        process.close()
    return {
        handler: {
            case: {what: spread([each[what] for each in of_case[case]]) for what in _MEASURED}
            for case in ("new", "duplicate", "late")
        }
        for handler, of_case in told.items()
    }


def main() -> None:
    results = measured(__doc__, measure, runs=200)
    print("\nA warm request of 2.8 KB: own CPU, the whole time, and AWS calls; ms, minimum / median / maximum")
    for case in ("new", "duplicate", "late"):
        print(f"\n  {case + ' event':<16} {'CPU':<26} {'of boto3':<10} {'whole':<26} calls")
        for handler, told in results.items():
            ratio = told[case]["cpu_ms"]["median"] / results["boto3"][case]["cpu_ms"]["median"]
            taken = told[case]
            cpu, whole, calls = (shown(taken[measure]) for measure in ("cpu_ms", "ms", "calls"))
            print(f"  {handler:<16} {cpu:<26} {ratio:<10.2f} {whole:<26} {calls}")


if __name__ == "__main__":
    main()
