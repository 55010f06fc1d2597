"""Who calls from an office: an assertion of the operator's staff identity system, good for one call, and a day's limit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from zasov.events.v1.auth_event_pb2 import StaffPseudonyms

from services.auth import errors
from services.auth.identifiers import LookupKey
from services.auth.office.domain import StaffRecord
from services.auth.signed_tokens import TokenKey, expiry_of, id_of
from services.chassis.postgres import Database
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.sealing import PrivateSeal, PublicSeal
from services.chassis.telemetry import logger

# One is made for one call. What is good for longer is refused.
LONGEST_LIFE = timedelta(minutes=5)
# The call centre hears whoever calls; an office sees a document.
_ROLE = "office"
_LONGEST_ID = 128
_AUDIT_CONTEXT = b"zasov.auth.staff"


@dataclass(frozen=True, slots=True)
class Staff:
    """A member of staff at an office. Not shown in a repr."""

    staff_id: str
    office_id: str

    def __repr__(self) -> str:
        return "Staff(…)"


class StaffDesk:
    """key: of the staff identity system. audit: seals who acted for those who may ask. daily_limit: calls a person and day."""

    def __init__(
        self,
        database: Database,
        key: TokenKey,
        lookup: LookupKey,
        pseudonyms: Pseudonyms,
        audit: PublicSeal,
        daily_limit: int,
    ) -> None:
        self._database = database
        self._key = key
        self._lookup = lookup
        self._pseudonyms = pseudonyms
        self._audit = audit
        self._daily_limit = daily_limit

    async def admit(self, assertion: str) -> Staff:
        """Uses the assertion up, and one call of the day. Raises ServiceError STAFF_ASSERTION_REJECTED, STAFF_NOT_ALLOWED,
        STAFF_LIMIT.
        """
        claims = self._key.claims_of(assertion)
        expires_at = expiry_of(claims) if claims else None
        staff = _staff_in(claims) if claims else None
        if claims is None or expires_at is None or staff is None or not await self._use(id_of(claims), expires_at):
            raise errors.staff_assertion_rejected()
        if claims["role"] != _ROLE:
            logger().warning("staff of another role turned away", reason=errors.STAFF_NOT_ALLOWED)
            raise errors.staff_not_allowed()
        await self._count(staff)
        return staff

    def record(self, staff: Staff, now: datetime) -> StaffRecord:
        """As events know them. Raises NoKeyForMonth."""
        key_id, who = self._pseudonyms.of("staff", staff.staff_id, now)
        _, where = self._pseudonyms.of("office", staff.office_id, now)
        plain = json.dumps({"staff": staff.staff_id, "office": staff.office_id}).encode()
        return StaffRecord(
            StaffPseudonyms(key_id=key_id, staff_pseudonym=who, office_pseudonym=where),
            self._lookup.staff_mac(staff.staff_id),
            self._audit.close(plain, _AUDIT_CONTEXT),
        )

    async def remove_expired(self) -> None:
        """With a margin, for the clock of a standby that takes over may be late."""
        await self._database.execute("DELETE FROM used_assertion WHERE expires_at < clock_timestamp() - interval '1 hour'")
        await self._database.execute("DELETE FROM staff_day WHERE day < (clock_timestamp() AT TIME ZONE 'UTC')::date - 1")

    async def _use(self, assertion_id: bytes, expires_at: datetime) -> bool:
        """True for exactly one of all calls with this id, and only before it expires."""
        used = await self._database.fetch_value(
            "INSERT INTO used_assertion (assertion_id, expires_at)"
            " SELECT $1, $2 WHERE $2::timestamptz > clock_timestamp() AND $2 <= clock_timestamp() + $3::interval"
            " ON CONFLICT DO NOTHING RETURNING true",
            assertion_id,
            expires_at,
            LONGEST_LIFE,
        )
        return bool(used)

    async def _count(self, staff: Staff) -> None:
        counted = await self._database.fetch_value(
            "INSERT INTO staff_day AS d (staff, day, calls) VALUES ($1, (clock_timestamp() AT TIME ZONE 'UTC')::date, 1)"
            " ON CONFLICT (staff, day) DO UPDATE SET calls = d.calls + 1 WHERE d.calls < $2 RETURNING true",
            self._lookup.staff_mac(staff.staff_id),
            self._daily_limit,
        )
        if not counted:
            left: timedelta = await self._database.fetch_value(
                "SELECT date_trunc('day', t) + interval '1 day' - t"
                " FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC') AS now (t)"
            )
            raise errors.staff_limit(left)


def who_acted(private: PrivateSeal, sealed: bytes) -> Staff:
    """For auditors, who alone hold the key. Raises UnsealError."""
    plain: dict[str, str] = json.loads(private.open(sealed, _AUDIT_CONTEXT))
    return Staff(plain["staff"], plain["office"])


def _staff_in(claims: Mapping[str, Any]) -> Staff | None:
    """None: the claims don't say who, where, as what and since when."""
    texts = [claims.get(name) for name in ("sub", "office", "role")]
    whole = all(isinstance(text, str) and 0 < len(text) <= _LONGEST_ID for text in texts)
    return Staff(claims["sub"], claims["office"]) if whole and isinstance(claims.get("iat"), int) else None
