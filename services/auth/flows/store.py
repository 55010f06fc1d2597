"""Registration (M2), recovery (M4), one-time passwords (M5): a code proves the number, a grant leads from step to step, a
password ends it.

A grant is opaque, single use, and bound to flow, purpose and step. A step cannot be called without that of the step before.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

import asyncpg
from zasov.events.v1.otp_event_pb2 import OtpPurpose

from services.auth import errors
from services.auth.accounts import Loaded
from services.auth.contacts.destinations import Channel, Destination
from services.auth.identifiers import Identifier, Phone, identifier_of
from services.auth.sessions import decode_token, encode_token, hash_of, same
from services.auth.vault import Contact
from services.chassis.postgres import Database
from services.chassis.sealing import Seal

_GRANT_BYTES = 32


class Step(IntEnum):
    """How far a flow has come."""

    CODE_SENT = 1
    CODE_CONFIRMED = 2
    DONE = 3
    # Before a code is sent, for whoever chooses where to.
    CONTACTS_SHOWN = 4
    # Of a one-time password: what follows its use is a flow of its own.
    USED = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """The newest code of a flow. at: when it was issued, by the clock of auth's database; expires_at, ask_again_at: by otp's.
    channel: as it was asked for; None: the request left it open. told: what became of its message (DeliveryState), once that
    was told; 0: not yet.
    """

    at: datetime
    expires_at: datetime
    ask_again_at: datetime
    channel: Channel | None
    told: int = 0


@dataclass(frozen=True)
class Flow:
    """One registration or recovery. account_id: whose password it will set; None: nobody's yet (registration), or a decoy.
    credential_version: of the password that it will replace; once another has been set the flow is void. 0: none.

    contact_mark: of the contact on file when it began (`mark_of`); once the account has another one the flow is void.

    subject_id: whose code it is. identifier: what was typed. destination: where the codes go; None: there is none yet.
    is_decoy: they go nowhere, whatever is named: a flow of nobody is as long as another, for the time that it takes.
    language: "ru" or "en".
    """

    flow_id: UUID
    purpose: OtpPurpose.ValueType
    step: Step
    challenge_id: UUID
    subject_id: UUID
    account_id: UUID | None
    identifier: Identifier
    language: str
    credential_version: int
    expires_at: datetime
    destination: Destination | None = None
    is_decoy: bool = False
    contact_mark: str = field(default="", repr=False)
    sent: Sent | None = None
    # As they are stored: sealed anew they would be other bytes.
    details: bytes = field(default=b"", repr=False)
    # The hash of a password that was proposed by SMS; empty: none.
    proposed: str = field(default="", repr=False)
    # What the subscriber may choose from.
    offered: tuple[Channel, ...] = ()


class Flows:
    """The flows under way, and their grants."""

    def __init__(self, database: Database, seal: Seal, lifetime: timedelta) -> None:
        self._database = database
        self._seal = seal
        self._lifetime = lifetime

    async def open(self, flow: Flow, lifetime: timedelta | None = None) -> tuple[str, datetime]:
        """Stores a flow at its step; one of the same id gives way. Returns the grant and its expiry."""
        grant, grant_hash = _new_grant(flow.flow_id)
        expires_at: datetime = await self._database.fetch_value(
            "INSERT INTO flow (flow_id, purpose, step, grant_hash, challenge_id, subject_id, account_id, details, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9::interval)"
            " ON CONFLICT (flow_id) DO UPDATE SET purpose = excluded.purpose, step = excluded.step,"
            " grant_hash = excluded.grant_hash, challenge_id = excluded.challenge_id, account_id = excluded.account_id,"
            " details = excluded.details, expires_at = excluded.expires_at RETURNING expires_at",
            flow.flow_id, flow.purpose, flow.step, grant_hash, flow.challenge_id, flow.subject_id, flow.account_id,
            self._close(flow), lifetime or self._lifetime,
        )  # fmt: skip
        return grant, expires_at

    async def named(self, flow_id: UUID) -> Flow | None:
        """A flow that is found without its grant: that of a one-time password of which a subscriber has one at a time."""
        row = await self._database.fetch_row(
            "SELECT * FROM flow WHERE flow_id = $1 AND step = $2 AND expires_at > clock_timestamp()", flow_id, Step.CODE_SENT
        )
        return None if row is None else self._open(row)

    async def stored(self, flow_id: UUID) -> Flow | None:
        """The same, used or not."""
        row = await self._database.fetch_row(
            "SELECT * FROM flow WHERE flow_id = $1 AND expires_at > clock_timestamp()", flow_id
        )
        return None if row is None else self._open(row)

    async def newest(self, subject_id: UUID, purpose: OtpPurpose.ValueType) -> Flow | None:
        """The same, of one-time passwords of which a subscriber may have several: the last that was asked for, unless it was
        used. They all live equally long.
        """
        row = await self._database.fetch_row(
            "SELECT * FROM flow WHERE subject_id = $1 AND purpose = $2 AND step = ANY($3::int[])"
            " AND expires_at > clock_timestamp() ORDER BY expires_at DESC LIMIT 1",
            subject_id,
            purpose,
            [Step.CODE_SENT, Step.USED],
        )
        return None if row is None or row["step"] == Step.USED else self._open(row)

    async def use(self, flow: Flow) -> None:
        """Its grant is good for nothing any more. Whoever used its code may have had none."""
        await self._database.execute(
            "UPDATE flow SET step = $3 WHERE flow_id = $1 AND challenge_id = $2", flow.flow_id, flow.challenge_id, Step.USED
        )

    async def find(self, grant: str, purpose: OtpPurpose.ValueType, step: Step) -> Flow:
        """The flow that the grant belongs to. Raises ServiceError GRANT_INVALID."""
        return await self.find_of_any(grant, (purpose,), step)

    async def find_of_any(self, grant: str, purposes: Sequence[OtpPurpose.ValueType], step: Step) -> Flow:
        """The same, of several purposes: for what takes no step. Raises ServiceError GRANT_INVALID."""
        decoded = decode_token(grant, ids=1)
        if decoded is None:
            raise errors.grant_invalid()
        (flow_id,), secret = decoded
        row = await self._database.fetch_row(
            "SELECT * FROM flow WHERE flow_id = $1 AND purpose = ANY($2::int[]) AND step = $3 AND"
            " expires_at > clock_timestamp()",
            flow_id,
            purposes,
            step,
        )
        if row is None or not same(row["grant_hash"], hash_of(secret)):
            raise errors.grant_invalid()
        return self._open(row)

    async def advance(self, flow: Flow, used_grant: str, step: Step, changed: Flow | None = None) -> tuple[str, datetime]:
        """Uses the grant up and takes the step. changed: what the flow becomes, with another code. Returns the next grant and
        its expiry. Raises ServiceError GRANT_INVALID.
        """
        grant, grant_hash = _new_grant(flow.flow_id)
        expires_at = await self._database.fetch_value(
            "UPDATE flow SET step = $4, grant_hash = $5, challenge_id = coalesce($6, challenge_id),"
            " details = coalesce($7, details)"
            " WHERE flow_id = $1 AND step = $2 AND grant_hash = $3 AND expires_at > clock_timestamp() RETURNING expires_at",
            flow.flow_id,
            flow.step,
            _hash_of_grant(used_grant),
            step,
            grant_hash,
            changed and changed.challenge_id,
            changed and self._close(changed),
        )
        if expires_at is None:
            raise errors.grant_invalid()
        return grant, expires_at

    async def tell(self, flow: Flow, grant: str, told: int) -> int:
        """What became of the newest code's message: of several that are told at once, the first, for good. Raises ServiceError
        GRANT_INVALID: the flow has gone on meanwhile.
        """
        assert flow.sent is not None
        if await self._change(flow, grant, replace(flow, sent=replace(flow.sent, told=told))):
            return told
        now = await self.find(grant, flow.purpose, flow.step)
        return now.sent.told if now.sent else told

    async def take_proposal(self, flow: Flow, grant: str) -> str:
        """The hash of the proposed password, for one guess at it: it is gone from the flow. Raises ServiceError GRANT_INVALID:
        there is none, or somebody else took it.
        """
        is_first = await self._change(flow, grant, replace(flow, proposed=""))
        if not flow.proposed or not is_first:
            raise errors.grant_invalid()
        return flow.proposed

    async def _change(self, flow: Flow, grant: str, changed: Flow) -> bool:
        """The details alone: the grant stays good. False: they have changed since they were read."""
        done = await self._database.execute(
            "UPDATE flow SET details = $4 WHERE flow_id = $1 AND grant_hash = $2 AND details = $3",
            flow.flow_id,
            _hash_of_grant(grant),
            flow.details,
            self._close(changed),
        )
        return done == "UPDATE 1"

    async def remove_expired(self) -> None:
        await self._database.execute("DELETE FROM flow WHERE expires_at < clock_timestamp() - interval '1 hour'")

    def _close(self, flow: Flow) -> bytes:
        to, sent = flow.destination, flow.sent
        details = {
            "identifier": [flow.identifier.kind, flow.identifier.text],
            "language": flow.language,
            "version": flow.credential_version,
            "contact": flow.contact_mark,
            "to": to and [to.language, to.phone.e164 if to.phone else "", to.email],
            "decoy": int(flow.is_decoy),
            "proposed": flow.proposed,
            "sent": sent and _written(sent),
            "offered": flow.offered,
        }
        return self._seal.close(json.dumps(details).encode(), flow.flow_id.bytes)

    def _open(self, row: asyncpg.Record) -> Flow:
        details: dict[str, Any] = json.loads(self._seal.open(row["details"], row["flow_id"].bytes))
        return Flow(
            flow_id=row["flow_id"],
            purpose=row["purpose"],
            step=Step(row["step"]),
            challenge_id=row["challenge_id"],
            subject_id=row["subject_id"],
            account_id=row["account_id"],
            identifier=identifier_of(*details["identifier"]),
            language=details["language"],
            credential_version=details["version"],
            expires_at=row["expires_at"],
            destination=_destination(details["to"]),
            contact_mark=details["contact"],
            is_decoy=bool(details["decoy"]),
            proposed=details["proposed"],
            sent=_sent(details["sent"]),
            details=row["details"],
            offered=tuple(Channel(one) for one in details["offered"]),
        )


def mark_of(contact: Contact) -> str:
    """Recognises where messages go: the language and the numbers in the operator's books have no part in it. To be kept sealed:
    phones are few enough to be tried.
    """
    return hashlib.sha256(json.dumps([contact.phone and contact.phone.e164, contact.email]).encode()).hexdigest()


def still_holds(flow: Flow, loaded: Loaded) -> bool:
    """A flow must not undo a password that was set since it began, the number's first included. And whoever reads the
    messages of a contact that is not on file any more must not finish what was begun with it.
    """
    contact = loaded.vault.open_contact(loaded.account.contact)
    is_where_it_was = mark_of(contact) == flow.contact_mark
    return loaded.account.credential_version == flow.credential_version and is_where_it_was


def _written(sent: Sent) -> dict[str, Any]:
    times = {"at": sent.at, "expires_at": sent.expires_at, "ask_again_at": sent.ask_again_at}
    return {"channel": sent.channel, "told": sent.told, **{name: time.isoformat() for name, time in times.items()}}


def _sent(written: dict[str, Any] | None) -> Sent | None:
    if written is None:
        return None
    at, expires_at, ask_again_at = [datetime.fromisoformat(written[name]) for name in ("at", "expires_at", "ask_again_at")]
    channel = Channel(written["channel"]) if written["channel"] else None
    return Sent(at, expires_at, ask_again_at, channel, written["told"])


def _destination(details: list[str] | None) -> Destination | None:
    if details is None:
        return None
    language, phone, email = details
    return Destination(language, Phone(phone) if phone else None, email)


def _new_grant(flow_id: UUID) -> tuple[str, bytes]:
    secret = secrets.token_bytes(_GRANT_BYTES)
    return encode_token(flow_id, secret), hash_of(secret)


def _hash_of_grant(grant: str) -> bytes:
    decoded = decode_token(grant, ids=1)
    if decoded is None:
        raise errors.grant_invalid()
    return hash_of(decoded[1])
