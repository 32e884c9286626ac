"""The local engine's command line: one program, one stack, one command."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import pulumi
from botocore.exceptions import BotoCoreError, ClientError

from local_aws import engine
from local_aws.emulator import REGION, Emulator
from local_aws.errors import LocalAwsError


def main() -> int:
    """Run the command; the exit code says whether it succeeded."""
    parser = argparse.ArgumentParser(prog="python -m local_aws", description=__doc__)
    parser.add_argument("command", choices=["up", "preview", "destroy"])
    parser.add_argument("program", type=Path, help="the folder of a Pulumi program")
    parser.add_argument("--stack", required=True)
    arguments = parser.parse_args()
    home = Path(os.environ.get("ENVMIG_LOCAL_DIR", ".local")).resolve()
    # The emulator runs the functions on this machine and under this Python, whatever they are for on AWS.
    os.environ["LAMBDA_PLATFORM"] = "host"
    began = time.monotonic()
    try:
        emulator = Emulator(home)
        if arguments.command == "destroy":
            print(f"  {engine.destroy(arguments.program, home, emulator.ensure(), REGION, arguments.stack)}")
            return 0
        preview = arguments.command == "preview"
        run, outputs = engine.deploy(arguments.program, home, emulator.ensure(), arguments.stack, preview=preview)
    except (LocalAwsError, pulumi.RunError, ClientError, BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"  {run} ({time.monotonic() - began:.1f} s)")
    for name, value in outputs.items():
        print(f"      {name}: {value if isinstance(value, str) else json.dumps(value, sort_keys=True)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
