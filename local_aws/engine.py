"""The local engine: runs one Pulumi program and makes the emulator match it, step by step, as Pulumi does.

It stands where the SDK's mocks stand: the SDK sends it each resource once that resource's inputs are known,
and it answers with the outputs. Resources that the program no longer declares are deleted at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import yaml
from google.protobuf import empty_pb2
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from local_aws.cloud import Cloud
from local_aws.emulator import REGION
from local_aws.errors import ForeignResourceError, LocalAwsError
from local_aws.resources import handler_of, look_up
from local_aws.state import LayerState, Recorded
from local_aws.values import UNKNOWN, Secret, concealed, from_struct, has_unknown, revealed, to_struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_aws.resources.base import Difference, Handler

_ORGANIZATION = "organization"
_STACK = "pulumi:pulumi:Stack"
_PROVIDER = "pulumi:providers:aws"
_MARKS = {"created": "+", "updated": "~", "replaced": "±", "deleted": "-", "unchanged": "="}


@dataclass
class Run:
    """What one run did or, in a preview, would do."""

    preview: bool
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_MARKS, 0))
    made: set[str] = field(default_factory=set)

    def tell(self, step: str, token: str, name: str, details: list[str] | None = None) -> None:
        """Count a step, and print it unless nothing changes."""
        self.counts[step] += 1
        if step == "unchanged":
            return
        print(f"  {_MARKS[step]} {token:<44} {name:<22} {'would be ' if self.preview else ''}{step}")
        for detail in details or []:
            print(f"      {detail}")

    def __str__(self) -> str:
        done = [f"{count} {step}" for step, count in self.counts.items() if count and step != "unchanged"]
        kept = f"{self.counts['unchanged']} unchanged"
        if not done:
            return f"nothing {'would change' if self.preview else 'changed'}: {kept}"
        return f"{'would be: ' if self.preview else ''}{', '.join([*done, kept])}"


class _Monitor(mocks.MockMonitor):
    """Answers the SDK's requests for one layer."""

    def __init__(self, home: Path, endpoint: str, state: LayerState, run: Run) -> None:
        super().__init__(mocks=None)  # type: ignore[arg-type]  # every method that would use them is ours
        self._home = home
        self._endpoint = endpoint
        self._state = state
        self._run = run
        self._clouds: dict[str, Cloud] = {}
        self._order: list[str] = []
        self._one_step = threading.Lock()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        parents = parent.split("::")[2] if parent else ""
        qualified = type_ if parents in ("", _STACK) else f"{parents}${type_}"
        return f"urn:pulumi:{settings.get_stack()}::{settings.get_project()}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == _STACK:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = from_struct(request.object)
        if request.type == _PROVIDER:
            tags = json.loads(inputs.get("defaultTags", "{}")).get("tags", {})
            self._clouds[f"{urn}::local"] = Cloud(self._endpoint, inputs["region"], tags)
            return resource_pb2.RegisterResourceResponse(urn=urn, id="local", object=request.object)
        sources = {name: list(each.urns) for name, each in request.propertyDependencies.items()}
        with self._one_step:
            if request.provider not in self._clouds:
                raise LocalAwsError(f"{request.name!r} has no explicit provider: pass the layer's options to it.")
            step = _Step(request.type, request.name, urn, self._clouds[request.provider], self._state, self._run)
            resource_id, outputs = step.take(inputs, sources)
            self._order.append(urn)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=resource_id, object=to_struct(outputs))

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        if request.type != "pulumi:pulumi:StackReference":
            raise LocalAwsError(f"the local engine reads no existing {request.type} (of {request.name!r}).")
        organization, project, stack = request.id.split("/")
        layer = LayerState.load(self._home, stack, project)
        if organization != _ORGANIZATION or (not layer.deployed and not self._run.preview):
            outputs: Any = {}
        else:
            outputs = layer.outputs if layer.deployed else UNKNOWN
        return resource_pb2.ReadResourceResponse(
            urn=self.make_urn(request.parent, request.type, request.name),
            properties=to_struct({"name": request.id, "outputs": outputs, "secretOutputNames": []}),
        )

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        with self._one_step:
            answer = look_up(self._clouds[request.provider], request.tok)
        response = resource_pb2.ResourceInvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(answer))
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if request.urn.split("::")[2] == _STACK:
            self._state.outputs = from_struct(request.outputs)
        return empty_pb2.Empty()

    def finish(self) -> None:
        """Delete what the program no longer declares, and keep the order in which the rest was made."""
        gone = [urn for urn in self._state.resources if urn not in self._order]
        cloud = next(iter(self._clouds.values()), Cloud(self._endpoint, REGION, {}))
        for urn in reversed(gone):
            delete(urn, cloud, self._state, self._run)
        if not self._run.preview:
            self._state.resources = {urn: self._state.resources[urn] for urn in self._order}
            self._state.outputs = concealed(self._state.outputs)
            self._state.save()


