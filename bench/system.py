"""What every benchmark stands on: a deployed local AWS of its own, the three handlers, and their events."""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import boto3

from local_aws.emulator import Emulator
from migration.deployment import Deployment
from migration.signing import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]

HANDLERS = {
    # name: the module that holds `handler`
    "ours": "handlers.webhook",
    "boto3": "bench.baselines.plain_boto3",
    "powertools": "bench.baselines.powertools",
}


@dataclass
class System:
    """A deployed environment for handlers that run as processes of our own."""

    environment: dict[str, str]
    python: Path
    package: Path
    keys: dict[str, Any]

    def command(self, script: str, handler: str) -> list[str]:
        """How a script is run with a handler, in an interpreter that finds just what the handler needs."""
        return [str(self.python), str(ROOT / "bench" / script), HANDLERS[handler]]

    def variables(self, handler: str, **more: str) -> dict[str, str]:
        """The process environment of a handler. Ours comes from the package as AWS unpacks it: read-only sources."""
        path = self.package if handler == "ours" else ROOT
        return {**self.environment, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def event(self, *, event_id: str = "", payment: str = "", created: int | None = None) -> dict[str, Any]:
        """A function URL's event with a signed Stripe webhook of 2.8 KB."""
        now = datetime.now(UTC)
        unique = payment or secrets.token_hex(8)
        body = json.dumps(
            {
                "id": event_id or f"evt_{secrets.token_hex(8)}",
                "object": "event",
                "type": "charge.succeeded",
                "created": created or int(now.timestamp()),
                "data": {
                    "object": {
                        "id": f"ch_{unique}{secrets.token_hex(2)}",
                        "object": "charge",
                        "amount_captured": 4200,
                        "captured": True,
                        "currency": "eur",
                        "payment_intent": f"pi_{unique}",
                        "metadata": {f"key_{place}": "x" * 40 for place in range(44)},
                    }
                },
            }
        ).encode()
        signed = sign("stripe", body, self.keys["stripe"], now)
        return {
            "version": "2.0",
            "rawPath": "/webhooks/stripe",
            "headers": signed.headers,
            "requestContext": {"http": {"method": "POST"}},
            "body": base64.b64encode(signed.body).decode(),
            "isBase64Encoded": True,
        }


@contextmanager
def system() -> Iterator[System]:
    """Deploy all layers into a local AWS that lasts as long as the benchmark."""
    home = Path(tempfile.mkdtemp(prefix="bench"))
    (home / "emulator-venv").symlink_to(ROOT / ".local" / "emulator-venv")
    os.environ["ENVMIG_LOCAL_DIR"] = str(home)
    try:
        deployed = subprocess.run(
            [ROOT / "scripts" / "deploy_all.sh", "local", "--suffix", "bench"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if deployed.returncode:
            sys.exit(deployed.stdout + deployed.stderr)
        deployment = Deployment.find("local", "bench")
        endpoint = deployment.outputs["local"]["endpoint"]
        root = boto3.Session("test", "test", region_name="us-east-1")
        root.client("dynamodb", endpoint_url=endpoint).create_table(
            TableName="idempotency",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
        package = home / "package"
        code = root.client("lambda", endpoint_url=endpoint).get_function(FunctionName="envmig-webhook-bench")["Code"]
        with urlopen(code["Location"]) as response:
            zipfile.ZipFile(io.BytesIO(response.read())).extractall(package)
        keys = json.loads((home / "keys" / "bench.json").read_text())
        environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_LAMBDA_FUNCTION_NAME": "envmig-webhook-bench",
            "LAMBDA_TASK_ROOT": str(package),
            "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{(home / 'agent-port').read_text()}",
            "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "TABLE_NAME": deployment.output("data", "table_name"),
            "INDEX_SHARDS": str(deployment.output("data", "index_shards")),
            "API_KEYS_SECRET": deployment.output("security", "api_keys_secret_arn"),
            "BUFFER_URL": deployment.output("data", "buffer_url"),
            "INGEST_MODE": "direct",
            "ENVIRONMENT": "test",
            "SPOOL_RETENTION_DAYS": "14",
            "IDEMPOTENCY_TABLE": "idempotency",
        }
        python = ROOT / ".local" / "bench-venv" / "bin" / "python"
        yield System(environment, python, package, keys)
    finally:
        Emulator(home).stop()
        shutil.rmtree(home, ignore_errors=True)


def measured(about: str, measure: Callable[[System, int], dict[str, Any]], runs: int) -> dict[str, Any]:
    """What a benchmark's command line asks for; with --json it is printed, and that is all."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with system() as bench:
        results = measure(bench, arguments.runs)
    if arguments.json:
        print(json.dumps(results))
        sys.exit()
    return results


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum, rounded for reading."""
    return {"min": round(min(values), 2), "median": round(median(values), 2), "max": round(max(values), 2)}


def shown(values: dict[str, float]) -> str:
    """A spread as a table's cell."""
    return f"{values['min']:g} / {values['median']:g} / {values['max']:g}"


def now() -> float:
    """Seconds on the clock that processes share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
