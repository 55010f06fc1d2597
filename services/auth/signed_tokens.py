"""JWTs (RFC 7519) that somebody else signs and auth verifies offline, with Ed25519 (`alg` EdDSA, RFC 8037) and nothing else.

Time is the database's, so PyJWT judges no times: `exp` is judged where the token is used up. Other claims are not read.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.chassis.errors import CannotStart

_REQUIRED = ("aud", "exp", "jti")
_NO_TIMES = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


class TokenKey:
    """Whose tokens are taken. audience: what those for this installation name."""

    def __init__(self, key: Ed25519PublicKey, audience: str) -> None:
        self._key = key
        self._audience = audience

    def claims_of(self, text: str) -> Mapping[str, Any] | None:
        """With `aud`, `exp` and `jti` at least; it may have expired. None: of another key or for another audience."""
        options: Any = {**_NO_TIMES, "require": [*_REQUIRED]}
        try:
            claims = jwt.decode(text, self._key, algorithms=["EdDSA"], audience=self._audience, options=options)
        # What is nested a thousand deep is read before the signature is.
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        return claims if claims["jti"] else None


def expiry_of(claims: Mapping[str, Any]) -> datetime | None:
    """None: it is no time."""
    try:
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def id_of(claims: Mapping[str, Any]) -> bytes:
    """32 bytes: its `jti`, hashed to a size of ours."""
    return hashlib.sha256(str(claims["jti"]).encode()).digest()


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A PEM file. Raises CannotStart."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        raise CannotStart(f"there is no key file {path}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CannotStart(f"{path} is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise CannotStart(f"{path} is no Ed25519 key")
    return key
