"""Pictures of characters. The challenge is sealed into its id, so that making one writes nothing anywhere."""

import asyncio
import base64
import binascii
import hmac
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from captcha.image import ImageCaptcha

from services.auth import errors
from services.auth.captcha.provider import Picture, UsedCaptchas
from services.chassis.errors import DEFAULT_RETRY, overloaded
from services.chassis.sealing import Seal, UnsealError

# None that looks like another, in a twisted picture; with one answer a picture, a guess is right once in 1.4 million.
ALPHABET = "ACEHKMNPRTXY34679"
LENGTH = 5
_WIDTH, _HEIGHT = 240, 80
# Typed with the Russian layout on.
_LOOK_ALIKES = str.maketrans("АСЕНКМРТХУЗ", "ACEHKMPTXY3")
_ID_BYTES, _TIME_BYTES = 16, 8
# Its key seals what a flow keeps as well, each in the context of the flow's id, which has sixteen bytes.
_CONTEXT = b"captcha"


@dataclass(frozen=True)
class Challenge:
    """What was drawn. expires_at: in whole seconds."""

    captcha_id: bytes
    characters: str
    expires_at: datetime

    def __repr__(self) -> str:
        return "Challenge(…)"

    def is_answered_by(self, answer: str) -> bool:
        return hmac.compare_digest(plain(answer).encode(), plain(self.characters).encode())

    def close(self, seal: Seal) -> str:
        seconds = int(self.expires_at.timestamp()).to_bytes(_TIME_BYTES)
        sealed = seal.close(self.captcha_id + seconds + self.characters.encode(), _CONTEXT)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    @classmethod
    def open(cls, seal: Seal, text: str) -> "Challenge | None":
        """None: not of our making."""
        try:
            opened = seal.open(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), _CONTEXT)
        except (UnsealError, binascii.Error, ValueError):
            return None
        captcha_id, rest = opened[:_ID_BYTES], opened[_ID_BYTES:]
        expires_at = datetime.fromtimestamp(int.from_bytes(rest[:_TIME_BYTES]), UTC)
        return cls(captcha_id, rest[_TIME_BYTES:].decode(), expires_at)


def plain(answer: str) -> str:
    """As it is compared: in upper case, without white space, Cyrillic letters as the Latin ones that look the same."""
    return "".join(answer.split()).upper().translate(_LOOK_ALIKES)


class DrawingLine:
    """One thread, whatever comes: hashing needs the cores. `places` pictures at most, of these half of what others leave for
    one address.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="captcha")
        self._images = ImageCaptcha(_WIDTH, _HEIGHT)
        self._by_address: Counter[str] = Counter()

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Raises ServiceError RESOURCE_EXHAUSTED with a retry time when there is none."""
        taken, held = self._by_address.total(), self._by_address[address]
        share = max(1, (self._places - (taken - held)) // 2)
        if taken >= self._places or held >= share:
            raise overloaded(DEFAULT_RETRY)
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def draw(self, characters: str) -> bytes:
        """A PNG; the caller holds a place. Who hangs up before their turn has nothing drawn."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._draw, characters)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _draw(self, characters: str) -> bytes:
        return self._images.generate(characters).getvalue()


class PictureCaptcha:
    """fixed_text: what every picture shows, in a local stack; empty: chance."""

    def __init__(self, seal: Seal, used: UsedCaptchas, line: DrawingLine, lifetime: timedelta, fixed_text: str = "") -> None:
        self._seal = seal
        self._used = used
        self._line = line
        self._lifetime = lifetime
        self._fixed_text = fixed_text

    async def create(self, address: str) -> Picture:
        with self._line.place(address):
            expires_at = (await self._used.now() + self._lifetime).replace(microsecond=0)
            characters = self._fixed_text or "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
            challenge = Challenge(secrets.token_bytes(_ID_BYTES), characters, expires_at)
            return Picture(await self._line.draw(characters), challenge.close(self._seal), expires_at)

    async def settles(self, proof: str) -> bool:
        if not proof:
            return False
        sealed, _, answer = proof.partition(":")
        challenge = Challenge.open(self._seal, sealed)
        # Used up before it is compared: else fifty answers at once are fifty tries.
        if challenge is None or not await self._used.use(challenge.captcha_id, challenge.expires_at):
            raise errors.captcha_rejected()
        if not challenge.is_answered_by(answer):
            raise errors.captcha_rejected()
        return True
