"""Captchas (M9): whether one was solved, and that one is good once (docs/adr/0017).

Pictures are drawn and judged in pictures.py, tokens of an outside service in tokens.py; another provider is
another `Captcha`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.auth import errors
from services.chassis.postgres import Database

# Of any captcha: what was used must be remembered for as long.
LONGEST_LIFE = timedelta(hours=1)


@dataclass(frozen=True)
class Picture:
    """A captcha to be shown. png: the image. captcha_id: what the answer names it by."""

    png: bytes
    captcha_id: str
    expires_at: datetime

    def __repr__(self) -> str:
        return "Picture(…)"


class Captcha(Protocol):
    """What an installation has of captchas."""

    async def settles(self, proof: str) -> bool:
        """Whether whoever must have solved a captcha may go on. proof: what the caller gave; False if that is nothing.

        Uses the proof up, right or wrong. Raises ServiceError CAPTCHA_REJECTED.
        """
        ...

    async def create(self, address: str) -> Picture:
        """A new captcha, for who asks from this address. Raises ServiceError CAPTCHA_NOT_OFFERED, OVERLOADED."""
        ...


class NoCaptcha:
    """There is none to solve, so nobody is asked: SMS leave without, and a limit of a range or the system keeps nobody out."""

    async def settles(self, proof: str) -> bool:
        return True

    async def create(self, address: str) -> Picture:
        raise errors.captcha_not_offered()


class UsedCaptchas:
    """Which captchas were used, until they expire. Those that were only made are stored nowhere: anybody may have one made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """The time that `use` goes by."""
        now: datetime = await self._database.fetch_value("SELECT clock_timestamp()")
        return now

    async def use(self, captcha_id: bytes, expires_at: datetime) -> bool:
        """True for exactly one of all calls with this id, and only before it expires, which may be LONGEST_LIFE ahead."""
        used = await self._database.fetch_value(
            "INSERT INTO used_captcha (captcha_id, expires_at)"
            " SELECT $1, $2 WHERE $2::timestamptz > clock_timestamp() AND $2 <= clock_timestamp() + $3::interval"
            " ON CONFLICT DO NOTHING RETURNING true",
            captcha_id,
            expires_at,
            LONGEST_LIFE,
        )
        return bool(used)

    async def remove_expired(self) -> None:
        """With a margin, for the clock of a standby that takes over may be late."""
        await self._database.execute("DELETE FROM used_captcha WHERE expires_at < clock_timestamp() - interval '1 hour'")
