"""Sealing of what may lie in a database but not be read there.

For oneself, with AES-256-GCM (NIST SP 800-38D). For another service, which alone can open it, with HPKE (RFC 9180, base mode):
X25519, HKDF-SHA256, AES-256-GCM.
"""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from services.chassis.errors import CannotStart

_NONCE_BYTES = 12
KEY_BYTES = 32  # of all keys: AES-256 and X25519
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
# What is sealed for another is filled up to a multiple of this: its length would tell that of a password.
_BLOCK = 256


class UnsealError(Exception):
    """The key is gone or another one, or the bytes or their context were changed."""


class Seal:
    """Seals with one 256-bit key. The context (an id, a purpose) must be the same when it is opened."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes")
        self._aead = AESGCM(key)

    def close(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises UnsealError."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            raise UnsealError from None


class PublicSeal:
    """Seals for the holder of the private key. Whoever holds this can't open what it has closed."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key of another length."""
        self._key = X25519PublicKey.from_public_bytes(key)

    def close(self, plain: bytes, context: bytes) -> bytes:
        # ISO/IEC 7816-4: a one, then zeros.
        filled = plain + b"\x80" + bytes(-(len(plain) + 1) % _BLOCK)
        return _HPKE.encrypt(filled, self._key, context)


class PrivateSeal:
    """Opens what was sealed for it."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key of another length."""
        self._key = X25519PrivateKey.from_private_bytes(key)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises UnsealError."""
        try:
            filled = _HPKE.decrypt(sealed, self._key, context)
        except (InvalidTag, ValueError):
            raise UnsealError from None
        plain, one, _ = filled.rpartition(b"\x80")
        if not one:
            raise UnsealError
        return plain


def public_key_of(private_key: bytes) -> bytes:
    """What a PublicSeal takes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def read_key(path: Path) -> bytes:
    """A key file: 64 hexadecimal digits, white space around them ignored. Raises CannotStart, never with its contents."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except FileNotFoundError:
        raise CannotStart(f"there is no key file {path}") from None
    except ValueError:
        raise CannotStart(f"{path} is not a key: hexadecimal digits expected") from None
    if len(key) != KEY_BYTES:
        raise CannotStart(f"{path}: a key has {KEY_BYTES} bytes")
    return key
