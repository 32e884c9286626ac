"""A local AWS of the tests' own, apart from the developer's in .local."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

from local_aws.emulator import Emulator
from migration.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]


_DEALT_OUT = "test_storm"
"""The file whose tests take longest, each by itself."""


class ByFile(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """A file's tests stay together on one worker; those of the longest file are dealt out to all."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if _DEALT_OUT in nodeid else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: begun last, they would keep one worker busy while the others have nothing left."""
    items.sort(key=lambda item: _DEALT_OUT not in item.nodeid)


@pytest.fixture(scope="session")
def local_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for local state with the emulator's environment, and no emulator left running in it at the end."""
    home = tmp_path_factory.mktemp("local")
    (home / "emulator-venv").symlink_to(ROOT / ".local" / "emulator-venv")
    before = os.environ.get("ENVMIG_LOCAL_DIR")
    os.environ["ENVMIG_LOCAL_DIR"] = str(home)
    yield home
    Emulator(home).stop()
    if before is None:
        del os.environ["ENVMIG_LOCAL_DIR"]
    else:
        os.environ["ENVMIG_LOCAL_DIR"] = before


@pytest.fixture(scope="session")
def endpoint(local_home: Path) -> str:
    """The address of a running emulator."""
    return Emulator(local_home).ensure()


def run_script(
    name: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts as a person would, on the tests' own local AWS."""
    clean = {name: value for name, value in os.environ.items() if name not in ("ENVIRONMENT_SUFFIX", "APIKEYS_FILE")}
    return subprocess.run(
        [str(ROOT / "scripts" / name), *arguments],
        env={**clean, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="session")
def deployment(local_home: Path) -> Deployment:
    """All three layers, deployed by the script."""
    ran = run_script("deploy_all.sh", "local", "--suffix", "e2e")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Deployment.find("local", "e2e")
