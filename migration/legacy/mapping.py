"""The mapping of an old database: one TOML file that says which column is what. docs/backfill.md has an example."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
    digest: str = ""
    """Of the file, by which a checkpoint knows that it is the same."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that the old database keeps, in our order: what it does not keep is not compared."""
        return tuple(measure for measure in Measure if measure in self.payments.amounts)


def load(file: Path) -> LegacyMapping:
    """Read a mapping, or raise MappingError."""
    try:
        content = file.read_text()
        told = tomllib.loads(content)
    except OSError as error:
        raise MappingError(f"the mapping cannot be read: {error}; docs/backfill.md has an example") from error
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{file} is no TOML: {error}") from error
    for name in told:
        if name not in {"payments", "events"}:
            raise MappingError(f"there is no table [{name}] in a mapping; there are [payments] and [events]")
    if "payments" not in told:
        raise MappingError("the mapping has no table [payments]")
    payments = _read(Payments, told["payments"], "payments")
    events = _read(Events, told["events"], "events") if "events" in told else None
    _check(payments)
    return LegacyMapping(payments, events, hashlib.sha256(content.encode()).hexdigest())


def _read(kind: Any, told: Any, place: str) -> Any:
    if not isinstance(told, dict):
        raise MappingError(f"{place} is not a table: write [{place}]")
    hints = get_type_hints(kind)
    for name in told:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, 1)
            hint = f"; is {close[0]} meant?" if close else f"; known are {', '.join(sorted(hints))}"
            raise MappingError(f"there is no entry {place}.{name}{hint}")
    values = dict(told)
    if isinstance(values.get("page_by"), list):
        values["page_by"] = tuple(values["page_by"])
    try:
        made = kind(**values)
    except TypeError as error:
        missing = str(error).rpartition(": ")[2].replace(" and ", ", ")
        raise MappingError(f"the mapping lacks in [{place}]: {missing}") from None
    for name, hint in hints.items():
        wanted = tuple if "tuple" in str(hint) else dict if "dict" in str(hint) else hint
        value = getattr(made, name)
        if not isinstance(value, wanted) or (wanted is tuple and not value):
            called = {tuple: "a list of columns", dict: "a table", str: "a text", int: "a whole number"}
            raise MappingError(f"{place}.{name} is not {called.get(wanted, 'true or false')}: {value!r}")
    return made


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
