"""The same handlers as a Pulumi provider plugin, so that the real Pulumi CLI can work against the emulator.

Attach it with PULUMI_DEBUG_PROVIDERS=aws:<port>. It serves raw requests rather than
pulumi.provider.experimental, whose servicer lacks Attach and Handshake and drops the hashes of packages.
https://www.pulumi.com/docs/iac/build-with-pulumi/architecture/providers/ and provider.proto
"""

from __future__ import annotations

import json
from concurrent import futures
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from local_aws.cloud import Cloud
from local_aws.resources import handler_of, look_up
from local_aws.values import from_struct, revealed, to_struct

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = "7.51.1"


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """The AWS provider of one emulator."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._cloud = Cloud(endpoint, "us-east-1", {})

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return plugin_pb2.PluginInfo(version=_VERSION)

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        changed = request.news != request.old_inputs
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        settings = from_struct(request.args)
        tags = settings.get("defaultTags", {})
        tags = json.loads(tags) if isinstance(tags, str) else tags
        self._cloud = Cloud(self._endpoint, settings.get("region", "us-east-1"), tags.get("tags", {}))
        return provider_pb2.ConfigureResponse(acceptSecrets=True)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        inputs = handler_of(*_identity(request)).check(self._cloud, _identity(request)[1], from_struct(request.news))
        return provider_pb2.CheckResponse(inputs=to_struct(inputs))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        old, new = from_struct(request.old_inputs), from_struct(request.news)
        difference = handler_of(*_identity(request)).diff(old, new)
        some = provider_pb2.DiffResponse.DIFF_SOME
        return provider_pb2.DiffResponse(
            changes=some if difference.changed else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=difference.replaces,
            diffs=difference.changed,
            deleteBeforeReplace=bool(difference.replaces),
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        handler = handler_of(*_identity(request))
        inputs = from_struct(request.properties)
        wanted = revealed(inputs)
        handler.create(self._cloud, wanted)
        resource_id = handler.identify(self._cloud, wanted)
        outputs = {**inputs, **(handler.read(self._cloud, resource_id) or {})}
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        found = handler_of(*_identity(request)).read(self._cloud, request.id)
        if found is None:
            return provider_pb2.ReadResponse(id="")
        properties = {**from_struct(request.properties), **found}
        return provider_pb2.ReadResponse(id=request.id, properties=to_struct(properties), inputs=request.inputs)

    def Update(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        handler = handler_of(*_identity(request))
        inputs = from_struct(request.news)
        handler.update(self._cloud, request.id, revealed(from_struct(request.old_inputs)), revealed(inputs))
        outputs = {**inputs, **(handler.read(self._cloud, request.id) or {})}
        return provider_pb2.UpdateResponse(properties=to_struct(outputs))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        handler_of(*_identity(request)).remove(self._cloud, request.id)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(look_up(self._cloud, request.tok)))
        return response


def _identity(request: Any) -> tuple[str, str]:
    """The resource's type and name, as its URN has them."""
    parts = request.urn.split("::")
    return parts[2].rpartition("$")[2], parts[3]


@contextmanager
def serving(endpoint: str) -> Iterator[int]:
    """Serve the plugin for an emulator on a port of loopback, which is given."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Plugin(endpoint), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=1).wait()
