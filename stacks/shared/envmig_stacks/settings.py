"""What a deployment can be told: from the stack's configuration, with the environment suffix from outside."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import pulumi

from envmig_stacks.errors import InvalidSettingError, SuffixConflictError

_SUFFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?")
_DEFAULT_REGION = "us-east-1"
_DEFAULT_PHASE = "testing"


class Settings(NamedTuple):
    """The settings that every layer has."""

    suffix: str
    """Part of every resource's name, so that environments live side by side."""

    migration_phase: str
    """The value of the tag MigrationPhase."""

    region: str
    """The AWS region."""

    stack: str
    """The stack's own name."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of every resource that can have tags."""
        return {"Environment": self.suffix, "MigrationPhase": self.migration_phase}


def load() -> Settings:
    """Read the settings of the stack that is being deployed.

    Raises
    ------
    SuffixConflictError
        The configured suffix and ENVIRONMENT_SUFFIX are both there and differ.
    InvalidSettingError
        The suffix cannot be part of every resource's name.
    """
    config = pulumi.Config()
    stack = pulumi.get_stack()
    return Settings(
        suffix=environment_suffix(
            configured=config.get("environmentSuffix"),
            variable=os.environ.get("ENVIRONMENT_SUFFIX"),
            stack=stack,
        ),
        migration_phase=config.get("migrationPhase") or _DEFAULT_PHASE,
        region=config.get("region") or _DEFAULT_REGION,
        stack=stack,
    )


def environment_suffix(*, configured: str | None, variable: str | None, stack: str) -> str:
    """Decide the suffix: the setting, else the variable, else the stack's name.

    Raises
    ------
    SuffixConflictError
        Setting and variable are both there and differ.
    InvalidSettingError
        What was decided is no usable part of a name.
    """
    if configured and variable and configured != variable:
        raise SuffixConflictError(configured, variable, stack)
    suffix = configured or variable or stack
    if not _SUFFIX.fullmatch(suffix):
        raise InvalidSettingError("environmentSuffix", suffix, "1 to 20 lower-case letters, digits and inner hyphens")
    return suffix


def whole_number(name: str, default: int, *, low: int, high: int) -> int:
    """Read a whole number from the stack's configuration.

    Raises
    ------
    InvalidSettingError
        It is no whole number, or outside low to high.
    """
    text = pulumi.Config().get(name)
    if text is None:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise InvalidSettingError(name, text, f"a whole number from {low} to {high}")
    return int(text)


def one_of(name: str, choices: tuple[str, ...]) -> str:
    """Read one of a few words from the stack's configuration; the first is the default.

    Raises
    ------
    InvalidSettingError
        It is none of them.
    """
    text = pulumi.Config().get(name)
    if text is not None and text not in choices:
        raise InvalidSettingError(name, text, f"one of {', '.join(choices)}")
    return text or choices[0]
