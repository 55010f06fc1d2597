"""The otp service's SQL: rows to values and back. It decides nothing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from asyncpg import Record
from zasov.events.v1.otp_event_pb2 import OtpEvent

from services.chassis.eventstore import Conflict, Fact, StoredEvents, stamp
from services.chassis.postgres import Connection, Database
from services.otp.brake import BrakeRules, Spray, brake_stream, lengthened
from services.otp.codes import LENGTHS
from services.otp.domain import BUDGET_WINDOW, Budget, Challenge, Purpose, State

_CHALLENGE = (
    "c.id, c.version, c.subject_id, c.flow_id, c.purpose, c.digits, c.max_tries, c.is_decoy, c.code_mac, c.issued_at,"
    " c.expires_at, c.state, c.failures, c.tries"
)
_INSERT_ONLY = "insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)"


@dataclass(frozen=True, slots=True)
class Row:
    """A challenge as it stands in its row. tries: checks begun, its outcome recorded or not; of a check that was begun without
    the grant, those without it.
    """

    id: UUID
    version: int
    challenge: Challenge
    tries: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A check that was counted and may be made; voided: it was not, and may not. counted_at names it at `give_back`."""

    row: Row
    counted_at: datetime
    voided: bool
    spray: Spray


@dataclass(frozen=True, slots=True)
class Claim:
    """outcome: void, claimed (retry_in), given (all but retry_in)."""

    outcome: str
    sealed: bytes | None = field(repr=False)
    expires_at: datetime | None
    remaining: timedelta | None
    retry_in: timedelta | None


class Issuing:
    """One transaction under a subject's lock."""

    def __init__(self, connection: Connection, subject_id: UUID, brake: BrakeRules) -> None:
        self._connection = connection
        self._subject_id = subject_id
        self._brake = brake

    async def lock(self) -> Budget:
        """The first statement: whoever waits here sees what the one before has committed."""
        row = await self._connection.fetchrow("SELECT wrong_at, issued_at, issued_for FROM lock_budget($1)", self._subject_id)
        assert row is not None  # it is made if need be
        purposes = (cast(Purpose, number) for number in row["issued_for"])
        return Budget(tuple(row["wrong_at"]), tuple(zip(row["issued_at"], purposes, strict=True)))

    async def open_of_flow(self, flow_id: UUID) -> tuple[datetime, Spray, Row | None]:
        """The database's time, read under the lock, the brake, and the flow's open challenge."""
        row = await self._connection.fetchrow(
            f"SELECT clock_timestamp() AS now, counted, held, {_CHALLENGE} FROM spray_digits($3, $4, $5, $6)"  # noqa: S608
            " LEFT JOIN challenge c ON c.subject_id = $1 AND c.flow_id = $2 AND c.state = 'open'",
            self._subject_id,
            flow_id,
            BUDGET_WINDOW,
            self._brake.wrong_from,
            self._brake.issued_window,
            self._brake.issued_from,
        )
        assert row is not None
        spray = Spray(row["counted"], row["held"])
        return row["now"], spray, _row_of(row) if row["id"] is not None else None

    async def append(self, challenge: Challenge, events: StoredEvents) -> None:
        """Raises Conflict."""
        await _append(self._connection, challenge, events)

    async def open(self, challenge: Challenge, budget: Budget, sealed: bytes, events: StoredEvents) -> None:
        """Stores a challenge that has just been issued."""
        await self._connection.execute(
            "SELECT open_challenge($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
            " $14, $15, $16, $17, $18, $19, $20, $21, $22)",
            challenge.subject_id,
            challenge.flow_id,
            challenge.purpose,
            challenge.digits,
            challenge.max_tries,
            challenge.is_decoy,
            challenge.code_mac,
            challenge.issued_at,
            challenge.expires_at,
            sealed,
            list(budget.wrong_at),
            [at for at, _ in budget.issued],
            [purpose for _, purpose in budget.issued],
            *events.arguments(),
        )

    async def count(self, issued_at: datetime) -> None:
        """The last statement: from here to the commit others may wait."""
        await self._connection.execute(
            "SELECT count_spray(2::smallint, $1, $2, $3, 1)", self._subject_id, issued_at, self._brake.issued_window
        )

    async def insert(self, events: StoredEvents) -> None:
        """Events of a stream that nobody else writes to."""
        await self._connection.execute(f"SELECT {_INSERT_ONLY}", *events.arguments())


