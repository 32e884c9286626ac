"""What each layer exports and others read: one class a layer, the same for both sides.

The layer that exports builds the class from its resources, a layer that reads gets the class back from
the other's stack. A field that one side lacks is a type error before it is a failed deployment.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pulumi

from envmig_stacks.errors import MissingLayerError, MissingOutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from envmig_stacks.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LayerOutputs:
    """The outputs of one layer."""

    layer: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The outputs' names, in order."""
        return tuple(field.name for field in fields(cls))

    def export(self) -> None:
        """Export every output of the layer from the stack that is being deployed."""
        for name in self.names():
            pulumi.export(name, getattr(self, name))

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Read the layer's outputs from its stack, which has the same name as ours.

        Raises (when the outputs are read)
        ----------------------------------
        MissingLayerError
            The stack has no outputs.
        MissingOutputError
            The stack lacks one output.
        """
        stack = f"{pulumi.get_organization()}/{project_of(cls.layer)}/{settings.stack}"
        reference = pulumi.StackReference(cls.layer, stack_name=stack)

        def pick(name: str, outputs: Mapping[str, Any]) -> Any:
            if not outputs:
                raise MissingLayerError(cls.layer, stack, settings.suffix)
            if name not in outputs:
                raise MissingOutputError(cls.layer, stack, settings.suffix, name)
            return outputs[name]

        return cls(**{name: reference.outputs.apply(partial(pick, name)) for name in cls.names()})


@dataclass(frozen=True, kw_only=True)
class DataOutputs(LayerOutputs):
    """The data layer: table, buffer, dead letters, alerts."""

    layer = "data"

    table_name: pulumi.Output[str]
    table_arn: pulumi.Output[str]
    table_indexes: pulumi.Output[dict[str, str]]
    """The index's name by what it is for."""
    index_shards: pulumi.Output[int]
    """Over how many partition keys writers and readers spread one day, month or status."""
    buffer_url: pulumi.Output[str]
    buffer_arn: pulumi.Output[str]
    dead_letters_url: pulumi.Output[str]
    dead_letters_arn: pulumi.Output[str]
    alerts_topic_arn: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class SecurityOutputs(LayerOutputs):
    """The security layer: the providers' keys, and a role for each function and caller.

    A role's unique id changes when it is made anew under its old ARN; what depends on the role itself
    depends on that id.
    """

    layer = "security"
    reads = ("data",)

    api_keys_secret_arn: pulumi.Output[str]
    role_arns: pulumi.Output[dict[str, str]]
    """ARN by holder: webhook, drain, validate, relay, reader, operator."""
    role_ids: pulumi.Output[dict[str, str]]
    """Unique id by holder."""


@dataclass(frozen=True, kw_only=True)
class ComputeOutputs(LayerOutputs):
    """The compute layer: the functions, and the webhook's URL."""

    layer = "compute"
    reads = ("data", "security")

    function_url: pulumi.Output[str]
    table_arn: pulumi.Output[str]
    webhook_function_name: pulumi.Output[str]
    webhook_function_arn: pulumi.Output[str]
    drain_function_name: pulumi.Output[str]


LAYERS: tuple[type[LayerOutputs], ...] = (DataOutputs, SecurityOutputs, ComputeOutputs)
"""The layers in the order of their deployment."""


def project_of(layer: str) -> str:
    """The Pulumi project of a layer."""
    return f"envmig-{layer}"


def readers_of(layer: str) -> tuple[str, ...]:
    """The layers that read a layer's outputs, in the order of their deployment."""
    return tuple(other.layer for other in LAYERS if layer in other.reads)


def constant(value: T) -> pulumi.Output[T]:
    """An output whose value the program knows."""
    return pulumi.Output.from_input(value)


def gathered(values: dict[str, pulumi.Output[T]]) -> pulumi.Output[dict[str, T]]:
    """One output of several, by name."""
    return pulumi.Output.all(**values)