@dataclass
class _Step:
    """One resource's way from its recorded state to the program's wish."""

    token: str
    name: str
    urn: str
    cloud: Cloud
    state: LayerState
    run: Run

    def take(self, inputs: dict[str, Any], sources: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
        """Create, update, replace or leave the resource; give its id and outputs."""
        handler = handler_of(self.token, self.name)
        inputs = handler.check(self.cloud, self.name, inputs)
        old = self._still_there(handler, sources)
        if old is None:
            self.run.tell("created", self.token, self.name)
            return self._create(handler, inputs, sources)
        difference = handler.diff(old.inputs, inputs)
        if difference.replaces:
            self.run.tell("replaced", self.token, self.name, _changes(difference, old, inputs))
            if not self.run.preview:
                self._delete_what_goes_with(self.urn)
            return self._create(handler, inputs, sources)
        if difference.changed:
            self.run.tell("updated", self.token, self.name, _changes(difference, old, inputs))
            if self.run.preview:
                return old.id, {**old.outputs, **inputs}
            handler.update(self.cloud, old.id, old.inputs, revealed(inputs))
            return self._record(handler, old.id, inputs, sources)
        self.run.tell("unchanged", self.token, self.name)
        if self.run.preview:
            return old.id, {**old.outputs, **inputs}
        return self._record(handler, old.id, inputs, sources)

    def _still_there(self, handler: Handler, sources: dict[str, list[str]]) -> Recorded | None:
        """The recorded resource, unless the emulator lost it; what a failure left in doubt is cleared."""
        if not self.run.preview and (doubtful := self.state.pending.pop(self.urn, None)):
            handler.remove(self.cloud, doubtful)
        old = self.state.resources.get(self.urn)
        if old is None or handler.read(self.cloud, old.id) is None:
            return None
        # What is attached to something that was made anew went with the old one, whatever stands in its place.
        anew = handler.attached and any(urn in self.run.made for urns in sources.values() for urn in urns)
        return None if anew else old

    def _create(
        self, handler: Handler, inputs: dict[str, Any], sources: dict[str, list[str]]
    ) -> tuple[str, dict[str, Any]]:
        self.run.made.add(self.urn)
        if self.run.preview:
            return "", inputs
        wanted = revealed(inputs)
        expected = handler.identify(self.cloud, wanted)
        if not handler.attached and handler.read(self.cloud, expected) is not None:
            raise ForeignResourceError(self.token, self.name, expected)
        # What fails or crashes half way may have left something; the next run clears it before it begins again.
        self.state.pending[self.urn] = expected
        self.state.save()
        handler.create(self.cloud, wanted)
        del self.state.pending[self.urn]
        return self._record(handler, handler.identify(self.cloud, wanted), inputs, sources)

    def _record(
        self, handler: Handler, resource_id: str, inputs: dict[str, Any], sources: dict[str, list[str]]
    ) -> tuple[str, dict[str, Any]]:
        outputs = {**inputs, **(handler.read(self.cloud, resource_id) or {})}
        self.state.resources[self.urn] = Recorded(
            token=self.token,
            name=self.name,
            id=resource_id,
            inputs=concealed(inputs),
            outputs=concealed(outputs),
            property_dependencies=sources,
        )
        self.state.save()
        return resource_id, outputs

    def _delete_what_goes_with(self, urn: str) -> None:
        """Delete a resource that is replaced, after those that cannot outlive it (a role's policy, say)."""
        for other, recorded in reversed(list(self.state.resources.items())):
            fixed = handler_of(recorded.token, recorded.name).replace_on
            if any(urn in recorded.property_dependencies.get(name, []) for name in fixed):
                self._delete_what_goes_with(other)
        recorded = self.state.resources.pop(urn)
        handler_of(recorded.token, recorded.name).remove(self.cloud, recorded.id)
        self.state.save()


def _changes(difference: Difference, old: Recorded, inputs: dict[str, Any]) -> list[str]:
    def shown(value: Any) -> str:
        text = value if isinstance(value, str) else repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (a line's width)

    return [
        f"{name}: {shown(old.inputs.get(name))} => {shown(inputs.get(name))}"
        + (" (needs a new one)" if name in difference.replaces else "")
        for name in difference.changed
    ]


def delete(urn: str, cloud: Cloud, state: LayerState, run: Run) -> None:
    """Delete one recorded resource."""
    recorded = state.resources[urn]
    run.tell("deleted", recorded.token, recorded.name)
    if not run.preview:
        handler_of(recorded.token, recorded.name).remove(cloud, recorded.id)
        del state.resources[urn]
        state.save()


def deploy(program: Path, home: Path, endpoint: str, stack: str, *, preview: bool) -> tuple[Run, dict[str, Any]]:
    """Run the program in a folder, and give what was done and the layer's outputs.

    Raises
    ------
    LocalAwsError
        The engine cannot carry the program out.
    pulumi.RunError
        The program itself refuses.
    """
    project = _project(program)
    state = LayerState.load(home, stack, project)
    run = Run(preview)
    monitor = _Monitor(home, endpoint, state, run)
    settings.configure(
        mocks.MockSettings(
            monitor=monitor,
            monitor_features=set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
            engine=mocks.MockEngine(None),
            project=project,
            stack=stack,
            dry_run=preview,
            organization=_ORGANIZATION,
            callbacks=None,
        )
    )
    pulumi.runtime.set_all_config(_configuration(program, stack))
    with _inside(program):
        asyncio.run(run_in_stack(lambda: _execute(program)))
    monitor.finish()
    return run, {name: _shown(value) for name, value in sorted(state.outputs.items())}


def destroy(program: Path, home: Path, endpoint: str, region: str, stack: str) -> Run:
    """Delete every recorded resource of a layer, last made first."""
    project = _project(program)
    state = LayerState.load(home, stack, project)
    run = Run(preview=False)
    cloud = Cloud(endpoint, region, {})
    for urn, doubtful in list(state.pending.items()):
        handler_of(urn.split("::")[2], urn.split("::")[3]).remove(cloud, doubtful)
        del state.pending[urn]
    for urn in reversed(list(state.resources)):
        delete(urn, cloud, state, run)
    state.save()
    return run


def _project(program: Path) -> str:
    return str(yaml.safe_load((program / "Pulumi.yaml").read_text())["name"])


def _execute(program: Path) -> None:
    runpy.run_path(str(program / "__main__.py"), run_name="__main__")


@contextmanager
def _inside(program: Path) -> Iterator[None]:
    """The program's folder as the working and import folder, as Pulumi's language host has it."""
    before = Path.cwd()
    os.chdir(program)
    sys.path.insert(0, str(program))
    try:
        yield
    finally:
        sys.path.remove(str(program))
        os.chdir(before)


def _configuration(program: Path, stack: str) -> dict[str, str]:
    file = program / f"Pulumi.{stack}.yaml"
    if not file.exists():
        return {}
    values = (yaml.safe_load(file.read_text()) or {}).get("config", {})
    for name, value in values.items():
        if isinstance(value, dict) and "secure" in value:
            raise LocalAwsError(f"{file.name} has the encrypted setting {name}, which the local engine cannot read.")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _shown(value: Any) -> Any:
    if has_unknown(value):
        return "(known after deploy)"
    return "[secret]" if isinstance(value, Secret) else value