class Store:
    def __init__(self, database: Database, brake: BrakeRules) -> None:
        self._database = database
        self._brake = brake

    @asynccontextmanager
    async def issuing(self, subject_id: UUID) -> AsyncIterator[Issuing]:
        async with self._database.transaction() as connection:
            yield Issuing(connection, subject_id, self._brake)

    async def begin_check(
        self,
        challenge_id: UUID,
        subject_id: UUID,
        flow_id: UUID,
        purpose: Purpose,
        limits: dict[int, int],
        without_grant: bool,
    ) -> Begun | None:
        """Counts and commits; only then the check may be made. None: it must not, for there is nothing to check."""
        begin_check = "begin_check_without_grant" if without_grant else "begin_check"
        row = await self._database.fetch_row(
            f"SELECT * FROM {begin_check}($1, $2, $3, $4, $5, $6, $7, $8, $9)",  # noqa: S608
            challenge_id,
            subject_id,
            flow_id,
            purpose,
            BUDGET_WINDOW,
            [limits.get(length) for length in LENGTHS],
            self._brake.wrong_from,
            self._brake.issued_window,
            self._brake.issued_from,
        )
        if row is None:
            return None
        return Begun(_row_of(row), row["now"], row["outcome"] == "voided", Spray(row["counted"], row["held"]))

    async def give_back(self, subject_id: UUID, counted_at: datetime) -> None:
        """A right check was no wrong one."""
        await self._database.execute("SELECT give_back_check($1, $2, $3)", subject_id, counted_at, BUDGET_WINDOW)

    async def trip(self, digits: int) -> datetime | None:
        """Holds codes at so many digits for a while, with its event. Returns until when; None: they are held there already."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO brake (digits, until, version) VALUES ($1, '-infinity', 0) ON CONFLICT DO NOTHING", digits
            )
            row = await connection.fetchrow(
                "SELECT version, until > clock_timestamp() AS in_force, clock_timestamp() AS now FROM brake"
                " WHERE digits = $1 FOR UPDATE",
                digits,
            )
            assert row is not None
            if row["in_force"]:
                return None
            until: datetime = row["now"] + self._brake.hold
            fact = Fact(lengthened(digits, until))
            events = stamp(OtpEvent, brake_stream(digits), row["version"], [fact], row["now"])
            await connection.execute(f"SELECT {_INSERT_ONLY}", *events.arguments())
            await connection.execute(
                "UPDATE brake SET until = $2, version = $3 WHERE digits = $1", digits, until, events.last_version
            )
        return until

    async def load(self, challenge_id: UUID) -> tuple[datetime, Row] | None:
        """With the database's time."""
        sql = f"SELECT clock_timestamp() AS now, {_CHALLENGE} FROM challenge c WHERE c.id = $1"  # noqa: S608
        row = await self._database.fetch_row(sql, challenge_id)
        return (row["now"], _row_of(row)) if row else None

    async def append(self, challenge: Challenge, events: StoredEvents) -> None:
        """Raises Conflict."""
        async with self._database.connection() as connection:
            await _append(connection, challenge, events)

    async def is_reported_sent(self, challenge_id: UUID) -> bool:
        sql = "SELECT sent FROM delivery_report WHERE challenge_id = $1"
        return bool(await self._database.fetch_value(sql, challenge_id))

    async def claim(self, challenge_id: UUID, event_id: UUID, claimant: str, lease: timedelta) -> Claim:
        sql = "SELECT * FROM claim_delivery($1, $2, $3, $4)"
        row = await self._database.fetch_row(sql, challenge_id, event_id, claimant, lease)
        assert row is not None
        return Claim(row["outcome"], row["sealed"], row["expires_at"], row["remaining"], row["retry_in"])

    async def report(self, challenge_id: UUID, event_id: UUID, sent: bool) -> None:
        """Of two workers' reports, the one that says "sent" is true: a message can't be called back."""
        await self._database.execute(
            "WITH announced AS (SELECT stream_id FROM event WHERE stream_id = $1 AND version = 1 AND event_id = $2),"
            " done AS (DELETE FROM delivery d USING announced a WHERE d.challenge_id = a.stream_id)"
            " INSERT INTO delivery_report AS r (challenge_id, sent, reported_at)"
            " SELECT stream_id, $3, clock_timestamp() FROM announced"
            " ON CONFLICT (challenge_id) DO UPDATE SET sent = true, reported_at = excluded.reported_at"
            " WHERE excluded.sent AND NOT r.sent",
            challenge_id,
            event_id,
            sent,
        )


async def forget_sprays(connection: Connection, issued_window: timedelta) -> None:
    """Removes counts that are out of every window."""
    await connection.execute(
        "DELETE FROM spray_count WHERE bucket < clock_timestamp() - 2 * CASE kind WHEN 1 THEN $1::interval ELSE $2 END",
        BUDGET_WINDOW,
        issued_window,
    )


async def lock_lapsed(connection: Connection, at_most: int) -> tuple[datetime, list[Row]]:
    """Open challenges whose time is over, locked until the transaction ends; those that somebody else holds are left out."""
    rows = await connection.fetch(
        f"SELECT clock_timestamp() AS now, {_CHALLENGE} FROM challenge c"  # noqa: S608
        " WHERE c.state = 'open' AND c.expires_at <= clock_timestamp() ORDER BY c.expires_at LIMIT $1 FOR UPDATE SKIP LOCKED",
        at_most,
    )
    # The newest reading: each row's was taken as it was met, and is past the expiry of that row.
    return max((row["now"] for row in rows), default=datetime.min), [_row_of(row) for row in rows]


async def append_all(connection: Connection, changes: Sequence[tuple[Challenge, StoredEvents]]) -> None:
    """Many streams at once, in the caller's transaction, which holds the locks of their rows."""
    arguments = [(challenge.state, challenge.failures, *events.arguments()) for challenge, events in changes]
    await connection.executemany(_APPEND, arguments)


_APPEND = "SELECT append_to_challenge($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"


async def _append(connection: Connection, challenge: Challenge, events: StoredEvents) -> None:
    if not await connection.fetchval(_APPEND, challenge.state, challenge.failures, *events.arguments()):
        raise Conflict


def _row_of(row: Record) -> Row:
    challenge = Challenge(
        subject_id=row["subject_id"],
        flow_id=row["flow_id"],
        purpose=cast(Purpose, row["purpose"]),
        digits=row["digits"],
        max_tries=row["max_tries"],
        is_decoy=row["is_decoy"],
        code_mac=row["code_mac"],
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        state=State(row["state"]),
        failures=row["failures"],
    )
    return Row(row["id"], row["version"], challenge, row["tries"])
