"""The local engine on small programs: what Pulumi would do, it does too, and it stops at what it does not know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_aws.state import LayerState

_HEAD = """
import json
import pulumi
import pulumi_aws as aws
provider = aws.Provider("aws", region="us-east-1", default_tags={"tags": {"Environment": "t"}})
options = pulumi.ResourceOptions(provider=provider)
"""

_TOPIC = 'aws.sns.Topic("{name}", name="{name}", opts=options)\n'


@dataclass
class Project:
    """A program in a folder of its own, deployed by the engine in a process of its own."""

    folder: Path
    home: Path
    endpoint: str

    def write(self, body: str) -> None:
        (self.folder / "Pulumi.yaml").write_text(f"name: {self.folder.name}\nruntime: python\n")
        (self.folder / "__main__.py").write_text(_HEAD + body)

    def run(self, command: str = "up") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local_aws", command, str(self.folder), "--stack", "t"],
            env={**os.environ, "ENVMIG_LOCAL_DIR": str(self.home)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def up(self, body: str) -> str:
        self.write(body)
        ran = self.run()
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def state(self) -> LayerState:
        return LayerState.load(self.home, "t", self.folder.name)

    def client(self, service: Any) -> Any:
        return boto3.Session("test", "test", region_name="us-east-1").client(service, endpoint_url=self.endpoint)

    def topics(self) -> set[str]:
        listed = self.client("sns").list_topics()["Topics"]
        return {topic["TopicArn"].rpartition(":")[2] for topic in listed} & {"one", "two", "three"}


@pytest.fixture
def project(tmp_path: Path, local_home: Path, endpoint: str, request: pytest.FixtureRequest) -> Any:
    folder = tmp_path / f"p{abs(hash(request.node.name))}"
    folder.mkdir()
    made = Project(folder, local_home, endpoint)
    yield made
    made.run("destroy")


def test_a_second_run_changes_nothing_and_says_so(project: Project) -> None:
    body = _TOPIC.format(name="one")
    assert "1 created, 0 unchanged" in project.up(body)
    assert "nothing changed: 1 unchanged" in project.up(body)


def test_a_preview_changes_nothing(project: Project) -> None:
    project.write(_TOPIC.format(name="one") + 'pulumi.export("known", "yes")\n')
    ran = project.run("preview")
    assert "would be created" in ran.stdout
    assert project.topics() == set()
    assert not project.state().deployed


def test_one_changed_setting_updates_one_resource_in_place(project: Project) -> None:
    body = 'aws.cloudwatch.LogGroup("logs", name="engine-logs", retention_in_days={days}, opts=options)\n'
    project.up(body.format(days=7) + _TOPIC.format(name="one"))
    printed = project.up(body.format(days=14) + _TOPIC.format(name="one"))
    assert "retentionInDays: 7 => 14" in printed
    assert "1 updated, 1 unchanged" in printed
    groups = project.client("logs").describe_log_groups(logGroupNamePrefix="engine-logs")["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [14]


def test_a_changed_default_tag_reaches_every_resource(project: Project) -> None:
    project.up(_TOPIC.format(name="one"))
    project.write(_TOPIC.format(name="one"))
    program = project.folder / "__main__.py"
    program.write_text(program.read_text().replace('"Environment": "t"', '"Phase": "done"'))
    assert "1 updated" in project.run().stdout
    tags = project.client("sns").list_tags_for_resource(ResourceArn="arn:aws:sns:us-east-1:000000000000:one")
    assert tags["Tags"] == [{"Key": "Phase", "Value": "done"}]


def test_what_the_program_no_longer_declares_is_deleted(project: Project) -> None:
    project.up(_TOPIC.format(name="one") + _TOPIC.format(name="two"))
    printed = project.up(_TOPIC.format(name="two"))
    assert "1 deleted, 1 unchanged" in printed
    assert project.topics() == {"two"}


_ROLE = """
role = aws.iam.Role("role", name="{name}", assume_role_policy=json.dumps(
    {{"Version": "2012-10-17", "Statement": [
        {{"Effect": "Allow", "Principal": {{"Service": "lambda.amazonaws.com"}}, "Action": "sts:AssumeRole"}}]}}),
    opts=options)
aws.iam.RolePolicy("policy", name="grants", role=role.name, opts=options, policy=json.dumps(
    {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "x"}}]}}))
