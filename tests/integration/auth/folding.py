"""Accounts and sessions are nothing but their events, folded (mission row B5): what any test may check at its end."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from google.protobuf.message import Message
from zasov.events.v1.auth_event_pb2 import AuthEvent, SessionEnded, SessionStarted

from services.auth.domain import Account, evolve
from services.chassis.eventstore import payload_of, type_of

Row = tuple[Any, ...]
_INTERNAL = {"PasswordRehashed"}


async def assert_accounts_are_their_events(connection: asyncpg.Connection) -> None:
    """Compares each column of each account, session and stranger with the fold over the events, bit for bit."""
    accounts: dict[UUID, Row] = {}
    sessions: dict[tuple[UUID, UUID], Row] = {}
    strangers: dict[UUID, int] = {}
    streams: dict[UUID, list[asyncpg.Record]] = {}
    for event in await connection.fetch("SELECT * FROM event ORDER BY stream_id, version"):
        streams.setdefault(event["stream_id"], []).append(event)
    for stream_id, rows in streams.items():
        payloads = [_checked(row, place) for place, row in enumerate(rows, start=1)]
        if rows[0]["type"] == "AccountRegistered":
            accounts[stream_id] = _account(stream_id, rows, payloads)
            sessions |= _sessions(stream_id, rows, payloads)
        else:
            assert all(not payload.identifier_known for payload in payloads)  # type: ignore[attr-defined]
            strangers[stream_id] = len(rows)
    assert {row[0]: tuple(row) for row in await connection.fetch("SELECT * FROM account")} == accounts
    assert {(row[0], row[1]): tuple(row) for row in await connection.fetch("SELECT * FROM session")} == sessions
    assert {row[0]: row[1] for row in await connection.fetch("SELECT * FROM stranger")} == strangers
    unkeyed = "SELECT count(*) FROM account FULL JOIN account_key USING (account_id) WHERE version IS NULL OR wrapped IS NULL"
    assert not await connection.fetchval(unkeyed)
    outbox = await connection.fetch(
        "SELECT e.is_public FROM outbox o LEFT JOIN event e USING (stream_id, version) WHERE e.is_public IS NOT TRUE"
    )
    assert not outbox, "an internal event, or none, is to be published"


def _account(stream_id: UUID, rows: list[asyncpg.Record], payloads: list[Message]) -> Row:
    account = Account(stream_id)
    for row, payload in zip(rows, payloads, strict=True):
        account = evolve(account, payload, row["secret"])
    # In the order of the table's columns.
    return (
        stream_id, len(rows), account.credential_version, account.password, account.contact, list(account.open_failures),
    )  # fmt: skip


def _sessions(stream_id: UUID, rows: list[asyncpg.Record], payloads: list[Message]) -> dict[tuple[UUID, UUID], Row]:
    sessions: dict[UUID, list[Any]] = {}
    for row, payload in zip(rows, payloads, strict=True):
        if isinstance(payload, SessionStarted):
            expires_at = payload.expires_at.ToDatetime(tzinfo=UTC)
            sessions[UUID(payload.session_id)] = [row["secret"], expires_at, None]
        elif isinstance(payload, SessionEnded):
            for session_id, state in sessions.items():
                if str(session_id) != payload.all_except_session_id and state[2] is None:
                    state[2] = row["occurred_at"]
    return {(stream_id, session_id): (stream_id, session_id, *state) for session_id, state in sessions.items()}


def _checked(row: asyncpg.Record, place: int) -> Message:
    """The fact, whose bytes must say what the columns beside them say."""
    event = AuthEvent.FromString(row["data"])
    assert event.SerializeToString(deterministic=True) == row["data"]
    payload = payload_of(event)
    at: datetime = event.meta.occurred_at.ToDatetime(tzinfo=row["occurred_at"].tzinfo)
    said = (event.meta.stream_id, event.meta.version, event.meta.event_id, type_of(payload), at)
    assert said == (str(row["stream_id"]), place, str(row["event_id"]), row["type"], row["occurred_at"])
    assert row["version"] == place, "versions have no gaps"
    assert row["is_public"] == (row["type"] not in _INTERNAL)
    return payload
