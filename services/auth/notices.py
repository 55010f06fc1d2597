"""Notices that the notifier may claim: whom to tell of an event, once, under a lease, audited (docs/architecture.md, 4)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import grpc

from services.auth import errors
from services.auth.accounts import Accounts
from services.auth.vault import Contact
from services.chassis.errors import ServiceError, unavailable
from services.chassis.postgres import Database

# An event this young may be one that the worker has not met yet.
_YOUNG_S = 300.0
_SOON = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Claimed:
    contact: Contact
    remaining: timedelta


class Notices:
    """There is no way from an account id to a phone number but an open notice."""

    def __init__(self, database: Database, accounts: Accounts, lifetime: timedelta, lease: timedelta) -> None:
        self._database = database
        self._accounts = accounts
        self._lifetime = lifetime
        self._lease = lease

    async def announce(self, account_id: UUID, event_id: UUID, occurred_at: datetime) -> None:
        """An event of another service that the subscriber is told of. Idempotent.

        Its lifetime began when it happened: a replay of old events opens nothing, though their notices be gone.
        """
        await self._database.execute(
            "INSERT INTO notice (account_id, event_id, expires_at) SELECT $1, $2, $3::timestamptz + $4::interval"
            " WHERE $3::timestamptz + $4::interval > clock_timestamp() ON CONFLICT DO NOTHING",
            account_id,
            event_id,
            occurred_at,
            self._lifetime,
        )

    async def claim(self, account_id: UUID, event_id: UUID, claimant: str) -> Claimed:
        """Raises ServiceError DELIVERY_VOID, DELIVERY_CLAIMED, NOTICE_NOT_YET_KNOWN."""
        row = await self._database.fetch_row(
            "UPDATE notice SET claimant = $3, claimed_at = coalesce(claimed_at, clock_timestamp()),"
            " lease_until = clock_timestamp() + $4::interval"
            " WHERE account_id = $1 AND event_id = $2 AND closed_at IS NULL AND expires_at > clock_timestamp()"
            " AND (claimant IS NULL OR claimant = $3 OR lease_until < clock_timestamp())"
            " RETURNING expires_at - clock_timestamp() AS remaining, contact",
            account_id,
            event_id,
            claimant,
            self._lease,
        )
        if row is None:
            raise await self._why_not(account_id, event_id)
        loaded = await self._accounts.load(account_id)
        if loaded is None:
            raise _void()
        # A former contact, of whoever is to learn that it is one; else whoever is on file now.
        return Claimed(loaded.vault.open_contact(row["contact"] or loaded.account.contact), row["remaining"])

    async def close(self, account_id: UUID, event_id: UUID) -> None:
        """Sent, or given up. Idempotent."""
        await self._database.execute(
            "UPDATE notice SET closed_at = clock_timestamp(), contact = NULL"
            " WHERE account_id = $1 AND event_id = $2 AND closed_at IS NULL",
            account_id,
            event_id,
        )

    async def _why_not(self, account_id: UUID, event_id: UUID) -> ServiceError:
        row = await self._database.fetch_row(
            "SELECT closed_at IS NOT NULL OR expires_at < clock_timestamp() AS void, lease_until - clock_timestamp() AS lease"
            " FROM notice WHERE account_id = $1 AND event_id = $2",
            account_id,
            event_id,
        )
        if row is None:
            now: float = await self._database.fetch_value("SELECT extract(epoch FROM clock_timestamp())::float8")
            young = event_id.version == 7 and now - _seconds_of(event_id) < _YOUNG_S
            return unavailable(_SOON, errors.NOTICE_NOT_YET_KNOWN) if young else _void()
        if row["void"]:
            return _void()
        return ServiceError(
            grpc.StatusCode.FAILED_PRECONDITION,
            errors.DELIVERY_CLAIMED,
            "Another worker has it.",
            retry_after=max(_SOON, row["lease"] or _SOON),
        )


def _void() -> ServiceError:
    return ServiceError(grpc.StatusCode.NOT_FOUND, errors.DELIVERY_VOID, "No such notice is open.")


def _seconds_of(event_id: UUID) -> float:
    """The moment in a UUIDv7 (RFC 9562, 5.7), as a Unix time. No datetime: it may be a year that Python has none for."""
    return (event_id.int >> 80) / 1000
