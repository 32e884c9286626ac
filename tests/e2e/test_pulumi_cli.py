"""The target aws from end to end: the real Pulumi CLI against the emulator, with our handlers as its AWS provider.

Runs where `pulumi` and its Python language host are on the PATH.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local_aws.cloud import Cloud
from local_aws.emulator import Emulator
from local_aws.plugin import serving
from local_aws.state import LayerState
from migration.deployment import Deployment
from migration.samples import sample
from migration.send import send_patiently
from tests.conftest import ROOT, run_script

pytestmark = pytest.mark.skipif(
    not (shutil.which("pulumi") and shutil.which("pulumi-language-python")),
    reason="the Pulumi CLI with its Python language host is not on the PATH (https://www.pulumi.com/docs/install/)",
)

_SECRET_ENDS = re.compile(r"envmig-apikeys-[a-z0-9]+-[A-Za-z0-9]{6}")

LAYERS = ("data", "security", "compute")


@dataclass
class Cli:
    """The scripts with the target aws, on a backend and an emulator of the test's own."""

    environment: dict[str, str]
    suffix: str
    home: Path

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return run_script(
            script, "aws", *arguments, "--suffix", self.suffix, environment={**self.environment, **variables}
        )

    def ok(self, script: str, *arguments: str, **variables: str) -> str:
        ran = self.run(script, *arguments, **variables)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def resources(self, layer: str) -> dict[str, dict[str, Any]]:
        """What the CLI's state holds of a layer, by type and name."""
        exported = subprocess.run(
            ["pulumi", "stack", "export", "--stack", self.suffix],
            cwd=ROOT / "stacks" / layer,
            env={**os.environ, **self.environment},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        listed = json.loads(exported.stdout)["deployment"].get("resources", [])
        return {
            f"{each['type']} {each['urn'].rpartition('::')[2]}": each
            for each in listed
            if each["type"].startswith("aws:")
        }

    def deployment(self) -> Deployment:
        """The deployment as one whose function URL and services are the emulator's."""
        outputs = json.loads(self.ok("outputs.sh"))
        endpoint = self.environment["AWS_ENDPOINT_URL"]
        role = outputs["security"]["role_arns"]["relay"]
        keys = Cloud(endpoint, "us-east-1", {}).sts.assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        invoker = {
            "access_key_id": keys["AccessKeyId"],
            "secret_access_key": keys["SecretAccessKey"],
            "session_token": keys["SessionToken"],
        }
        host = urlsplit(outputs["compute"]["function_url"]).netloc
        local = {"endpoint": endpoint, "invoker": invoker, "function_url_host": host}
        return Deployment("local", self.suffix, {**outputs, "local": local})


@pytest.fixture
def cli(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    suffix = f"cli{os.getpid()}"
    home = tmp_path_factory.mktemp("cli")
    (home / "emulator-venv").symlink_to(ROOT / ".local" / "emulator-venv")
    endpoint = Emulator(home).ensure()
    (tmp_path / "backend").mkdir()
    try:
        with serving(endpoint) as port:
            environment = {
                "PULUMI_BACKEND_URL": f"file://{tmp_path / 'backend'}",
                "PULUMI_CONFIG_PASSPHRASE": "test",
                "PULUMI_DEBUG_PROVIDERS": f"aws:{port}",
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
                "ENVMIG_LOCAL_DIR": str(home),
                "LAMBDA_PLATFORM": "host",
            }
            yield Cli(environment, suffix, home)
    finally:
        Emulator(home).stop()
        for file in ROOT.glob(f"stacks/*/Pulumi.{suffix}.yaml"):
            file.unlink()


def test_the_life_of_an_environment(cli: Cli, tmp_path: Path) -> None:
    """Preview, refusals, deploy, keys, a webhook, no change, a change in place, a replacement, destroy."""
    assert "scripts/deploy_all.sh aws data security" in cli.ok("preview_all.sh", "compute")
    refused = cli.run("deploy_all.sh", "security", "--yes")
    assert "Deploy it first: scripts/deploy_all.sh aws data" in refused.stderr

    printed = cli.ok("deploy_all.sh", "--yes")
    assert "the secret has no value yet" in printed
    keys = {
        "stripe": {"keys": [{"id": "k", "secret": "whsec_cli"}]},
        "relay": {"keys": [{"id": "r", "secret": "relay"}]},
    }
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    printed = cli.ok("deploy_all.sh", "security", "--yes", APIKEYS_FILE=str(tmp_path / "keys.json"))
    assert "put the API keys" in printed
    assert "whsec_cli" not in printed

    deployment, now = cli.deployment(), datetime.now(UTC)
    answer = send_patiently(deployment, "stripe", sample("stripe", now), now)
    assert answer.status == 200, answer

    printed = cli.ok("deploy_all.sh", "--yes")
    assert "left the API keys" in printed
    assert "updated" not in printed.replace("updated at", "")
    assert "whsec_cli" not in json.dumps([cli.resources(layer) for layer in LAYERS])

    refused = cli.run("destroy_all.sh", "data", "--yes")
    assert "security and compute still read the outputs of data" in refused.stderr

    config = ROOT / "stacks" / "compute" / f"Pulumi.{cli.suffix}.yaml"
    config.write_text(f"{config.read_text()}\nconfig:\n  envmig-compute:webhookMemoryMb: '1024'\n")
    printed = cli.ok("deploy_all.sh", "compute", "--yes")
    assert "~ 1 updated" in printed

    # Security anew: the same ARNs, other unique ids, so that compute has something to do.
    cli.ok("destroy_all.sh", "security", "--yes", "--force")
    printed = cli.ok("deploy_all.sh", "security", "--yes", APIKEYS_FILE=str(tmp_path / "keys.json"))
    assert f"scripts/deploy_all.sh aws compute --suffix {cli.suffix}" in printed
    assert "~ 3 updated" in cli.ok("deploy_all.sh", "compute", "--yes"), "each function has a role made anew"
    deployment = cli.deployment()
    assert send_patiently(deployment, "stripe", sample("stripe", now), datetime.now(UTC)).status == 200

    cli.ok("destroy_all.sh", "--yes")
    assert json.loads(cli.ok("outputs.sh")) == {}
    assert [cli.resources(layer) for layer in LAYERS] == [{}, {}, {}]


def test_both_engines_make_the_same(cli: Cli) -> None:
    """The same resources with the same inputs, outputs and dependencies; what differs is the emulator's ids."""
    cli.ok("deploy_all.sh", "--yes")
    theirs = {layer: cli.resources(layer) for layer in LAYERS}
    their_outputs = json.loads(cli.ok("outputs.sh"))
    cli.ok("destroy_all.sh", "--yes")
    for file in ROOT.glob(f"stacks/*/Pulumi.{cli.suffix}.yaml"):
        file.unlink()

    environment = {"ENVMIG_LOCAL_DIR": str(cli.home)}
    for layer in LAYERS:
        ran = run_script("deploy_all.sh", "local", layer, "--suffix", cli.suffix, environment=environment)
        assert ran.returncode == 0, ran.stderr
    for layer in LAYERS:
        state = LayerState.load(cli.home, cli.suffix, f"envmig-{layer}")
        ours = {f"{each.token} {each.name}": each for each in state.resources.values()}
        assert set(ours) == set(theirs[layer])
        for key, mine in ours.items():
            assert _steady(mine.inputs) == _steady(theirs[layer][key]["inputs"]), key
            assert set(mine.outputs) == set(theirs[layer][key]["outputs"]), key
            urns = {urn for sources in mine.property_dependencies.values() for urn in sources}
            assert {urn for urn in urns if "::aws:" in urn} == {
                urn
                for sources in (theirs[layer][key].get("propertyDependencies") or {}).values()
                for urn in sources or []
                if "::aws:" in urn
            }, key
        assert set(state.outputs) == set(their_outputs[layer])


def _steady(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs without what the cloud makes anew each time, or each engine writes in its own way."""
    steady = {name: value for name, value in inputs.items() if name not in ("code", "__defaults")}
    variables = steady.get("environment", {}).get("variables")
    if variables:
        changing = ("ROLE_ID", "API_KEYS_SECRET")
        steady["environment"] = {"variables": {k: v for k, v in variables.items() if k not in changing}}
    text = json.dumps(steady, sort_keys=True)
    return json.loads(_SECRET_ENDS.sub("apikeys-secret", text))  # type: ignore[no-any-return]
