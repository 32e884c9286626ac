"""The scripts as others script against them: layers apart, guards, suffixes, and what they say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from migration.deployment import Deployment
from migration.samples import sample
from migration.send import send_patiently
from tests.conftest import ROOT, run_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def suffix(local_home: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A suffix of the test's own, clean before and after."""
    own = f"s{abs(hash(request.node.name)) % 10**6}"
    yield own
    assert run_script("destroy_all.sh", "local", "--suffix", own, "--yes").returncode == 0


def ok(name: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    ran = run_script(name, *arguments, environment=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def refused(name: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    ran = run_script(name, *arguments, environment=environment)
    assert ran.returncode != 0, ran.stdout
    assert "Traceback" not in ran.stderr
    return ran.stderr


def accepts(suffix: str) -> bool:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return send_patiently(Deployment.find("local", suffix), "stripe", sample("stripe", now), now).status == 200


def test_layers_are_deployed_and_destroyed_one_at_a_time(suffix: str) -> None:
    own = ("--suffix", suffix)
    assert "scripts/deploy_all.sh local data" in refused("deploy_all.sh", "local", "security", *own)
    assert "(known after deploy)" in ok("preview_all.sh", "local", "compute", *own)
    for layer in ("data", "security", "compute"):
        ok("deploy_all.sh", "local", layer, *own)
    assert accepts(suffix)

    told = refused("destroy_all.sh", "local", "data", *own)
    assert "security and compute still read the outputs of data" in told
    assert "compute still read" in refused("destroy_all.sh", "local", "security", *own)

    # Security anew: its role has the same ARN and another unique id, which compute's plan shows.
    ok("destroy_all.sh", "local", "security", *own, "--force")
    printed = ok("deploy_all.sh", "local", "security", *own)
    assert f"scripts/deploy_all.sh local compute --suffix {suffix}" in printed
    assert "aws:lambda/function:Function" in ok("preview_all.sh", "local", "compute", *own)
    ok("deploy_all.sh", "local", "compute", *own)
    assert accepts(suffix)


def test_destroying_and_deploying_again_at_once_works(suffix: str) -> None:
    own = ("--suffix", suffix)
    ok("deploy_all.sh", "local", *own)
    ok("destroy_all.sh", "local", *own)
    assert set(json.loads(ok("outputs.sh", "local", *own))) <= {"local"}
    ok("deploy_all.sh", "local", *own)
    printed = ok("deploy_all.sh", "local", *own)
    assert printed.count("nothing changed") == 3
    assert accepts(suffix)


def test_two_suffixes_live_side_by_side(deployment: Deployment, suffix: str) -> None:
    ok("deploy_all.sh", "local", environment={"ENVIRONMENT_SUFFIX": suffix})
    assert accepts(suffix)
    ok("destroy_all.sh", "local", "--suffix", suffix)
    assert accepts("e2e")


def test_the_memory_size_is_changed_in_place(suffix: str) -> None:
    own = ("--suffix", suffix)
    ok("deploy_all.sh", "local", *own)
    config = ROOT / "stacks" / "compute" / f"Pulumi.{suffix}.yaml"
    config.write_text("config:\n  envmig-compute:webhookMemoryMb: 1024\n")
    try:
        printed = ok("deploy_all.sh", "local", "compute", *own)
    finally:
        config.unlink()
    assert "memorySize: 512 => 1024" in printed
    assert "1 updated, 36 unchanged" in printed


class TestOutputs:
    def test_they_are_one_json_object(self, deployment: Deployment) -> None:
        outputs: dict[str, Any] = json.loads(ok("outputs.sh", "local", "--suffix", "e2e"))
        assert set(outputs) == {"data", "security", "compute", "local"}
        local = outputs["local"]
        assert local["function_url"] == outputs["compute"]["function_url"]
        assert local["function_url_host"].endswith(".lambda-url.us-east-1.on.aws")
        assert set(local["invoker"]) == {"access_key_id", "secret_access_key", "session_token"}

    def test_the_invoker_is_the_relays_role_and_never_root(self, deployment: Deployment) -> None:
        local = json.loads(ok("outputs.sh", "local", "--suffix", "e2e"))["local"]
        keys = local["invoker"]
        session = boto3.Session(keys["access_key_id"], keys["secret_access_key"], keys["session_token"], "us-east-1")
        caller = session.client("sts", endpoint_url=local["endpoint"]).get_caller_identity()
        assert "assumed-role/envmig-relay-role-e2e/" in caller["Arn"]

    def test_nothing_deployed_is_an_empty_object(self, local_home: Path) -> None:
        assert set(json.loads(ok("outputs.sh", "local", "--suffix", "nowhere"))) <= {"local"}


class TestKeys:
    def test_a_file_of_keys_is_put_and_a_deploy_without_one_leaves_them(self, suffix: str, tmp_path: Path) -> None:
        own = ("--suffix", suffix)
        keys = {"stripe": {"keys": [{"id": "mine", "secret": "whsec_mine"}]}}
        file = tmp_path / "keys.json"
        file.write_text(json.dumps(keys))
        printed = ok("deploy_all.sh", "local", "data", "security", *own, environment={"APIKEYS_FILE": str(file)})
        assert "put the API keys" in printed
        assert "whsec_mine" not in printed
        assert "left the API keys" in ok("deploy_all.sh", "local", "security", *own)
        found = Deployment.find("local", suffix)
        secret = found.output("security", "api_keys_secret_arn")
        value = found.client("invoker", "secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
        assert json.loads(value) == keys

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{", "is not JSON"),
            ("[]", "is not a JSON object"),
            ('{"stripe": {}}', "stripe: there is no list 'keys'"),
            ('{"stripe": {"keys": [{"id": "x"}]}}', "key 0 has no text 'secret'"),
            (
                '{"stripe": {"keys": [{"id": "x", "secret": "s", "not_after": "soon"}]}}',
                "'not_after' of key 0",
            ),
        ],
    )
    def test_a_bad_file_is_refused_before_anything_is_deployed(
        self, local_home: Path, tmp_path: Path, text: str, reason: str
    ) -> None:
        file = tmp_path / "keys.json"
        file.write_text(text)
        environment = {"APIKEYS_FILE": str(file)}
        told = refused("deploy_all.sh", "local", "--suffix", "badkeys", environment=environment)
        assert reason in told
        assert not (local_home / "stacks" / "badkeys").exists()

    def test_a_missing_file_is_named(self, local_home: Path) -> None:
        told = refused("deploy_all.sh", "local", environment={"APIKEYS_FILE": "/nowhere/keys.json"})
        assert "/nowhere/keys.json cannot be read" in told


class TestMistakes:
    @pytest.mark.parametrize("script", ["deploy_all.sh", "destroy_all.sh", "preview_all.sh", "outputs.sh"])
    def test_help_is_there(self, local_home: Path, script: str) -> None:
        assert script in ok(script, "--help")

    def test_an_unknown_layer_is_refused_with_those_there_are(self, local_home: Path) -> None:
        assert "the layers are data, security, compute" in refused("deploy_all.sh", "local", "dat")

    def test_without_the_pulumi_cli_aws_says_how_to_get_it_and_what_it_would_run(self, local_home: Path) -> None:
        path = ":".join(part for part in os.environ["PATH"].split(":") if not (ROOT / part / "pulumi").exists())
        told = refused("deploy_all.sh", "aws", environment={"PATH": path})
        assert "https://www.pulumi.com/docs/install/" in told
        assert "pulumi up --stack prod" in told
