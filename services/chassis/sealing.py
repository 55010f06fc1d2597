"""Sealing of what may lie in a database but not be read there: AES-256-GCM (NIST SP 800-38D)."""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis.errors import CannotStart

_NONCE_BYTES = 12
KEY_BYTES = 32


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
