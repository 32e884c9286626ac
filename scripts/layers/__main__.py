"""deploy, preview, destroy and outputs: which layers, in which order, and what must not happen."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from envmig_stacks.contract import LAYERS, readers_of
from local_aws.errors import LocalAwsError
from scripts.layers.aws import Aws
from scripts.layers.farewell import say_what_is_next
from scripts.layers.keys import put_keys, read_keys
from scripts.layers.local import Local
from scripts.layers.target import ORDER, LayerError, Target

READS = {layer.layer: layer.reads for layer in LAYERS}


def main() -> int:
    """Run one command; the exit code says whether it succeeded."""
    arguments = _parse()
    suffix = arguments.suffix
    unattended = getattr(arguments, "yes", False)
    target: Target = Local(suffix) if arguments.target == "local" else Aws(suffix, unattended=unattended)
    layers = [layer for layer in ORDER if layer in arguments.layers] or ORDER
    try:
        match arguments.command:
            case "deploy":
                _deploy(target, layers, suffix)
            case "preview":
                _preview(target, layers, suffix)
            case "destroy":
                _destroy(target, layers, suffix, force=arguments.force)
            case "outputs":
                _outputs(target)
    except (LayerError, LocalAwsError, ClientError, BotoCoreError) as error:
        if str(error):
            print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _deploy(target: Target, layers: list[str], suffix: str) -> None:
    if file := os.environ.get("APIKEYS_FILE"):
        read_keys(Path(file))
    for layer in layers:
        for needed in READS[layer]:
            if needed not in layers and target.outputs(needed) is None:
                raise LayerError(
                    f"{layer} reads the outputs of {needed}, which is not deployed under the suffix {suffix}. "
                    f"Deploy it first: scripts/deploy_all.sh {target.name} {needed} --suffix {suffix}"
                )
    for layer in layers:
        print(f"\n{layer} (stack {suffix}, {target.name})", flush=True)
        target.deploy(layer)
        if layer == "security":
            outputs = target.outputs(layer) or {}
            print(f"  {put_keys(target, outputs['api_keys_secret_arn'], suffix)}", flush=True)
    behind = [
        reader
        for reader in ORDER
        if reader not in layers
        and any(reader in readers_of(layer) for layer in layers)
        and target.outputs(reader) is not None
    ]
    if behind:
        print(
            f"\n{' and '.join(behind)} read what was deployed here. Deploy next, so that a change reaches them: "
            f"scripts/deploy_all.sh {target.name} {' '.join(behind)} --suffix {suffix}"
        )
    if layers == ORDER:
        say_what_is_next(target, suffix)


def _preview(target: Target, layers: list[str], suffix: str) -> None:
    for layer in layers:
        print(f"\n{layer}", flush=True)
        missing = [needed for needed in READS[layer] if target.outputs(needed) is None]
        if missing and target.name == "aws":
            print(
                f"  cannot be previewed yet: Pulumi needs the outputs of {' and '.join(missing)}. Deploy first: "
                f"scripts/deploy_all.sh aws {' '.join(missing)} --suffix {suffix}"
            )
            continue
        target.preview(layer)


def _destroy(target: Target, layers: list[str], suffix: str, *, force: bool) -> None:
    for layer in layers:
        readers = [
            reader for reader in readers_of(layer) if reader not in layers and target.outputs(reader) is not None
        ]
        if readers and not force:
            raise LayerError(
                f"{' and '.join(readers)} still read the outputs of {layer}, so destroying it would break them. "
                f"Destroy them first: scripts/destroy_all.sh {target.name} {' '.join(readers)} --suffix {suffix}; "
                f"or insist with --force, and deploy {layer} and {' and '.join(readers)} again afterwards"
            )
    for layer in reversed(layers):
        print(f"\n{layer} (stack {suffix}, {target.name})", flush=True)
        target.destroy(layer)
    if isinstance(target, Local):
        target.stop_when_empty()


def _outputs(target: Target) -> None:
    layers = {layer: outputs for layer in ORDER if (outputs := target.outputs(layer)) is not None}
    print(json.dumps({**layers, **target.extra_outputs()}, indent=2, sort_keys=True))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=os.environ.get("ENVMIG_SCRIPT", "scripts/layers"))
    commands = parser.add_subparsers(dest="command", required=True)
    for command, does in (
        ("deploy", "Deploy layers in order: data, security, compute."),
        ("preview", "Show what a deployment would change, and change nothing."),
        ("destroy", "Destroy layers in reverse order: compute, security, data."),
        ("outputs", "Print one JSON object with the outputs of each deployed layer."),
    ):
        script = f"scripts/{command}{'' if command == 'outputs' else '_all'}.sh"
        one = commands.add_parser(command, prog=script, description=does)
        one.add_argument("target", choices=["local", "aws"], help="the emulator on this machine, or AWS")
        if command == "outputs":
            one.set_defaults(layers=[])
        else:
            one.add_argument("layers", nargs="*", metavar="LAYER", help=f"{', '.join(ORDER)}; none: all")
        one.add_argument(
            "--suffix",
            default=os.environ.get("ENVIRONMENT_SUFFIX") or "prod",
            help="the environment suffix, which is also the stack's name (ENVIRONMENT_SUFFIX, else prod)",
        )
        one.add_argument("--yes", action="store_true", help="ask nothing")
        one.add_argument("--force", action="store_true", help="destroy a layer that others still read")
    arguments = parser.parse_args()
    if unknown := [layer for layer in arguments.layers if layer not in ORDER]:
        commands.choices[arguments.command].error(
            f"there is no layer {', '.join(unknown)}; the layers are {', '.join(ORDER)}"
        )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
