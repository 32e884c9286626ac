"""The target local: the emulator and the local engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from envmig_stacks.contract import project_of
from local_aws.agent import TRACES
from local_aws.cloud import Cloud
from local_aws.emulator import REGION, Emulator
from local_aws.errors import NotRunningError
from local_aws.state import LayerState, anything_deployed
from scripts.layers.target import ORDER, ROOT, LayerError, program, program_environment

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

_HOLDERS = {"invoker": "relay", "reader": "reader", "operator": "operator"}
"""Whose credentials outputs.sh gives, by the name under which it does."""


class Local:
    """AWS on this machine."""

    name = "local"

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.home = Path(os.environ["ENVMIG_LOCAL_DIR"])
        self._emulator = Emulator(self.home)

    def deploy(self, layer: str) -> None:
        self._engine("up", layer)

    def preview(self, layer: str) -> None:
        self._engine("preview", layer)

    def destroy(self, layer: str) -> None:
        self._engine("destroy", layer)

    def outputs(self, layer: str) -> dict[str, Any] | None:
        state = self._state(layer)
        return state.outputs if state.deployed else None

    def extra_outputs(self) -> dict[str, Any]:
        try:
            endpoint = self._emulator.endpoint()
        except NotRunningError:
            if not any(self._state(layer).deployed for layer in ORDER):
                return {}
            endpoint = self._emulator.ensure()
        url = (self.outputs("compute") or {}).get("function_url")
        local: dict[str, Any] = {
            "endpoint": endpoint,
            "region": REGION,
            "traces": str(self.home / TRACES),
            "function_url": url,
            "function_url_host": urlsplit(url).netloc if url else None,
        }
        roles = (self.outputs("security") or {}).get("role_arns", {})
        for name, holder in _HOLDERS.items():
            local[name] = _assume(Cloud(endpoint, REGION, {}), roles[holder]) if holder in roles else None
        return {"local": local}

    def secrets_manager(self) -> SecretsManagerClient:
        return Cloud(self._emulator.ensure(), REGION, {}).secretsmanager

    def stop_when_empty(self) -> None:
        """Stop the emulator once nothing is deployed in it, under any suffix."""
        if not anything_deployed(self.home):
            self._emulator.stop()

    def _state(self, layer: str) -> LayerState:
        return LayerState.load(self.home, self.suffix, project_of(layer))

    def _engine(self, command: str, layer: str) -> None:
        # A process of its own for each program: they have modules of the same names, and their own settings.
        ran = subprocess.run(
            [sys.executable, "-m", "local_aws", command, str(program(layer)), "--stack", self.suffix],
            env=program_environment(self.suffix),
            cwd=ROOT,
            check=False,
        )
        if ran.returncode:
            raise LayerError


def _assume(cloud: Cloud, role: str) -> dict[str, str]:
    credentials = cloud.sts.assume_role(RoleArn=role, RoleSessionName="outputs")["Credentials"]
    return {
        "access_key_id": credentials["AccessKeyId"],
        "secret_access_key": credentials["SecretAccessKey"],
        "session_token": credentials["SessionToken"],
    }
