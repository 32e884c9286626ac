from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.client import System

if TYPE_CHECKING:
    from migration.deployment import Deployment


@pytest.fixture(scope="session")
def system(deployment: Deployment) -> System:
    secret = deployment.output("security", "api_keys_secret_arn")
    value = deployment.client("invoker", "secretsmanager").get_secret_value(SecretId=secret)
    return System(deployment, json.loads(value["SecretString"]))
