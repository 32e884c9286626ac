"""Errors that a person who deploys can cause; Pulumi prints their message alone, without a traceback."""

from __future__ import annotations

import pulumi


class StackError(pulumi.RunError):
    """A deployment cannot go on; the message says what happened and what to do."""


class InvalidSettingError(StackError):
    """A setting has a value that no deployment can use."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"the setting {name} is {value!r}, but it must be {expected}")


class SuffixConflictError(StackError):
    """Setting and environment variable name different suffixes, so it is unclear which resources are meant."""

    def __init__(self, configured: str, variable: str, stack: str) -> None:
        super().__init__(
            f"the stack {stack} is configured with environmentSuffix {configured!r}, but the variable "
            f"ENVIRONMENT_SUFFIX says {variable!r}: deploying would replace one environment's resources by "
            f"another's. Unset ENVIRONMENT_SUFFIX, or name the other stack: scripts/deploy_all.sh TARGET "
            f"--suffix {variable}"
        )


class MissingLayerError(StackError):
    """A layer that this one reads has no outputs: it was never deployed, or it was destroyed."""

    def __init__(self, layer: str, stack: str, suffix: str) -> None:
        super().__init__(
            f"the layer {layer} (stack {stack}) is not deployed, and this layer needs its outputs. Deploy it "
            f"first: {deploy_command(layer, suffix)}"
        )


class MissingOutputError(StackError):
    """A layer that this one reads is deployed, but from a program that did not export an output yet."""

    def __init__(self, layer: str, stack: str, suffix: str, output: str) -> None:
        super().__init__(
            f"the layer {layer} (stack {stack}) is deployed, but without the output {output}, which this layer "
            f"needs. Deploy its current program: {deploy_command(layer, suffix)}"
        )


def deploy_command(layer: str, suffix: str) -> str:
    """The command line that deploys a layer, for messages."""
    return f"scripts/deploy_all.sh TARGET {layer} --suffix {suffix} (TARGET: local or aws)"
