"""The operator's staff identity system, as local stacks and tests have it: its keys, and the assertions that it signs (M18)."""

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

AUDIENCE = "zasov"
# What auth verifies with, and what only the staff identity system would have.
PUBLIC, PRIVATE = "staff-assertion.pem", "staff-signing.pem"


def make_staff_keys(folder: Path) -> None:
    """Writes both halves; existing ones are kept."""
    private = folder / PRIVATE
    if private.exists():
        return
    key = Ed25519PrivateKey.generate()
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / PUBLIC).write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class StaffSystem:
    """Signs for whoever is at work. folder: that of `make_staff_keys`."""

    def __init__(self, folder: Path) -> None:
        key = load_pem_private_key((folder / PRIVATE).read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        self._key = key

    def assertion(self, staff: str = "ivanova", office: str = "tver-1", role: str = "office", **changed: Any) -> str:
        """One that is in order, but for what is changed; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "sub": staff,
            "office": office,
            "role": role,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 120,
            "jti": str(uuid4()),
        }
        said = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return jwt.encode(said, self._key, algorithm="EdDSA")
