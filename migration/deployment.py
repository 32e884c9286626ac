"""Where a deployed environment is and how to talk to it, from what scripts/outputs.sh says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import boto3

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_ROOT = Path(__file__).resolve().parents[1]


class NotDeployedError(Exception):
    """An environment, or the part of it that is needed, is not there."""


class Deployment(NamedTuple):
    """One environment."""

    target: str
    suffix: str
    outputs: dict[str, Any]

    @classmethod
    def find(cls, target: str, suffix: str) -> Deployment:
        """Ask for the outputs of every deployed layer, or raise NotDeployedError."""
        command = [str(_ROOT / "scripts" / "outputs.sh"), target, "--suffix", suffix]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode:
            raise NotDeployedError(asked.stderr.strip().removeprefix("error: "))
        return cls(target, suffix, json.loads(asked.stdout))

    def output(self, layer: str, name: str) -> Any:
        """One output of a layer, or NotDeployedError."""
        try:
            return self.outputs[layer][name]
        except KeyError:
            raise NotDeployedError(
                f"the layer {layer} of {self.suffix!r} is not deployed on {self.target}. Deploy it: "
                f"scripts/deploy_all.sh {self.target} --suffix {self.suffix}"
            ) from None

    @property
    def region(self) -> str:
        """The environment's region, which its table's ARN names."""
        return str(self.output("data", "table_arn")).split(":")[3]

    def session(self, holder: str) -> boto3.Session:
        """A session with the credentials of a role on local, and with the caller's own on AWS."""
        if self.target != "local":
            return boto3.Session(region_name=self.region)
        keys = self.outputs["local"][holder]
        return boto3.Session(
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            aws_session_token=keys["session_token"],
            region_name=self.region,
        )

    def client(self, holder: str, service: Any) -> Any:
        """A boto3 client of a service with a role's credentials."""
        endpoint = self.outputs["local"]["endpoint"] if self.target == "local" else None
        return self.session(holder).client(service, endpoint_url=endpoint)

    def table(self) -> DynamoDBClient:
        """DynamoDB with the right to read."""
        return self.client("reader", "dynamodb")  # type: ignore[no-any-return]

    def url(self, path: str) -> tuple[str, str]:
        """The address to connect to for a path of the function URL, and the host to name and sign for."""
        function_url = str(self.output("compute", "function_url"))
        host = urlsplit(function_url).netloc
        if self.target == "local":
            return f"{self.outputs['local']['endpoint']}{path}", host
        return f"{function_url.rstrip('/')}{path}", host
