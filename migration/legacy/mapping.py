"""The mapping of an old database: one TOML file that says which column is what. docs/backfill.md has an example."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from migration import toml
from payments.event import Kind, Measure

if TYPE_CHECKING:
    from pathlib import Path


class MappingError(Exception):
    """The mapping is not in its form; the message names the entry and what to write."""


@dataclass(frozen=True)
class Payments:
    """Where the payments are. What begins with `=` is the same for every row, as in `provider = "=stripe"`."""

    table: str
    """A table or view, or a query in parentheses."""
    page_by: tuple[str, ...]
    """Columns that are unique together and have an index: pages are read along it."""
    provider: str
    payment: str
    """The provider's id of the payment, as its webhooks name it."""
    currency: str
    status: str
    changed_at: str
    """When the payment came to have its status."""
    account: str = "=-"
    created_at: str = ""
    unit: str = "minor"
    """"minor", or "major" for amounts such as 12.34."""
    timezone: str = "UTC"
    """Of times that name no zone."""
    precision_ms: int = 1000
    """To how many milliseconds the old database keeps a time."""
    compare_times: bool = False
    """Whether `changed_at` is the provider's own time, so that both sides have the same."""
    amounts: dict[str, str] = field(default_factory=dict)
    """The column of each measure that the old database keeps."""
    statuses: dict[str, str] = field(default_factory=dict)
    """Our word for each status of the old database."""


@dataclass(frozen=True)
class Events:
    """Where the old system notes which events it took, if it does."""

    table: str
    page_by: tuple[str, ...]
    provider: str
    event: str
    """The provider's id of the event."""
    account: str = "=-"
    payment: str = ""
    taken_at: str = ""
    """When the old system took it: only what came since AWS gets everything can be missing there."""


@dataclass(frozen=True)
class LegacyMapping:
    """The whole mapping."""

    payments: Payments
    events: Events | None = None
    digest: str = field(default="", init=False)
    """Of the file, by which a checkpoint knows that it is the same."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that the old database keeps, in our order: what it does not keep is not compared."""
        return tuple(measure for measure in Measure if measure in self.payments.amounts)


def load(file: Path) -> LegacyMapping:
    """Read a mapping, or raise MappingError."""
    try:
        mapping = toml.load(LegacyMapping, file, "the mapping", "docs/backfill.md")
    except toml.TomlError as error:
        raise MappingError(str(error)) from error
    _check(mapping.payments)
    # Frozen for everybody else; the digest is of the file, and so is set by whoever reads it.
    object.__setattr__(mapping, "digest", hashlib.sha256(file.read_bytes()).hexdigest())
    return mapping


def _check(payments: Payments) -> None:
    if payments.unit not in {"minor", "major"}:
        raise MappingError(f'payments.unit {payments.unit!r} is neither "minor" nor "major"')
    for measure in payments.amounts:
        if measure not in set(Measure):
            raise MappingError(f"payments.amounts.{measure} is no measure; there are {', '.join(Measure)}")
    if not payments.amounts:
        raise MappingError("payments.amounts names no column: without an amount there is nothing to compare")
    for old, new in payments.statuses.items():
        if new not in set(Kind):
            raise MappingError(f"payments.statuses.{old} is {new!r}, which is no status; there are {', '.join(Kind)}")
    try:
        ZoneInfo(payments.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise MappingError(f"payments.timezone {payments.timezone!r} is no time zone such as Europe/Berlin") from None
    if payments.precision_ms < 1:
        raise MappingError(f"payments.precision_ms is not greater than 0: {payments.precision_ms}")
