"""One signature over a report: Ed25519 over the SHA-256 of its data and of its page."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from migration.evidence.page import render
from migration.evidence.report import EvidenceError

if TYPE_CHECKING:
    from pathlib import Path

DATA, PAGE, SIGNATURE = "report.json", "report.html", "report.sig.json"
_PURPOSE = b"envmig-report-1\n"
"""A signature over anything else that the key may sign one day is none over a report."""


def write(report: dict[str, Any], folder: Path, key_file: Path) -> str:
    """Write a report's three files; the digest that is signed, in hex."""
    key = _private(key_file)
    data = json.dumps(report, indent=1, ensure_ascii=False).encode()
    page = render(report, hashlib.sha256(data).hexdigest()).encode()
    digest = _digest(data, page)
    signed = {
        "algorithm": "Ed25519",
        "digest": digest.hex(),
        "signature": base64.b64encode(key.sign(_PURPOSE + digest)).decode(),
        "public_key": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA).write_bytes(data)
    (folder / PAGE).write_bytes(page)
    (folder / SIGNATURE).write_text(json.dumps(signed, indent=1))
    return digest.hex()


def verify(folder: Path, public_key: Path) -> str:
    """Hold a report against its signature and a key that one has from elsewhere; the digest, or EvidenceError."""
    try:
        data, page = (folder / DATA).read_bytes(), (folder / PAGE).read_bytes()
        signed = json.loads((folder / SIGNATURE).read_text())
        signature = base64.b64decode(signed["signature"], validate=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{folder} holds no whole report: {error}") from error
    digest = _digest(data, page)
    try:
        key = load_pem_public_key(public_key.read_bytes())
        if not isinstance(key, Ed25519PublicKey):
            raise EvidenceError(f"{public_key} is no Ed25519 key")
        key.verify(signature, _PURPOSE + digest)
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{public_key} is no public key: {error}") from error
    except InvalidSignature:
        says = "it was signed with another key" if signed.get("digest") == digest.hex() else "it was changed since"
        raise EvidenceError(f"{folder} is not the report that was signed: {says}") from None
    return digest.hex()


def new_key(file: Path) -> Path:
    """Make a key that only its owner reads, and its public half beside it; give where that is."""
    key = Ed25519PrivateKey.generate()
    public = file.with_name(f"{file.name}.pub")
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except FileExistsError:
        raise EvidenceError(f"{file} is there already: reports that it signed would lose their key") from None
    except OSError as error:
        raise EvidenceError(f"{file} cannot be written: {error}") from error
    return public


def _private(file: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise EvidenceError(
            f"the key {file} cannot be read: {error}; make one: envmig report new-key {file}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise EvidenceError(f"{file} is no Ed25519 key; make one: envmig report new-key FILE")
    return key


def _digest(data: bytes, page: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest() + hashlib.sha256(page).digest()).digest()
