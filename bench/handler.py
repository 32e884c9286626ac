"""A warm request's own CPU, and its AWS calls: for a new, a duplicate and a late event.

Usage: scripts/bench.sh handler [--runs N] [--json]
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import time
from typing import Any

from bench.system import HANDLERS, System, shown, spread, system

_WARM_UP = 30


def measure(bench: System, handler: str, runs: int) -> dict[str, Any]:
    """New, duplicate and late events through one warm process."""
    cases: list[tuple[str, dict[str, Any]]] = [("warm-up", bench.event()) for _ in range(_WARM_UP)]
    hour_ago = int(time.time()) - 3600
    for _ in range(runs):
        payment = secrets.token_hex(8)
        new = bench.event(payment=payment)
        cases += [("new", new), ("duplicate", new), ("late", bench.event(payment=payment, created=hour_ago))]
    ran = subprocess.run(
        bench.command("invoke_many.py", handler),
        input="\n".join(json.dumps(event) for _, event in cases),
        env=bench.variables(handler),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if ran.returncode:
        sys.exit(f"{handler} failed:\n{ran.stderr}")
    told = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"cpu_ms"')]
    results: dict[str, Any] = {}
    for case in ("new", "duplicate", "late"):
        of_case = [each for (name, _), each in zip(cases, told, strict=True) if name == case]
        results[case] = {
            "cpu_ms": spread([each["cpu_ms"] for each in of_case]),
            "calls": spread([each["calls"] for each in of_case]),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with system() as bench:
        results = {handler: measure(bench, handler, arguments.runs) for handler in HANDLERS}
    if arguments.json:
        print(json.dumps(results))
        return
    print("\nA warm request of 2.8 KB: own CPU in ms, and AWS calls; minimum / median / maximum")
    for case in ("new", "duplicate", "late"):
        print(f"\n  {case + ' event':<16} {'CPU':<28} {'of boto3':<10} calls")
        for handler, told in results.items():
            ratio = told[case]["cpu_ms"]["median"] / results["boto3"][case]["cpu_ms"]["median"]
            print(f"  {handler:<16} {shown(told[case]['cpu_ms']):<28} {ratio:<10.2f} {shown(told[case]['calls'])}")


if __name__ == "__main__":
    main()
