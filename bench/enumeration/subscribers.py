"""Numbers that somebody has, numbers that nobody has, and what the bench must do about them beside calling auth."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import uuid6
from zasov.auth.v1.common_pb2 import ClientContext
from zasov.events.v1.notifier_event_pb2 import (
    CHANNEL_SMS,
    MessageAccepted,
    MessageDelivered,
    MessageRef,
    MessageSubmitted,
    NotifierEvent,
)
from zasov.otp.v1 import delivery_service_pb2 as otp_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceStub

from devstack import customers
from devstack.subscriber import BackEnd
from services.auth.sessions import decode_token
from services.chassis.errors import ServiceError
from services.chassis.eventstore import Fact, stamp
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.lockout import outcomes
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore

PASSWORD, WRONG = "Winter-in-Tver-26", "Summer-in-Tver-26"
CLIENT = ClientContext(ip="198.51.100.7", device_id="bench", language="ru")
_SIDE_BY_SIDE = 4


@dataclass
class Subscribers:
    """back_end: auth. The databases serve for what an SMS and the stream do otherwise. client: who asks the next question.
    owner: session token and proof of somebody who links others' numbers.
    """

    back_end: BackEnd
    auth_sql: asyncpg.Connection
    otp_sql: asyncpg.Connection
    delivery: DeliveryServiceStub
    lockout: LockoutStore
    notifier_sql: asyncpg.Connection
    client: ClientContext = field(default_factory=lambda: CLIENT)
    owner: tuple[str, str] = ("", "")

    _serial = itertools.count(1)

    def unknown(self, count: int) -> list[str]:
        return [f"+7916{next(self._serial):07d}" for _ in range(count)]

    async def known(self, count: int, *, with_email: bool = True) -> list[str]:
        """Registered through the front door."""
        numbers, turn, one_by_one = self.unknown(count), asyncio.Semaphore(_SIDE_BY_SIDE), asyncio.Lock()

        async def register(phone: str) -> None:
            async with turn:
                sent = await self.back_end.start_registration(phone, CLIENT)
                async with one_by_one:  # one connection each
                    code = await self._code_of(sent.grant)
                grant = await self.back_end.confirm_registration(sent.grant, code, CLIENT)
                session = await self.back_end.choose_registration_password(grant, PASSWORD, CLIENT)
                if not with_email:
                    return
                sent = await self.back_end.start_email_change(session.token, PASSWORD, f"s{phone[1:]}@example.com", CLIENT)
                async with one_by_one:
                    code = await self._code_of(sent.grant)
                await self.back_end.confirm_email_change(session.token, sent.grant, code, CLIENT)

        await asyncio.gather(*map(register, numbers))
        return numbers

    def unlinked(self, count: int) -> list[str]:
        """Account numbers that nobody has."""
        return [f"60{next(self._serial):08d}" for _ in range(count)]

    async def linked(self, phones: Sequence[str]) -> list[str]:
        """Account numbers of those who have these phones; they have an email too, as those who are made up have."""
        numbers = self.unlinked(len(phones))
        for phone, number in zip(phones, numbers, strict=True):
            await customers.put(self.back_end, phone=phone, account_numbers=[number])
        return numbers

    async def block(self, phones: Sequence[str]) -> None:
        turn = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def guess(phone: str) -> None:
            async with turn:
                with suppress(ServiceError):
                    await self.back_end.sign_in(phone, WRONG, CLIENT)

        for _ in range(3):
            # What was guessed before first: its attempts are still open.
            await self.play_stream()
            await asyncio.gather(*map(guess, phones))
        await self.play_stream()

    async def deliver(self, grants: Sequence[str]) -> None:
        """What the notifier's worker and the SMSC do: their codes' messages were delivered, an hour ago."""
        for grant in grants:
            at, stream_id = datetime.now(UTC) - timedelta(hours=1), uuid6.uuid7()
            challenge_id = await self._challenge_of(grant)
            ref = MessageRef(cause_event_id=str(uuid6.uuid7()), channel=CHANNEL_SMS, kind="code", attempt=1)
            facts = [
                Fact(MessageAccepted(message=ref, cause_stream_id=str(challenge_id))),
                Fact(MessageSubmitted(message=ref)),
                Fact(MessageDelivered(message=ref)),
            ]
            await self.notifier_sql.execute(
                "INSERT INTO message (notification_id, cause_event_id, cause_stream_id, kind, channel, state, version, attempt,"
                " deadline) VALUES ($1, $2, $3, 'code', 'sms', 'delivered', 3, 1, $4)",
                stream_id, UUID(ref.cause_event_id), challenge_id, at,
            )  # fmt: skip
            events = stamp(NotifierEvent, stream_id, 0, facts, at)
            await self.notifier_sql.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())

    async def play_stream(self) -> None:
        """What relay and stream do: strikes for the failures that are stored."""
        rows = await self.auth_sql.fetch(
            "SELECT o.id, e.type, e.data FROM outbox o JOIN event e USING (stream_id, version) ORDER BY 1"
        )
        events = [outcomes.parse_auth(row["data"]) for row in rows if row["type"] in outcomes.AUTH_KINDS]
        await outcomes.settle(events, self.lockout)
        await self.auth_sql.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])

    async def _code_of(self, grant: str) -> str:
        challenge_id = await self._challenge_of(grant)
        event_id = await self.otp_sql.fetchval("SELECT event_id FROM event WHERE stream_id = $1 AND version = 1", challenge_id)
        request = otp_pb.ClaimRequest(challenge_id=str(challenge_id), event_id=str(event_id), claimant="bench")
        return str((await self.delivery.Claim(request, timeout=10)).code)

    async def _challenge_of(self, grant: str) -> UUID:
        decoded = decode_token(grant, 1)
        assert decoded is not None
        found: UUID = await self.auth_sql.fetchval("SELECT challenge_id FROM flow WHERE flow_id = $1", decoded[0][0])
        return found


@asynccontextmanager
async def subscribers(addresses: Mapping[str, Any]) -> AsyncIterator[Subscribers]:
    databases, at = addresses["databases"], addresses["grpc"]
    auth_sql, otp_sql, notifier_sql = [await asyncpg.connect(databases[name]) for name in ("auth", "otp", "notifier")]
    try:
        async with (
            grpc.aio.insecure_channel(at["auth"]) as auth,
            grpc.aio.insecure_channel(at["otp"]) as otp,
            open_database(LockoutSettings(postgres_url=databases["lockout"])) as lockout,
        ):
            store = LockoutStore(lockout, OutboxWaker(lockout))
            yield Subscribers(BackEnd(auth), auth_sql, otp_sql, DeliveryServiceStub(otp), store, notifier_sql)
    finally:
        await auth_sql.close()
        await otp_sql.close()
        await notifier_sql.close()
