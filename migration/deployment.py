"""Where a deployed environment is and how to talk to it, from what scripts/outputs.sh says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.credentials import Credentials

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

    def credentials(self, holder: str) -> Credentials:
        """The credentials of a role on local, and the caller's own on AWS; NotDeployedError without any."""
        if self.target == "local":
            self.output("security", "role_arns")
            keys = self.outputs["local"][holder]
            return Credentials(keys["access_key_id"], keys["secret_access_key"], keys["session_token"])
        found = boto3.Session().get_credentials()
        if found is None:
            raise NotDeployedError("there are no AWS credentials: set AWS_PROFILE, or see docs/operations.md")
        return found

    def client(self, holder: str, service: Any) -> Any:
        """A boto3 client of a service with a role's credentials."""
        if self.target != "local":
            return boto3.client(service, region_name=self.region)
        keys = self.credentials(holder)
        session = boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name=self.region)
        return session.client(service, endpoint_url=self.outputs["local"]["endpoint"])

    def url(self, path: str) -> tuple[str, str]:
        """The address to connect to for a path of the function URL, and the host to name and sign for."""
        function_url = str(self.output("compute", "function_url"))
        host = urlsplit(function_url).netloc
        if self.target == "local":
            return f"{self.outputs['local']['endpoint']}{path}", host
        return f"{function_url.rstrip('/')}{path}", host
