"""Auth's PostgreSQL: accounts, sessions, strangers. Reads take no lock; a write compares the version it was decided on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from zasov.events.v1.auth_event_pb2 import AuthEvent, SessionEnded
from zasov.events.v1.meta_pb2 import Origin

from services.auth.contacts.changes import told_apart_in
from services.auth.contacts.telling import Pace, notices_of
from services.auth.domain import Account, NewSession, fold, spared_session
from services.auth.identifiers import Identifier, LookupKey
from services.auth.vault import NOBODYS, AccountVault, Vaults
from services.chassis.clock import DatabaseTime
from services.chassis.eventstore import Conflict, Fact, StoredEvents, stamp
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import Database
from services.chassis.protocol_trace import OFF, ProtocolTrace, Said

_RESERVED_S = 60
# A sender can be forged, and a number is sent so many SMS a day, of whatever kind: these must leave some of them.
REFUSALS_A_DAY = 5
_NOBODY = UUID(int=0)
_APPEND = "append_account($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
# What may follow it, false where it is refused: devices, notices, contacts that are told for themselves.
_NOTES = ("keep_devices($12, $21)", "open_notices($12, $22, $23, $24, $11)", "tell_replaced($12, $25, $26)")
# As much is looked up, and as much comes back, as by `load`.
_LOAD_STRANGER = (
    "SELECT coalesce(s.version, 0) AS version, 0::bigint AS credential_version, $2::bytea AS password, $3::bytea AS contact,"
    " '{}'::uuid[] AS open_failures, '{}'::bytea[] AS devices, $4::bytea AS wrapped, clock_timestamp() AS now"
    " FROM (VALUES ($1::uuid)) AS asked (id) LEFT JOIN stranger s ON s.stranger_id = asked.id"
    " LEFT JOIN account_key k ON k.account_id = asked.id"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """An account as it was read."""

    account: Account
    vault: AccountVault
    time: DatabaseTime


@dataclass(frozen=True, slots=True)
class LiveSession:
    account_id: UUID
    session_id: UUID
    token_hash: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Beside:
    """What is written in the transaction of an append, after it. sql: an expression that is true; `$12` in it is the account,
    `{}` each of the arguments.
    """

    sql: str
    arguments: tuple[object, ...] = field(repr=False)


class Accounts:
    """Errors of the database pass through."""

    def __init__(
        self,
        database: Database,
        waker: OutboxWaker,
        lookup: LookupKey,
        vaults: Vaults,
        notice_lifetime: timedelta,
        pace: Pace,
        trace: ProtocolTrace = OFF,
    ) -> None:
        self._database = database
        self._waker = waker
        self._lookup = lookup
        self._vaults = vaults
        self._notice_lifetime = notice_lifetime
        self._pace = pace
        self._trace = trace
        vault, wrapped = vaults.make(_NOBODY)
        # Opened, and for nothing: as long as an Argon2 hash and a contact are.
        contact = vault.close_contact(NOBODYS)
        self._nobody = vault.close_password("$" * 97), contact, wrapped

    async def resolve(self, identifier: Identifier) -> tuple[UUID | None, DatabaseTime]:
        """The account that it leads to, if any; and the time."""
        row = await self._database.fetch_row(
            "SELECT clock_timestamp() AS now,"
            " (SELECT account_id FROM identifier WHERE lookup = $1 AND reserved_until IS NULL) AS account_id",
            self._lookup.of(identifier),
        )
        assert row is not None
        return row["account_id"], DatabaseTime.just_read(row["now"])

    async def load(self, account_id: UUID) -> Loaded | None:
        """The account with its key; None: there is none (any more)."""
        row = await self._database.fetch_row(
            "SELECT a.*, k.wrapped, clock_timestamp() AS now FROM account a JOIN account_key k USING (account_id)"
            " WHERE account_id = $1",
            account_id,
        )
        return None if row is None else self._loaded(account_id, row)

    async def load_stranger(self, stranger_id: UUID) -> Loaded:
        """What is known of somebody unknown, in the shape of an account and for the work of one: id and version are the
        stream's, all else is nobody's.
        """
        row = await self._database.fetch_row(_LOAD_STRANGER, stranger_id, *self._nobody)
        assert row is not None
        return self._loaded(stranger_id, row, key_of=_NOBODY)

    def _loaded(self, account_id: UUID, row: asyncpg.Record, key_of: UUID | None = None) -> Loaded:
        account = Account(
            account_id, row["version"], row["credential_version"], row["password"], row["contact"],
            tuple(row["open_failures"]), tuple(row["devices"]),
        )  # fmt: skip
        return Loaded(account, self._vaults.open(key_of or account_id, row["wrapped"]), DatabaseTime.just_read(row["now"]))

    async def append(
        self,
        account: Account,
        facts: Sequence[Fact],
        now: datetime,
        origin: Origin | None,
        session: NewSession | None = None,
        beside: Beside | None = None,
    ) -> None:
        """Raises Conflict: reload and decide again. The session is the one that a SessionStarted among the facts is about."""
        events = stamp(AuthEvent, account.account_id, account.version, facts, now, origin)
        after = fold(account, facts)
        keep = next((spared_session(f.payload) for f in facts if isinstance(f.payload, SessionEnded)), None)
        notices = notices_of(facts, events, self._pace)
        noted = (
            after.devices, [n.event_id for n in notices], [n.kind for n in notices], [n.quiet for n in notices],
            *told_apart_in(facts, events),
        )  # fmt: skip
        # Most appends have nothing to note.
        notes = after.devices != account.devices or bool(notices)
        await self._append(
            events, facts, _statement(notes, beside),
            account.version, after.credential_version, after.password, after.contact, after.open_failures,
            session and session.session_id, session and session.token_hash, session and session.expires_at,
            keep, [], self._notice_lifetime, *events.arguments(), *(noted if notes else ()),
            *(beside.arguments if beside else ()),
        )  # fmt: skip

    async def append_guess(
        self, account: Account, facts: Sequence[Fact], now: datetime, origin: Origin, *, known: bool
    ) -> None:
        """What came of a guess that did not succeed: by the same work for an account and for what `load_stranger` gave. Raises
        Conflict.
        """
        events = stamp(AuthEvent, account.account_id, account.version, facts, now, origin)
        after = fold(account, facts)
        sql = "SELECT append_guess($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        await self._append(events, facts, sql, known, account.version, after.open_failures, *events.arguments())

    async def reserve_identifier(self, identifier: Identifier, account_id: UUID) -> UUID | None:
        """Whose it is now: `account_id` if it was free, or reserved for it already, which then lasts longer; None: the
        reservation of another one has not run out yet.
        """
        row = await self._database.fetch_row(
            "INSERT INTO identifier AS i (lookup, account_id, reserved_until)"
            " VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))"
            " ON CONFLICT (lookup) DO UPDATE SET account_id = excluded.account_id, reserved_until = excluded.reserved_until"
            " WHERE i.reserved_until < clock_timestamp() OR (i.reserved_until IS NOT NULL AND i.account_id = $2)"
            " RETURNING account_id",
            self._lookup.of(identifier),
            account_id,
            _RESERVED_S,
        )
        if row is not None:
            return account_id
        return (await self.resolve(identifier))[0]

    async def confirm_identifier(self, identifier: Identifier, account_id: UUID) -> bool:
        """False: the reservation ran out and went to somebody else."""
        done = await self._database.execute(
            "UPDATE identifier SET reserved_until = NULL WHERE lookup = $1 AND account_id = $2",
            self._lookup.of(identifier),
            account_id,
        )
        return done == "UPDATE 1"

    async def release_identifier(self, identifier: Identifier, account_id: UUID) -> None:
        """Gives a reservation up; what was confirmed stays."""
        await self._database.execute(
            "DELETE FROM identifier WHERE lookup = $1 AND account_id = $2 AND reserved_until IS NOT NULL",
            self._lookup.of(identifier),
            account_id,
        )

    async def reserved_for(self, identifier: Identifier) -> UUID | None:
        """Whose account was to be reached by it when somebody broke off, or will be in a moment."""
        account_id: UUID | None = await self._database.fetch_value(
            "SELECT account_id FROM identifier WHERE lookup = $1 AND reserved_until IS NOT NULL", self._lookup.of(identifier)
        )
        return account_id

    async def may_be_helped(self, account_id: UUID) -> bool:
        """Whether an SMS that was no command may be answered: once a day."""
        done = await self._database.execute(
            "INSERT INTO sms_help AS h (account_id, helped_at) VALUES ($1, clock_timestamp()) ON CONFLICT (account_id)"
            " DO UPDATE SET helped_at = excluded.helped_at WHERE h.helped_at < clock_timestamp() - interval '1 day'",
            account_id,
        )
        return done == "INSERT 0 1"

    async def may_be_told_of_refusal(self, account_id: UUID) -> bool:
        """Whether an SMS that proposed a password against the policy may be answered: so many times a day."""
        done = await self._database.execute(
            "INSERT INTO sms_refusal AS r (account_id, refused_at) VALUES ($1, ARRAY[clock_timestamp()])"
            " ON CONFLICT (account_id) DO UPDATE SET refused_at = clock_timestamp() || r.refused_at[:$2 - 1]"
            " WHERE cardinality(r.refused_at) < $2 OR r.refused_at[$2] < clock_timestamp() - interval '1 day'",
            account_id,
            REFUSALS_A_DAY,
        )
        return done == "INSERT 0 1"

    async def make_vault(self, account_id: UUID) -> AccountVault:
        """A new account's key, stored before anything is sealed with it."""
        vault, wrapped = self._vaults.make(account_id)
        await self._database.execute("INSERT INTO account_key (account_id, wrapped) VALUES ($1, $2)", account_id, wrapped)
        return vault

    async def find_session(self, account_id: UUID, session_id: UUID) -> LiveSession | None:
        """None: unknown, ended or expired."""
        row = await self._database.fetch_row(
            "SELECT token_hash, expires_at FROM session WHERE account_id = $1 AND session_id = $2"
            " AND ended_at IS NULL AND expires_at > clock_timestamp()",
            account_id,
            session_id,
        )
        return None if row is None else LiveSession(account_id, session_id, row["token_hash"], row["expires_at"])

    async def _append(self, events: StoredEvents, facts: Sequence[Fact], sql: str, *arguments: object) -> None:
        with self._trace.step("append", stream=events.stream_id) as line:
            if self._trace.on:
                line.say(events=_traced(events, facts))
            appended = await self._database.fetch_value(sql, *arguments)
            if not appended:
                line.drop()
        if not appended:
            raise Conflict
        self._waker.wake()


def _statement(notes: bool, beside: Beside | None) -> str:
    """One, and so one round trip: false as soon as a part of it is, and the rest is not done."""
    parts, first = ([_APPEND, *_NOTES], 27) if notes else ([_APPEND], 21)
    if beside:
        parts.append(beside.sql.format(*(f"${number}" for number in range(first, first + len(beside.arguments)))))
    if len(parts) == 1:
        return f"SELECT {_APPEND}"
    return "SELECT CASE " + " ".join(f"WHEN NOT {part} THEN false" for part in parts) + " ELSE true END"


def _traced(events: StoredEvents, facts: Sequence[Fact]) -> list[Said]:
    """What the protocol knows of the events."""
    return [
        {
            "type": kind,
            "version": events.first_version + offset,
            "attempt": getattr(fact.payload, "attempt_id", None),
            "credential_version": getattr(fact.payload, "credential_version", None),
        }
        for offset, (kind, fact) in enumerate(zip(events.types, facts, strict=True))
    ]
