"""Encryption of what the spool keeps: AES-256-GCM, a nonce each, and several keys so that one can be replaced."""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from migration.relay.errors import SettingsError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NONCE = 12
_KEY = 32


class Seal:
    """Keys by their id, one byte; the first seals, all open."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        if not keys:
            raise SettingsError("the spool's key file holds no key; make one: envmig relay new-key FILE")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._first = next(iter(keys))

    @classmethod
    def load(cls, file: Path) -> Seal:
        """Read a key file: a line a key, `1:BASE64`, the one that seals first."""
        try:
            lines = file.read_text().split()
        except OSError as error:
            raise SettingsError(
                f"the spool's key file cannot be read: {error}; make one: envmig relay new-key {file}"
            ) from error
        keys = {}
        for line in lines:
            key_id, _, encoded = line.partition(":")
            try:
                number, key = int(key_id), base64.b64decode(encoded, validate=True)
            except (ValueError, binascii.Error):
                number, key = -1, b""
            if not 0 <= number <= 255 or len(key) != _KEY:  # noqa: PLR2004 (one byte)
                raise SettingsError(f"{file}: a line is not of the form NUMBER:BASE64 of {_KEY} bytes")
            keys[number] = key
        return cls(keys)

    def close(self, content: bytes, bound_to: bytes) -> bytes:
        """Encrypt; what it is bound to has to be the same when it is opened."""
        nonce = os.urandom(_NONCE)
        return bytes([self._first]) + nonce + self._ciphers[self._first].encrypt(nonce, content, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """Decrypt, or raise SpoolError when no key fits or something was changed."""
        cipher = self._ciphers.get(sealed[0])
        if cipher is None:
            raise SpoolError(f"the spool's key file has no key {sealed[0]}, with which a row was sealed")
        try:
            return cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], bound_to)
        except InvalidTag:
            raise SpoolError("a row of the spool was changed, or sealed with another key") from None


def new_key(file: Path) -> None:
    """Make a key file that only its owner reads; one that is there is left alone."""
    content = f"1:{base64.b64encode(os.urandom(_KEY)).decode()}\n"
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(content)
    except FileExistsError:
        raise SettingsError(
            f"{file} is there already: what was sealed with it could not be opened without it"
        ) from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error}") from error
