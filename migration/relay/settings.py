"""The relay's settings: one TOML file, every name in it known, and what is wrong told with its name."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import urlsplit

from migration.relay.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
    """Read the settings, or raise SettingsError with every name that is wrong."""
    try:
        told = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"the settings cannot be read: {error}; docs/relay.md has an example") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is no TOML: {error}") from error
    settings: Settings = _read(Settings, told, "", file.parent)
    _check(settings)
    return settings


def _read(kind: Any, told: Mapping[str, Any], place: str, folder: Path) -> Any:
    """One table as its dataclass."""
    known = {each.name: each for each in fields(kind)}
    for name in told:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; is {place}{close[0]} meant?" if close else f"; known are {', '.join(sorted(known))}"
            raise SettingsError(f"there is no setting {place}{name}{hint}")
    hints = get_type_hints(kind)
    values = {}
    for name, each in known.items():
        if name in told:
            values[name] = _value(hints[name], told[name], f"{place}{name}", folder)
        elif each.default is MISSING and each.default_factory is MISSING:
            if not hasattr(hints[name], "__dataclass_fields__"):
                raise SettingsError(f"the setting {place}{name} is missing")
            values[name] = _read(hints[name], {}, f"{name}.", folder)
    return kind(**values)


def _value(kind: Any, told: Any, name: str, folder: Path) -> Any:
    if hasattr(kind, "__dataclass_fields__"):
        if not isinstance(told, dict):
            raise SettingsError(f"{name} is not a table: write [{name}]")
        return _read(kind, told, f"{name}.", folder)
    readers: dict[Any, tuple[tuple[type, ...], Callable[[Any], Any], str]] = {
        str: ((str,), str, "a text"),
        int: ((int,), int, "a whole number"),
        float: ((int, float), float, "a number"),
        bool: ((bool,), bool, "true or false"),
        # A relative path is one from the settings' own folder.
        Path: ((str,), lambda path: folder / path, "a path"),
        Path | None: ((str,), lambda path: folder / path, "a path"),
    }
    kinds, read, called = readers[kind]
    if not isinstance(told, kinds) or (isinstance(told, bool) and kind is not bool):
        raise SettingsError(f"{name} is not {called}: {told!r}")
    return read(told)


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
