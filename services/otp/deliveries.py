"""What waits to be sent, and who may have it (docs/architecture.md, Claims)."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.chassis.sealing import Seal
from services.otp import errors
from services.otp.store import Store


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Destination:
    """Exactly one of phone (E.164 with the plus sign) and email (ASCII) is not empty. language: ru or en. has_account: whether
    it is somebody's.
    """

    phone: str = ""
    email: str = ""
    language: str
    has_account: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Parcel:
    """Everything that a message needs."""

    destination: Destination
    code: str
    tag: str

    def seal(self, seal: Seal, challenge_id: UUID) -> bytes:
        destination = asdict(self.destination)
        # Beside it and as a number: an older process can open it, and it is as long for a stranger as for a subscriber.
        has_account = int(destination.pop("has_account"))
        # What is empty is left out: an older process can open what names a phone alone.
        destination = {name: value for name, value in destination.items() if value}
        plain = {"destination": destination, "code": self.code, "tag": self.tag, "has_account": has_account}
        return seal.close(json.dumps(plain).encode(), challenge_id.bytes)

    @classmethod
    def unseal(cls, seal: Seal, challenge_id: UUID, sealed: bytes) -> "Parcel":
        """Raises UnsealError."""
        plain = json.loads(seal.open(sealed, challenge_id.bytes))
        has_account = bool(plain.get("has_account", 0))  # an older process didn't say
        return cls(Destination(**plain["destination"], has_account=has_account), plain["code"], plain["tag"])


@dataclass(frozen=True, slots=True)
class Claimed:
    parcel: Parcel = field(repr=False)
    expires_at: datetime
    remaining: timedelta


class Deliveries:
    def __init__(self, store: Store, seal: Seal, lease: timedelta) -> None:
        self._store = store
        self._seal = seal
        self._lease = lease

    async def claim(self, challenge_id: UUID, event_id: UUID, claimant: str) -> Claimed:
        """Raises ServiceError DELIVERY_VOID or DELIVERY_CLAIMED."""
        claim = await self._store.claim(challenge_id, event_id, claimant, self._lease)
        if claim.retry_in is not None:
            raise errors.delivery_claimed(claim.retry_in)
        if claim.sealed is None or claim.expires_at is None or claim.remaining is None:
            raise errors.delivery_void()
        return Claimed(Parcel.unseal(self._seal, challenge_id, claim.sealed), claim.expires_at, claim.remaining)

    async def report(self, challenge_id: UUID, event_id: UUID, sent: bool) -> None:
        """Deletes the plain code and the destination. Idempotent."""
        await self._store.report(challenge_id, event_id, sent)
