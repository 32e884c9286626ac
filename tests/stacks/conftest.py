from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Declared:
    """What one program declares."""

    resources: list[dict[str, Any]]
    provider: dict[str, Any]
    exports: dict[str, Any]

    def one(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """The inputs of the one resource of a kind (such as Table) with a logical name."""
        found = [
            each["inputs"]
            for each in self.resources
            if each["type"].endswith(f":{kind}") and name in (None, each["name"])
        ]
        assert len(found) == 1, f"{len(found)} resources {kind} {name}"
        inputs: dict[str, Any] = found[0]
        return inputs

    def every(self, kind: str) -> dict[str, dict[str, Any]]:
        """The inputs of all resources of a kind by logical name."""
        return {each["name"]: each["inputs"] for each in self.resources if each["type"].endswith(f":{kind}")}


def run(
    layer: str,
    *,
    stack: str = "prod",
    config: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    upstream: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Run one program on the mocks; give what it printed."""
    clean = {name: value for name, value in os.environ.items() if name != "ENVIRONMENT_SUFFIX"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.stacks.record", str(ROOT / "stacks" / layer), stack],
        input=json.dumps({"upstream": upstream or {}, "config": config or {}}),
        env={**clean, **(environment or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    printed: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return printed


@cache
def declared(layer: str, stack: str = "prod") -> Declared:
    """A layer as it is declared on top of the layers that it reads."""
    from envmig_stacks.contract import LAYERS

    reads = next(each.reads for each in LAYERS if each.layer == layer)
    upstream = {f"organization/envmig-{each}/{stack}": declared(each, stack).exports for each in reads}
    printed = run(layer, stack=stack, upstream=upstream)
    assert "error" not in printed, printed
    assert len(printed["providers"]) == 1
    return Declared(printed["resources"], printed["providers"][0], printed["exports"])


@pytest.fixture
def data() -> Declared:
    return declared("data")


@pytest.fixture
def security() -> Declared:
    return declared("security")


@pytest.fixture
def compute() -> Declared:
    return declared("compute")
