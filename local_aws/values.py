"""Pulumi's wire values as plain Python ones, and back: secrets, unknowns and packages of files marked as such.

Source: https://github.com/pulumi/pulumi/blob/master/sdk/proto/go/README.md and the SDKs' signature constants.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format, struct_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 (a marker of the wire format)
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
_ASSET = "c44067f5952c0a294b673a41bacd8c17"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class Unknown:
    """A value that only a deployment will tell."""

    def __repr__(self) -> str:
        return "(known after deploy)"


UNKNOWN = Unknown()


class Secret(NamedTuple):
    """A value that is never printed and, in a state file, only recognised again."""

    value: Any

    def __repr__(self) -> str:
        return "[secret]"


class Package(NamedTuple):
    """The files of a Lambda package: their paths on this machine by their names in the package."""

    wire: Mapping[str, Any]
    sha256: str

    def __repr__(self) -> str:
        return f"a package of SHA-256 {self.sha256[:12]}"

    def zipped(self) -> bytes:
        """The package as a zip, the same bytes for the same files."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in _files(self.wire).items():
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
        return buffer.getvalue()


def _files(archive: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: Path(asset["path"]).read_bytes() for name, asset in sorted(archive["assets"].items())}


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Read the properties of a request."""
    read = {name: _read(value) for name, value in json_format.MessageToDict(struct).items()}
    return {name: value for name, value in read.items() if value is not None and not name.startswith("__")}


def _read(value: Any) -> Any:
    if value == _UNKNOWN:
        return UNKNOWN
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get(_SIGNATURE):
        case None:
            return {name: _read(item) for name, item in value.items()}
        case signature if signature == _SECRET:
            return Secret(_read(value["value"]))
        case signature if signature == _ARCHIVE and ("assets" in value or "hash" in value):
            return Package(value, value.get("hash") or _digest(value))
        case signature:
            raise NotImplementedError(f"a value of the kind {signature} on the wire")


def _digest(archive: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, content in _files(archive).items():
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """Write the properties of an answer."""
    struct = struct_pb2.Struct()
    struct.update({name: _write(value) for name, value in properties.items()})
    return struct


def _write(value: Any) -> Any:
    match value:
        case Unknown():
            return _UNKNOWN
        case Secret(value=inner):
            return {_SIGNATURE: _SECRET, "value": _write(inner)}
        case Package(wire=wire):
            return wire
        case dict():
            return {name: _write(item) for name, item in value.items()}
        case list():
            return [_write(item) for item in value]
        case _:
            return value


def revealed(value: Any) -> Any:
    """The value with its secrets as they are, for the cloud."""
    match value:
        case Secret(value=inner):
            return revealed(inner)
        case dict():
            return {name: revealed(item) for name, item in value.items()}
        case list():
            return [revealed(item) for item in value]
        case _:
            return value


def concealed(value: Any) -> Any:
    """The value as a state file may hold it: a secret or a package only by its digest."""
    match value:
        case Secret(value=inner):
            text = json.dumps(concealed(inner), sort_keys=True)
            return f"[secret sha256:{hashlib.sha256(text.encode()).hexdigest()}]"
        case Package(sha256=sha256):
            return f"[package sha256:{sha256}]"
        case dict():
            return {name: concealed(item) for name, item in value.items()}
        case list():
            return [concealed(item) for item in value]
        case _:
            return value


def has_unknown(value: Any) -> bool:
    """Whether any part of the value is only known after a deployment."""
    match value:
        case Unknown():
            return True
        case Secret(value=inner):
            return has_unknown(inner)
        case dict():
            return any(has_unknown(item) for item in value.values())
        case list():
            return any(has_unknown(item) for item in value)
        case _:
            return False
