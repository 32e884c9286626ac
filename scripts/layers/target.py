"""What a target (local or aws) can do with one layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from envmig_stacks.contract import LAYERS

if TYPE_CHECKING:
    from types_boto3_secretsmanager import SecretsManagerClient

ROOT = Path(__file__).resolve().parents[2]

ORDER = [layer.layer for layer in LAYERS]
"""The layers' names in the order of their deployment."""


class LayerError(Exception):
    """A layer cannot be handled; the message is the plain reason. Empty when it was already printed."""


class Target(Protocol):
    """A place to which layers are deployed."""

    name: str

    def deploy(self, layer: str) -> None:
        """Make the cloud match the layer's program, with progress, or raise LayerError."""

    def preview(self, layer: str) -> None:
        """Show what a deployment would change, or raise LayerError."""

    def destroy(self, layer: str) -> None:
        """Delete everything of the layer, with progress, or raise LayerError."""

    def outputs(self, layer: str) -> dict[str, Any] | None:
        """The outputs of a deployed layer; None when it is not deployed."""

    def extra_outputs(self) -> dict[str, Any]:
        """What outputs.sh tells beside the layers' outputs."""

    def secrets_manager(self) -> SecretsManagerClient:
        """Secrets Manager, with the right to put the API keys."""


def program(layer: str) -> Path:
    """The folder of a layer's Pulumi program."""
    return ROOT / "stacks" / layer


def program_environment(suffix: str) -> dict[str, str]:
    """The environment of a program: the scripts' --suffix decides, whatever variable was set before."""
    return {**os.environ, "ENVIRONMENT_SUFFIX": suffix}