pulumi.export("role_id", role.unique_id)
"""


def test_a_renamed_resource_is_replaced_with_what_hangs_on_it(project: Project) -> None:
    project.up(_ROLE.format(name="engine-before"))
    before = project.state().outputs["role_id"]
    printed = project.up(_ROLE.format(name="engine-after"))
    assert "name: engine-before => engine-after (needs a new one)" in printed
    iam = project.client("iam")
    assert iam.get_role_policy(RoleName="engine-after", PolicyName="grants")
    assert "engine-before" not in {role["RoleName"] for role in iam.list_roles()["Roles"]}
    assert project.state().outputs["role_id"] != before


def test_what_the_emulator_lost_is_made_again(project: Project) -> None:
    project.up(_TOPIC.format(name="one"))
    project.client("sns").delete_topic(TopicArn="arn:aws:sns:us-east-1:000000000000:one")
    assert "1 created" in project.up(_TOPIC.format(name="one"))
    assert project.topics() == {"one"}


def test_a_policy_goes_with_the_topic_that_the_emulator_lost_and_is_made_again(project: Project) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Ours", "Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "x"}],
    }
    body = (
        'topic = aws.sns.Topic("one", name="one", opts=options)\n'
        f"aws.sns.TopicPolicy('policy', arn=topic.arn, policy={json.dumps(json.dumps(policy))}, opts=options)\n"
    )
    arn = "arn:aws:sns:us-east-1:000000000000:one"
    project.up(body)
    project.client("sns").delete_topic(TopicArn=arn)
    assert "2 created" in project.up(body)
    assert "Ours" in project.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"]


def test_an_unknown_resource_type_stops_with_its_name(project: Project) -> None:
    project.write('aws.s3.Bucket("photos", opts=options)\n')
    ran = project.run()
    assert ran.returncode == 1
    assert "does not know the resource type aws:s3/bucket:Bucket (of 'photos')" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_unknown_property_stops_with_its_name(project: Project) -> None:
    project.write('aws.sns.Topic("one", name="one", fifo_topic=True, opts=options)\n')
    ran = project.run()
    assert ran.returncode == 1
    assert "does not know the property fifoTopic of aws:sns/topic:Topic" in ran.stderr
    assert project.topics() == set()


def test_after_a_failure_half_way_the_same_command_goes_on(project: Project) -> None:
    first = _TOPIC.format(name="one")
    broken = first + 'raise pulumi.RunError("the program itself refuses")\n'
    project.write(broken)
    ran = project.run()
    assert ran.returncode == 1
    assert "the program itself refuses" in ran.stderr
    printed = project.up(first + _TOPIC.format(name="two"))
    assert project.topics() == {"one", "two"}
    assert "created" in printed


def test_after_a_crash_half_way_the_same_command_goes_on(project: Project) -> None:
    """The state says that a creation began; what it may have left is cleared before it begins again."""
    project.up(_TOPIC.format(name="one"))
    state = project.state()
    urn, recorded = state.resources.popitem()
    state.resources["urn:pulumi:t::x::aws:sns/topic:Topic::other"] = recorded
    state.pending[urn] = recorded.id
    del state.resources["urn:pulumi:t::x::aws:sns/topic:Topic::other"]
    state.save()
    assert "1 created" in project.up(_TOPIC.format(name="one"))
    assert project.state().pending == {}


def test_a_name_that_somebody_else_has_is_refused(project: Project) -> None:
    project.client("sns").create_topic(Name="three")
    project.write(_TOPIC.format(name="three"))
    ran = project.run()
    assert ran.returncode == 1
    assert "is there already, though this stack did not make it" in ran.stderr
    project.client("sns").delete_topic(TopicArn="arn:aws:sns:us-east-1:000000000000:three")


def test_secrets_are_masked_in_print_and_in_the_state(project: Project) -> None:
    printed = project.up(
        'aws.sns.Topic("one", name="one", tags={"key": pulumi.Output.secret("hush-hush")}, opts=options)\n'
        'pulumi.export("shown", pulumi.Output.secret("hush-hush"))\n'
    )
    assert "hush-hush" not in printed
    assert "hush-hush" not in project.state().path.read_text()
    tags = project.client("sns").list_tags_for_resource(ResourceArn="arn:aws:sns:us-east-1:000000000000:one")
    assert {"Key": "key", "Value": "hush-hush"} in tags["Tags"]
    assert project.state().path.stat().st_mode & 0o077 == 0


def test_an_encrypted_setting_is_refused_with_its_name(project: Project) -> None:
    project.write("")
    (project.folder / "Pulumi.t.yaml").write_text(json.dumps({"config": {"x:token": {"secure": "v1:abc"}}}))
    ran = project.run()
    assert ran.returncode == 1
    assert "has the encrypted setting x:token" in ran.stderr
