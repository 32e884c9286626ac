"""Runs one Pulumi program on Pulumi's mocks in a process of its own, and prints what it declares as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf import empty_pb2
from pulumi.runtime import mocks, settings
from pulumi.runtime.stack import run_in_stack

ACCOUNT = "123456789012"


class Recorder(mocks.Mocks):
    """Answers like AWS would, and keeps what was asked for."""

    def __init__(self, upstream: dict[str, dict[str, Any]]) -> None:
        self.upstream = upstream
        self.resources: list[dict[str, Any]] = []
        self.providers: list[dict[str, Any]] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ == "pulumi:pulumi:StackReference":
            outputs = self.upstream.get(str(args.resource_id), {})
            return args.name, {"name": args.resource_id, "outputs": outputs, "secretOutputNames": []}
        if args.typ == "pulumi:providers:aws":
            self.providers.append(args.inputs)
            return "provider", args.inputs
        inputs = _plain(args.inputs)
        self.resources.append({"type": args.typ, "name": args.name, "provider": args.provider, "inputs": inputs})
        name = inputs.get("name", args.name)
        service = args.typ.split(":")[1].split("/")[0]
        return f"{args.name}-id", {
            **args.inputs,
            "arn": f"arn:aws:{service}:us-east-1:{ACCOUNT}:{name}",
            "url": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}",
            "uniqueId": f"AROA-{name}",
            "functionUrl": "https://abc.lambda-url.us-east-1.on.aws/",
        }

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        assert args.token == "aws:index/getCallerIdentity:getCallerIdentity"
        return {"accountId": ACCOUNT, "id": ACCOUNT, "arn": "", "userId": ""}, []


class Monitor(mocks.MockMonitor):
    """The mocks' monitor, which keeps the exports too."""

    exports: dict[str, Any]

    def RegisterResourceOutputs(self, request: Any) -> Any:
        from google.protobuf import json_format

        self.exports = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)


def _plain(value: Any) -> Any:
    if isinstance(value, pulumi.AssetArchive):
        return sorted(value.assets)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _execute() -> None:
    runpy.run_path("__main__.py", run_name="__main__")


def main() -> None:
    program, stack = Path(sys.argv[1]), sys.argv[2]
    given = json.loads(sys.stdin.read())
    recorder = Recorder(given["upstream"])
    monitor = Monitor(recorder)
    settings.configure(
        mocks.MockSettings(
            monitor=monitor,
            monitor_features=set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
            engine=mocks.MockEngine(None),
            project=f"envmig-{program.name}",
            stack=stack,
            dry_run=False,
            organization="organization",
            callbacks=None,
        )
    )
    pulumi.runtime.set_all_config(given["config"])
    sys.path.insert(0, str(program))
    os.chdir(program)
    try:
        asyncio.run(run_in_stack(_execute))
    except pulumi.RunError as error:
        print(json.dumps({"error": str(error)}))
        return
    print(json.dumps({"resources": recorder.resources, "providers": recorder.providers, "exports": monitor.exports}))


if __name__ == "__main__":
    main()
