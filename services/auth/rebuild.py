"""What auth's events make of its tables, and what they don't (mission row B5)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from zasov.events.v1.auth_event_pb2 import AccountRegistered, AuthEvent, LoginFailed, LoginRefused

from services.auth.domain import Account, Session, fold, session_changes
from services.auth.identifiers import LookupKey
from services.auth.links.domain import Link, evolve_links
from services.auth.office.domain import PendingChange, evolve_change
from services.auth.settings import AuthSettings
from services.auth.vault import Vaults
from services.chassis import rebuild as chassis
from services.chassis.eventstore import PastEvent
from services.chassis.postgres import Connection
from services.chassis.rebuild import FreshRow, Projection, Report
from services.chassis.rebuild_sql import Table
from services.chassis.sealing import read_key

ACCOUNT = Table(
    "account", "account_id", ("account_id",),
    ("account_id", "version", "credential_version", "password", "contact", "open_failures", "devices"),
)  # fmt: skip
SESSION = Table(
    "session", "account_id", ("account_id", "session_id"),
    ("account_id", "session_id", "token_hash", "expires_at", "ended_at"),
)  # fmt: skip
CONTACT_CHANGE = Table(
    "contact_change", "account_id", ("account_id",),
    ("account_id", "change_id", "phone", "requested_by", "credential_version", "approve_by", "due_at"),
)  # fmt: skip
NUMBER_LINK = Table(
    "number_link", "account_id", ("account_id", "owner_id"),
    ("account_id", "owner_id", "link_id", "credential_version", "linked_at"),
)  # fmt: skip
STRANGER = Table("stranger", "stranger_id", ("stranger_id",), ("stranger_id", "version"))
# A reservation is a lease: the row of a registration under way, or of one that broke off.
IDENTIFIER = Table(
    "identifier", "account_id", ("lookup",), ("lookup", "account_id", "reserved_until"),
    without_events="l.reserved_until IS NOT NULL",
)  # fmt: skip

NOT_REBUILT = {
    "account_key": "the accounts' keys: no event may hold what erases it; without them all accounts are lost",
    "flow": "registrations and recoveries under way, 15 minutes: whoever is in one begins anew",
    "sms_help": "when an SMS that was no command was last answered: at most one answer more",
    "sms_refusal": "when an SMS that proposed a bad password was answered: at most a day's answers more",
    "told": "when a subscriber was last told of a new device or a changed password: at most one message more",
    "notice": "what the notifier may still claim, and the audit of who did: notices not yet sent are void",
    "kept_answer": "what named calls came to, five minutes: one that is repeated is made anew",
    "used_captcha": "captchas that were used, an hour: one that has not expired could be used once more",
    "identifier_move": "identifiers to be re-pointed after a new number at an office, a moment: rebuild re-points them itself",
    "used_assertion": "staff assertions that were used, minutes: one that has not expired could be used once more",
    "staff_day": "calls of a member of staff on one day: the day's limit begins anew",
    "office_phone": "numbers that an office named lately: one could be named for another account sooner",
    "consumer_mark": "unused by auth",
}

# The fresh identifiers: whose contact says which number. Of several accounts of one number, all but one broke off between
# appending and confirming, which is no event: the live row says which one; without a live row the youngest is taken.
_BROKEN_OFF = """
    DELETE FROM fresh_identifier f USING identifier l
    WHERE l.lookup = f.lookup AND (l.reserved_until IS NOT NULL OR (l.account_id <> f.account_id AND EXISTS (
        SELECT FROM fresh_identifier o WHERE o.lookup = f.lookup AND o.account_id = l.account_id)))
"""
_OLDER = """
    DELETE FROM fresh_identifier f USING fresh_identifier o, event mine, event theirs
    WHERE o.lookup = f.lookup AND o.account_id <> f.account_id AND mine.stream_id = f.account_id AND mine.version = 1
      AND theirs.stream_id = o.account_id AND theirs.version = 1
      AND (theirs.occurred_at, theirs.stream_id) > (mine.occurred_at, mine.stream_id)
