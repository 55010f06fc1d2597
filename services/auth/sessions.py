"""Session tokens: opaque, 256 random bits, kept as a hash. The account id within leads to the row, and to the shard."""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from services.auth.domain import NewSession

_SECRET_BYTES = 32
_ID_BYTES = 16


def new_session(account_id: UUID, now: datetime, lifetime: timedelta, device: bytes = b"") -> tuple[NewSession, str]:
    """The session, and the token that is shown this once. device: its mark; empty if none was named."""
    session_id, secret = uuid4(), secrets.token_bytes(_SECRET_BYTES)
    return NewSession(session_id, hash_of(secret), now + lifetime, device), encode_token(account_id, session_id, secret)


def encode_token(*parts: UUID | bytes) -> str:
    """URL-safe text of ids and a secret."""
    return base64.urlsafe_b64encode(b"".join(p.bytes if isinstance(p, UUID) else p for p in parts)).decode().rstrip("=")


def decode_token(token: str, ids: int) -> tuple[list[UUID], bytes] | None:
    """The ids and the secret; None: not a token of this shape."""
    if len(token) > 256:
        return None
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    # Base64 has several spellings for the same bytes, and Python's decoder skips what is none: only ours is a token.
    if len(raw) != ids * _ID_BYTES + _SECRET_BYTES or encode_token(raw) != token:
        return None
    return [UUID(bytes=raw[i * _ID_BYTES : (i + 1) * _ID_BYTES]) for i in range(ids)], raw[ids * _ID_BYTES :]


def hash_of(secret: bytes) -> bytes:
    """SHA-256: enough for 256 random bits, which nobody can guess at."""
    return hashlib.sha256(secret).digest()


def same(hash_a: bytes, hash_b: bytes) -> bool:
    return hmac.compare_digest(hash_a, hash_b)
