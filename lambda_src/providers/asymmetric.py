"""Signatures by public key, all of them checked by `cryptography`: imported only by the providers that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from providers.errors import NotAuthenticError
from providers.keys import InvalidKeysError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from providers.keys import Key

_MOST_SIGNATURES = 8
_P256_BYTES = 32


def ed25519_signed_by(keys: Iterable[tuple[Key, bytes]], content: bytes, signatures: Iterable[bytes]) -> str:
    """The id of the first key that made one of the signatures, or NotAuthenticError."""
    sent = list(signatures)[:_MOST_SIGNATURES]
    for key, public in keys:
        try:
            verifier = ed25519.Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise InvalidKeysError("a public key is not the 32 bytes of Ed25519") from None
        for signature in sent:
            try:
                verifier.verify(signature, content)
            except InvalidSignature:
                continue
            return key.id
    raise NotAuthenticError("no usable key made this signature")


def check_rsa_sha256(key: object, content: bytes, signature: bytes) -> None:
    """Check an RSASSA-PKCS1-v1_5 signature with SHA-256, or raise NotAuthenticError."""
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotAuthenticError("the certificate's key is not RSA")
    try:
        key.verify(signature, content, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise NotAuthenticError("the certificate's key did not make this signature") from None


def p256_key(x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a point on P-256, or ValueError."""
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
    return numbers.public_key()


def check_es256(key: ec.EllipticCurvePublicKey, content: bytes, signature: bytes) -> None:
    """Check a signature as RFC 7518, section 3.4, writes it, or raise NotAuthenticError."""
    if len(signature) != 2 * _P256_BYTES:
        raise NotAuthenticError("the signature is not the 64 bytes of ES256")
    r, s = int.from_bytes(signature[:_P256_BYTES]), int.from_bytes(signature[_P256_BYTES:])
    try:
        key.verify(utils.encode_dss_signature(r, s), content, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotAuthenticError("no usable key made this signature") from None