"""
_AT_A_TIME = 1000


@dataclass(slots=True)
class _Known:
    account: Account
    sessions: dict[UUID, Session] = field(default_factory=dict)
    change: PendingChange | None = None
    links: dict[UUID, Link] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stranger:
    pass


_State: TypeAlias = _Known | _Stranger


async def rebuild(settings: AuthSettings, *, replace: bool = False) -> Report:
    """Compares auth's tables with its events. Needs the keys that lead from an account to its number."""
    vaults = Vaults(read_key(settings.keys_dir / "auth-accounts.key"))
    lookup = LookupKey(read_key(settings.keys_dir / "auth-lookup.key"))
    return await chassis.rebuild(settings, projection(vaults, lookup), replace=replace)


def projection(vaults: Vaults, lookup: LookupKey) -> Projection[_State]:
    async def identifiers(connection: Connection) -> None:
        await _fill_identifiers(connection, vaults, lookup)

    tables = (ACCOUNT, SESSION, STRANGER, CONTACT_CHANGE, NUMBER_LINK, IDENTIFIER)
    return Projection("auth", AuthEvent, tables, NOT_REBUILT, _evolve, _rows, identifiers)


def _evolve(state: _State | None, event: PastEvent) -> _State:
    if state is None:
        state = _Known(Account(event.stream_id)) if isinstance(event.payload, AccountRegistered) else _Stranger()
    if isinstance(state, _Known):
        state.change = evolve_change(state.change, state.account, event.payload, event.secret)
        state.account = fold(state.account, [event.as_fact()])
        state.sessions |= session_changes(state.sessions, event.payload, event.secret, event.occurred_at)
        state.links = evolve_links(state.links, event.payload, event.occurred_at)
    elif not isinstance(event.payload, LoginFailed | LoginRefused) or event.payload.identifier_known:
        raise ValueError("an account begins with AccountRegistered")
    return state


def _rows(state: _State, last: PastEvent) -> Iterable[FreshRow]:
    if isinstance(state, _Stranger):
        yield "stranger", (last.stream_id, last.version)
        return
    account = state.account
    yield "account", (
        account.account_id, account.version, account.credential_version, account.password, account.contact,
        list(account.open_failures), list(account.devices),
    )  # fmt: skip
    for session_id, session in state.sessions.items():
        yield "session", (account.account_id, session_id, session.token_hash, session.expires_at, session.ended_at)
    if (change := state.change) is not None:
        yield "contact_change", (
            account.account_id, change.change_id, change.phone, change.requested_by, change.credential_version,
            change.approve_by, change.due_at,
        )  # fmt: skip
    for owner_id, link in state.links.items():
        yield "number_link", (account.account_id, owner_id, link.link_id, link.credential_version, link.linked_at)


async def _fill_identifiers(connection: Connection, vaults: Vaults, lookup: LookupKey) -> None:
    """An account without its key was erased: it leads nowhere, and nothing leads to it."""
    sealed = connection.cursor(
        "SELECT account_id, f.contact, k.wrapped FROM fresh_account f JOIN account_key k USING (account_id)",
        prefetch=_AT_A_TIME,
    )
    found: list[tuple[bytes, UUID, None]] = []
    async for row in sealed:
        contact = vaults.open(row["account_id"], row["wrapped"]).open_contact(row["contact"])
        found += [(lookup.of(one), row["account_id"], None) for one in contact.identifiers]
        if len(found) >= _AT_A_TIME:
            await connection.copy_records_to_table(IDENTIFIER.fresh, records=found)
            found = []
    await connection.copy_records_to_table(IDENTIFIER.fresh, records=found)
    await connection.execute(_BROKEN_OFF)
    await connection.execute(_OLDER)
