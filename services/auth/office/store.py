"""Numbers that wait to be put on file at an office, as PostgreSQL keeps them."""

from datetime import timedelta
from uuid import UUID

from services.auth.accounts import Beside
from services.auth.identifiers import LookupKey, Phone
from services.auth.office.domain import PendingChange
from services.chassis.postgres import Database
from services.chassis.telemetry import logger

# Of a change that is due, lapsed, or void because of a new password.
_DUE = (
    "SELECT c.account_id FROM contact_change c JOIN account a USING (account_id)"
    " WHERE coalesce(c.due_at, c.approve_by) <= clock_timestamp() OR a.credential_version <> c.credential_version"
    " ORDER BY c.approve_by LIMIT 100"
)


def kept(change: PendingChange) -> Beside:
    """Written with the events that it comes from."""
    return Beside(
        "keep_contact_change($12, {}, {}, {}, {}, {}, {})",
        (
            change.change_id, change.phone, change.requested_by, change.credential_version, change.approve_by, change.due_at,
        ),
    )  # fmt: skip


def ended() -> Beside:
    return Beside("end_contact_change($12)", ())


def carried_out(lookup: LookupKey, new: Phone, old: Phone | None) -> Beside:
    """Ended, and what leads to the account is to be re-pointed."""
    return Beside("carry_contact_change_out($12, {}, {})", (lookup.of(new), lookup.of(old) if old else None))


class PendingChanges:
    """Read after the account: each change of one is an event of the account, so an append notices what came between."""

    def __init__(self, database: Database, lookup: LookupKey, phone_kept: timedelta) -> None:
        self._database = database
        self._lookup = lookup
        self._phone_kept = phone_kept

    async def of(self, account_id: UUID) -> PendingChange | None:
        row = await self._database.fetch_row("SELECT * FROM contact_change WHERE account_id = $1", account_id)
        if row is None:
            return None
        return PendingChange(
            row["change_id"], row["phone"], row["requested_by"], row["credential_version"], row["approve_by"], row["due_at"]
        )

    async def account_of(self, change_id: UUID) -> UUID | None:
        account_id: UUID | None = await self._database.fetch_value(
            "SELECT account_id FROM contact_change WHERE change_id = $1", change_id
        )
        return account_id

    async def due(self) -> list[UUID]:
        """Accounts for whose change something is to be done."""
        return [row["account_id"] for row in await self._database.fetch(_DUE)]

    async def take_phone(self, phone: Phone, account_id: UUID) -> bool:
        """False: an office named it for another account lately."""
        taken = await self._database.fetch_value(
            "INSERT INTO office_phone AS p (lookup, account_id, until) VALUES ($1, $2, clock_timestamp() + $3::interval)"
            " ON CONFLICT (lookup) DO UPDATE SET account_id = excluded.account_id, until = excluded.until"
            " WHERE p.account_id = excluded.account_id OR p.until < clock_timestamp() RETURNING true",
            self._lookup.of(phone),
            account_id,
            self._phone_kept,
        )
        return bool(taken)

    async def left_to_move(self) -> list[UUID]:
        """Accounts whose identifiers are still to be re-pointed."""
        return [row["account_id"] for row in await self._database.fetch("SELECT account_id FROM identifier_move LIMIT 100")]

    async def move_identifiers(self, account_id: UUID) -> None:
        """May be done again. The row is locked: who comes second finds this one ended, and ends no newer one."""
        async with self._database.transaction() as connection:
            move = await connection.fetchrow("SELECT * FROM identifier_move WHERE account_id = $1 FOR UPDATE", account_id)
            if move is None:
                return
            confirmed = await connection.execute(
                "UPDATE identifier SET reserved_until = NULL WHERE lookup = $1 AND account_id = $2",
                move["new_lookup"], account_id,
            )  # fmt: skip
            if confirmed != "UPDATE 1":
                logger().error("a number went to another account while it was put on file", stream_id=str(account_id))
            await connection.execute(
                "DELETE FROM identifier WHERE lookup = $1 AND account_id = $2", move["old_lookup"], account_id
            )
            await connection.execute("DELETE FROM identifier_move WHERE account_id = $1", account_id)

    async def remove_expired(self) -> None:
        await self._database.execute("DELETE FROM office_phone WHERE until < clock_timestamp() - interval '1 hour'")
