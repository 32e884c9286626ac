"""From process start to the first webhook stored, under the CPU that 512 MB of Lambda memory buys, and without limit.

Usage: scripts/bench.sh cold_start [--runs N] [--json]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.system import HANDLERS, System, measured, now, shown, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUOTA = 0.29
"""Of one CPU: 512 of the 1,769 MB at which Lambda gives a whole one.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

_PERIOD_US = 100_000


@contextmanager
def cpu_quota(share: float) -> Iterator[Callable[[], None] | str]:
    """A control group with a share of one CPU: what a child calls to enter it, or the reason why there is none."""
    version_1, version_2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    name = f"envmig-bench-{os.getpid()}"
    quota = str(int(share * _PERIOD_US))
    try:
        if (version_1 / "cpu.cfs_quota_us").exists() or (version_1 / "cgroup.procs").exists():
            group = version_1 / name
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(quota)
        elif (version_2 / "cgroup.controllers").exists():
            group = version_2 / name
            group.mkdir()
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        else:
            yield "there are no control groups"
            return
    except OSError as error:
        yield f"no control group can be made: {error}"
        return
    try:

        def enter() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        yield enter
    finally:
        group.rmdir()


def once(bench: System, handler: str, enter: Callable[[], None] | None) -> dict[str, float]:
    """One fresh process; milliseconds in all, of its initialisation, and of its first request."""
    event = json.dumps(bench.event())
    started = now()
    ran = subprocess.run(
        bench.command("invoke_once.py", handler),
        input=event,
        env=bench.variables(handler),
        preexec_fn=enter,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ran.returncode:
        sys.exit(f"{handler} failed:\n{ran.stderr}")
    told = json.loads(ran.stdout.splitlines()[-1])
    return {
        "total": (told["done"] - started) * 1000,
        "init": (told["ready"] - told["began"]) * 1000,
        "first": (told["done"] - told["asked"]) * 1000,
    }


def measure(bench: System, runs: int, enter: Callable[[], None] | None) -> dict[str, Any]:
    """All handlers in turn, so that a drift of the machine meets them alike."""
    taken: dict[str, list[dict[str, float]]] = {handler: [] for handler in HANDLERS}
    for _ in range(runs):
        for handler in HANDLERS:
            taken[handler].append(once(bench, handler, enter))
    return {
        handler: {
            **spread([each["total"] for each in told]),
            "init": spread([each["init"] for each in told]),
            "first": spread([each["first"] for each in told]),
        }
        for handler, told in taken.items()
    }


def shares(bench: System, runs: int) -> dict[str, Any]:
    """With the share of a CPU that Lambda gives, where it can be set, and with a whole one."""
    results: dict[str, Any] = {}
    for handler in HANDLERS:
        once(bench, handler, None)  # fills the disk's cache for all alike
    with cpu_quota(QUOTA) as enter:
        if isinstance(enter, str):
            results["quota"] = {"skipped": enter}
        else:
            results["quota"] = measure(bench, runs, enter)
    results["full"] = measure(bench, runs, None)
    return results


def main() -> None:
    results = measured(__doc__, shares, runs=15)
    for share, title in (("quota", f"{QUOTA} CPU"), ("full", "full CPU")):
        print(f"\nCold start, process start to first webhook stored, {title}; ms, minimum / median / maximum")
        if "skipped" in results[share]:
            print(f"  skipped: {results[share]['skipped']}")
            continue
        print(f"  {'handler':<12} {'total':<26} {'initialisation':<26} {'first request':<26} of boto3's median")
        for handler, told in results[share].items():
            ratio = told["median"] / results[share]["boto3"]["median"]
            print(
                f"  {handler:<12} {shown(told):<26} {shown(told['init']):<26} {shown(told['first']):<26} {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
