"""The relay's settings: one TOML file, every name in it known, and what is wrong told with its name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 (the types are read as it runs)
from urllib.parse import urlsplit

from migration import toml
from migration.relay.errors import SettingsError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Listen:
    """Where the relay listens."""

    address: str = "127.0.0.1"
    port: int = 8080
    status_port: int = 8081
    """Health, metrics and the status page, all read-only; not for the internet."""
    most_at_once: int = 1024
    """Requests that may be under way; more are answered 503."""
    slowest_body_s: float = 10.0
    """How long a sender may take for its body."""


@dataclass(frozen=True)
class SpoolSettings:
    """The spool."""

    file: Path
    key_file: Path
    most_bytes: int = 20 * 2**30
    """What the spool may take on disk; when it is full, nothing more is acknowledged."""
    kept_days: float = 14.0
    """How long a request stays after every target has it."""
    acknowledge: str = "spool"
    """"spool": when it is on this host's disk. "spool+one": when one target has it too."""


@dataclass(frozen=True)
class Keys:
    """Where the providers' keys are: in a secret on AWS, or in a file."""

    secret: str = ""
    file: Path | None = None
    refresh_s: float = 60.0


@dataclass(frozen=True)
class Legacy:
    """The legacy system."""

    url: str
    """What a provider's name is put behind, as in http://legacy.internal/webhooks/."""
    at_once: int = 16
    timeout_s: float = 10.0
    longest_wait_s: float = 60.0
    """The longest pause between two tries."""
    mirror: bool = True
    """Whether it still gets everything when AWS owns everything."""


@dataclass(frozen=True)
class Aws:
    """The function URL."""

    function: str = ""
    """The webhook function's name: its URL is looked up, and again when it stops answering."""
    region: str = "us-east-1"
    url: str = ""
    """The URL itself, where it may not be looked up."""
    endpoint: str = ""
    """Another endpoint of AWS's services, for an emulator."""
    figures: bool = True
    """Whether the relay's figures are put into CloudWatch every minute."""
    at_once: int = 32
    timeout_s: float = 12.0
    longest_wait_s: float = 60.0


@dataclass(frozen=True)
class Cutover:
    """The cut-over's controller on this host, if there is one: the status page shows where it is."""

    plan: Path | None = None


@dataclass(frozen=True)
class Settings:
    """All of them."""

    name: str
    """This host's name in manifests and metrics."""
    environment: str
    """The environment's suffix."""
    salt: str
    """Chooses the payments of a canary: the same on all hosts of an environment, for as long as it lasts."""
    spool: SpoolSettings
    keys: Keys
    legacy: Legacy
    aws: Aws
    listen: Listen = field(default_factory=Listen)
    cutover: Cutover = field(default_factory=Cutover)


def load(file: Path) -> Settings:
    """Read the settings, or raise SettingsError with the name that is wrong."""
    try:
        settings = toml.load(Settings, file, "the settings", "docs/relay.md")
    except toml.TomlError as error:
        raise SettingsError(str(error)) from error
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """What holds between settings, and of their values."""
    for name, value in (("name", settings.name), ("environment", settings.environment), ("salt", settings.salt)):
        if not _NAME.fullmatch(value):
            raise SettingsError(f"{name} {value!r} is not of 1 to 64 letters, digits, dots, hyphens and underscores")
    if settings.spool.acknowledge not in {"spool", "spool+one"}:
        raise SettingsError(f'spool.acknowledge {settings.spool.acknowledge!r} is neither "spool" nor "spool+one"')
    if bool(settings.keys.secret) == bool(settings.keys.file):
        raise SettingsError("keys needs either secret or file, and not both")
    if not settings.aws.function and not settings.aws.url:
        raise SettingsError("aws needs function, or url where it may not be looked up")
    for name, url in (("legacy.url", settings.legacy.url), ("aws.url", settings.aws.url)):
        if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc):
            raise SettingsError(f"{name} {url!r} is no http or https address")
    numbers = {
        "listen.most_at_once": settings.listen.most_at_once,
        "listen.slowest_body_s": settings.listen.slowest_body_s,
        "spool.most_bytes": settings.spool.most_bytes,
        "spool.kept_days": settings.spool.kept_days,
        "keys.refresh_s": settings.keys.refresh_s,
        "legacy.at_once": settings.legacy.at_once,
        "legacy.timeout_s": settings.legacy.timeout_s,
        "legacy.longest_wait_s": settings.legacy.longest_wait_s,
        "aws.at_once": settings.aws.at_once,
        "aws.timeout_s": settings.aws.timeout_s,
        "aws.longest_wait_s": settings.aws.longest_wait_s,
    }
    for name, number in numbers.items():
        if number <= 0:
            raise SettingsError(f"{name} is not greater than 0: {number}")
