"""The API keys' value: put through the API, never through a program, an output or a state."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migration.signing import new_settings
from providers import NAMES
from providers.keys import InvalidKeysError, parse_keys
from scripts.layers.target import LayerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_secretsmanager import SecretsManagerClient

    from scripts.layers.target import Target

_PUBLISHED = {"paypal", "plaid"}
"""Providers whose keys may be fetched from themselves, so that none need be listed."""


def put_keys(target: Target, secret_arn: str, suffix: str) -> str:
    """Give the secret its value when there is one to give; say what was done.

    APIKEYS_FILE decides. Without it a value that is there stays; on local a missing one is made at random.
    """
    client = target.secrets_manager()
    if file := os.environ.get("APIKEYS_FILE"):
        value = read_keys(Path(file))
        if value == _current(client, secret_arn):
            return f"the API keys are those of {file} already"
        client.put_secret_value(SecretId=secret_arn, SecretString=json.dumps(value))
        return f"put the API keys of {file} into the secret"
    current = _current(client, secret_arn)
    kept = Path(os.environ["ENVMIG_LOCAL_DIR"]) / "keys" / f"{suffix}.json"
    made_before = json.loads(kept.read_text()) if kept.exists() else {}
    # Keys that were made at random are completed when a provider is new; keys that somebody put are left alone.
    if target.name == "local" and current in (None, made_before):
        value = {**made_before, **random_keys(besides=made_before)}
        if value != current:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.touch(mode=0o600)
            kept.write_text(json.dumps(value, indent=2))
            client.put_secret_value(SecretId=secret_arn, SecretString=json.dumps(value))
            return f"put random API keys into the secret; they are kept in {kept}"
    if current is not None:
        return "left the API keys that are in the secret"
    return (
        "the secret has no value yet. Put it: APIKEYS_FILE=keys.json scripts/deploy_all.sh aws security "
        f"--suffix {suffix}, or: aws secretsmanager put-secret-value --secret-id {secret_arn} "
        "--secret-string file://keys.json (the form is in docs/providers.md)"
    )


def read_keys(file: Path) -> dict[str, Any]:
    """Read the keys' document, or raise LayerError with the place that is wrong, never a secret."""
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise LayerError(f"APIKEYS_FILE: {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise LayerError(f"APIKEYS_FILE: {file} is not JSON: {error}") from None
    if not isinstance(document, dict) or not document:
        raise LayerError(f"APIKEYS_FILE: {file} is not a JSON object of providers (see docs/providers.md)")
    for holder, settings in document.items():
        try:
            if "keys" in settings or holder in {*NAMES, "relay"} - _PUBLISHED:
                parse_keys(settings)
        except (InvalidKeysError, TypeError) as error:
            raise LayerError(f"APIKEYS_FILE: {file}: {holder}: {error}") from None
    return document


def random_keys(besides: Mapping[str, Any]) -> dict[str, Any]:
    """Fresh keys in each provider's form, and the relay's, for those that have none yet."""
    made: dict[str, Any] = {provider: new_settings(provider) for provider in NAMES if provider not in besides}
    if "relay" not in besides:
        made["relay"] = {"keys": [{"id": "local", "secret": secrets.token_urlsafe(32)}]}
    return made


def _current(client: SecretsManagerClient, secret_arn: str) -> Any:
    try:
        return json.loads(client.get_secret_value(SecretId=secret_arn)["SecretString"])
    except client.exceptions.ResourceNotFoundException:
        return None
    except (KeyError, ValueError):
        return None
