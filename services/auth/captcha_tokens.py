"""Captchas of an outside service: it shows them, and signs for those that were solved. Verified offline: nobody is asked.

The token is a JWT (RFC 7519) signed with Ed25519 (`alg` EdDSA, RFC 8037), with `aud`, `exp` and `jti`. Time is the
database's, so `exp` is judged where the token is used up; `nbf` and other claims are not read.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.auth import errors
from services.auth.captcha import Picture, UsedCaptchas
from services.chassis.errors import CannotStart


@dataclass(frozen=True)
class SolvedToken:
    """What a genuine token says. captcha_id: its `jti`, hashed to a size of ours."""

    captcha_id: bytes
    expires_at: datetime


class TokenCaptcha:
    """key: of the outside service. audience: what its tokens for this installation name."""

    def __init__(self, key: Ed25519PublicKey, audience: str, used: UsedCaptchas) -> None:
        self._key = key
        self._audience = audience
        self._used = used

    async def create(self, address: str) -> Picture:
        raise errors.captcha_not_offered()

    async def settles(self, proof: str) -> bool:
        if not proof:
            return False
        token = read_token(proof, self._key, self._audience)
        if token is None or not await self._used.use(token.captcha_id, token.expires_at):
            raise errors.captcha_rejected()
        return True


def read_token(text: str, key: Ed25519PublicKey, audience: str) -> SolvedToken | None:
    """None: not signed with the key, or not for this audience. Whether it has expired is not looked at."""
    signed, _, signature = text.rpartition(".")
    try:
        key.verify(_decode(signature), signed.encode())
        header, claims = (json.loads(_decode(part)) for part in signed.split("."))
        return _solved(header, claims, audience)
    except (InvalidSignature, ValueError, OverflowError, OSError, TypeError, KeyError):
        return None


def _solved(header: dict[str, Any], claims: dict[str, Any], audience: str) -> SolvedToken | None:
    """Raises KeyError, TypeError, ValueError, OverflowError or OSError for what isn't as it must be."""
    named = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    if header["alg"] != "EdDSA" or "crit" in header or audience not in named or not claims["jti"]:
        return None
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    return SolvedToken(hashlib.sha256(str(claims["jti"]).encode()).digest(), expires_at)


def _decode(text: str) -> bytes:
    """Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


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
