"""The target aws: the Pulumi CLI and nothing else."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3

from scripts.layers.target import LayerError, program, program_environment

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient


class Aws:
    """An AWS account, through `pulumi` in the backend and with the credentials that the shell has."""

    name = "aws"

    def __init__(self, suffix: str, *, unattended: bool) -> None:
        self.suffix = suffix
        self._asks_nothing = ["--yes", "--skip-preview"] if unattended else []

    def deploy(self, layer: str) -> None:
        up = ["up", "--stack", self.suffix, *self._asks_nothing]
        select = ["stack", "select", "--create", "--stack", self.suffix]
        self._require([select, up], layer)
        self._run(select, layer)
        self._run(up, layer)

    def preview(self, layer: str) -> None:
        command = ["preview", "--stack", self.suffix, "--diff"]
        self._require([command], layer)
        existed = self._stack_exists(layer)
        if not existed:
            self._run(["stack", "init", "--stack", self.suffix], layer)
        try:
            self._run(command, layer)
        finally:
            if not existed:
                self._run(["stack", "rm", "--stack", self.suffix, "--yes", "--preserve-config"], layer)

    def destroy(self, layer: str) -> None:
        command = ["destroy", "--stack", self.suffix, *self._asks_nothing]
        self._require([command], layer)
        if not self._stack_exists(layer):
            print(f"  {layer}: there is no stack {self.suffix}")
            return
        self._run(command, layer)

    def outputs(self, layer: str) -> dict[str, Any] | None:
        command = ["stack", "output", "--json", "--stack", self.suffix]
        self._require([command], layer)
        if not self._stack_exists(layer):
            return None
        outputs: dict[str, Any] = json.loads(self._capture(command, layer))
        return outputs or None

    def extra_outputs(self) -> dict[str, Any]:
        return {}

    def secrets_manager(self) -> SecretsManagerClient:
        arn = (self.outputs("security") or {})["api_keys_secret_arn"]
        return boto3.client("secretsmanager", region_name=arn.split(":")[3])

    def _stack_exists(self, layer: str) -> bool:
        stacks = json.loads(self._capture(["stack", "ls", "--json"], layer))
        return any(stack["name"].split("/")[-1] == self.suffix for stack in stacks)

    def _require(self, commands: list[list[str]], layer: str) -> None:
        if shutil.which("pulumi"):
            return
        lines = "\n".join(f"    pulumi {shlex.join(command)}" for command in commands)
        raise LayerError(
            "the Pulumi CLI is not on the PATH. Install it from https://www.pulumi.com/docs/install/ (with its "
            "Python language host, which comes with it) and log in to a backend (pulumi login), then run this "
            f"again. It would have run, in stacks/{layer}:\n{lines}"
        )

    def _run(self, command: list[str], layer: str) -> None:
        ran = subprocess.run(
            ["pulumi", *command], cwd=program(layer), env=program_environment(self.suffix), check=False
        )
        if ran.returncode:
            raise LayerError(f"pulumi {shlex.join(command)} failed in stacks/{layer}: see its message above")

    def _capture(self, command: list[str], layer: str) -> str:
        ran = subprocess.run(
            ["pulumi", *command],
            cwd=program(layer),
            env=program_environment(self.suffix),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            sys.stderr.write(ran.stderr)
            raise LayerError(f"pulumi {shlex.join(command)} failed in stacks/{layer}: see its message above")
        return ran.stdout
