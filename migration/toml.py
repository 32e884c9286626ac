"""A TOML file as a dataclass: every name known, every value of its kind, and what is wrong told with its name."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class TomlError(ValueError):
    """The file is not in its form; the message names the entry and what to write."""


def load(kind: type[T], file: Path, called: str, page: str) -> T:
    """Read a file as a dataclass, or raise TomlError.

    Parameters
    ----------
    called
        What the file is to people, such as "the settings".
    page
        Where it is described.

    Relative paths are from the file's own folder.
    """
    try:
        told = tomllib.loads(file.read_text())
    except OSError as error:
        raise TomlError(f"{called} cannot be read: {error}; {page} has an example") from error
    except tomllib.TOMLDecodeError as error:
        raise TomlError(f"{file} is no TOML: {error}") from error
    read: T = _table(kind, told, "", file.parent)
    return read


def _table(kind: Any, told: Any, place: str, folder: Path) -> Any:
    """One table as its dataclass."""
    if not isinstance(told, dict):
        raise TomlError(f"{place.rstrip('.')} is not a table: write [{place.rstrip('.')}]")
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(kind) if each.init}
    for name in told:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; is {place}{close[0]} meant?" if close else f"; known are {', '.join(sorted(known))}"
            raise TomlError(f"there is no setting {place}{name}{hint}")
    values = {}
    for name, each in known.items():
        if name in told:
            values[name] = _value(hints[name], told[name], f"{place}{name}", folder)
        elif each.default is MISSING and each.default_factory is MISSING:
            if not is_dataclass(hints[name]):
                raise TomlError(f"the setting {place}{name} is missing")
            # A table that is left out lacks what it has to have, and that is what has to be told.
            values[name] = _table(hints[name], {}, f"{name}.", folder)
    return kind(**values)


_SCALARS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    Path: ((str,), "a path"),
}


def _value(kind: Any, told: Any, name: str, folder: Path) -> Any:
    kind = next((each for each in get_args(kind) if each is not type(None)), kind) if _optional(kind) else kind
    if is_dataclass(kind):
        return _table(kind, told, f"{name}.", folder)
    if get_origin(kind) is tuple:
        (of, *_) = get_args(kind)
        written = f"[[{name}]]" if is_dataclass(of) else f"{name} = [...]"
        if not isinstance(told, list) or not told:
            raise TomlError(f"{name} is not a list of at least one: write {written}")
        return tuple(_value(of, each, name, folder) for each in told)
    if get_origin(kind) is dict:
        if not isinstance(told, dict):
            raise TomlError(f"{name} is not a table: write [{name}]")
        return {key: _value(str, each, f"{name}.{key}", folder) for key, each in told.items()}
    kinds, called = _SCALARS[kind]
    if not isinstance(told, kinds) or (isinstance(told, bool) and kind is not bool):
        raise TomlError(f"{name} is not {called}: {told!r}")
    return folder / str(told) if kind is Path else kind(told)


def _optional(kind: Any) -> bool:
    return type(None) in get_args(kind)
