"""Captchas of an outside service: it shows them, and signs for those that were solved. Verified offline: nobody is asked."""

from dataclasses import dataclass
from datetime import datetime

from services.auth import errors
from services.auth.captcha.provider import Picture, UsedCaptchas
from services.auth.signed_tokens import TokenKey, expiry_of, id_of


@dataclass(frozen=True)
class SolvedToken:
    """What a genuine token says. captcha_id: its `jti`, hashed to a size of ours."""

    captcha_id: bytes
    expires_at: datetime


class TokenCaptcha:
    """key: of the outside service."""

    def __init__(self, key: TokenKey, used: UsedCaptchas) -> None:
        self._key = key
        self._used = used

    async def create(self, address: str) -> Picture:
        raise errors.captcha_not_offered()

    async def settles(self, proof: str) -> bool:
        if not proof:
            return False
        token = read_token(proof, self._key)
        if token is None or not await self._used.use(token.captcha_id, token.expires_at):
            raise errors.captcha_rejected()
        return True


def read_token(text: str, key: TokenKey) -> SolvedToken | None:
    """None: not the service's, or not for this installation. Whether it has expired is not looked at."""
    claims = key.claims_of(text)
    expires_at = expiry_of(claims) if claims else None
    return SolvedToken(id_of(claims), expires_at) if claims and expires_at else None
