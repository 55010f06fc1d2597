"""The otp server as it runs in production, in this process, on a PostgreSQL of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from zasov.events.v1.otp_event_pb2 import OtpEvent, OtpPurpose
from zasov.otp.v1 import delivery_service_pb2 as delivery_pb
from zasov.otp.v1 import otp_service_pb2 as otp_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from zasov.otp.v1.otp_service_pb2_grpc import OtpServiceStub

import services.chassis
import services.otp
from devstack.waiting import free_port
from services.chassis.eventstore import payload_of, type_of
from services.chassis.keys import make_keys
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import migrate
from services.chassis.sealing import Seal, read_key
from services.otp import roles
from services.otp.settings import OtpSettings

PHONE = "+79161234567"
RECOVERY = OtpPurpose.OTP_PURPOSE_RECOVERY
MIGRATIONS = [Path(str(package.__file__)).parent / "migrations" for package in (services.chassis, services.otp)]


class Otp:
    """One running server, and how a test speaks to it, looks into its database and lets time pass."""

    def __init__(self, settings: OtpSettings, channel: grpc.aio.Channel, connection: asyncpg.Connection) -> None:
        self.settings = settings
        self.sql = connection
        self.codes = OtpServiceStub(channel)
        self.deliveries = DeliveryServiceStub(channel)
        self.seal = Seal(read_key(settings.keys_dir / "otp-delivery.key"))

    async def issue(self, subject: UUID, flow: UUID, purpose: int = RECOVERY, *, decoy: bool = False, **other: Any) -> Any:
        request = otp_pb.IssueRequest(
            subject_id=str(subject), flow_id=str(flow), purpose=purpose, is_decoy=decoy, **other,
            destination=otp_pb.Destination(phone=PHONE, language="ru"),
        )  # fmt: skip
        return await self.codes.Issue(request, timeout=10)

    async def verify(
        self, issued: Any, subject: UUID, flow: UUID, code: str, purpose: int = RECOVERY, *, without_grant: bool = False
    ) -> Any:
        request = otp_pb.VerifyRequest(
            challenge_id=issued.challenge_id, subject_id=str(subject), flow_id=str(flow), purpose=purpose, code=code,
            without_grant=without_grant,
        )  # fmt: skip
        return await self.codes.Verify(request, timeout=10)

    async def claim(self, issued: Any, claimant: str = "worker-1") -> Any:
        event_id = await self.issued_event_id(issued)
        request = delivery_pb.ClaimRequest(challenge_id=issued.challenge_id, event_id=str(event_id), claimant=claimant)
        return await self.deliveries.Claim(request, timeout=10)

    async def report(self, issued: Any, outcome: int = delivery_pb.DELIVERY_OUTCOME_SENT) -> None:
        event_id = await self.issued_event_id(issued)
        request = delivery_pb.ReportRequest(challenge_id=issued.challenge_id, event_id=str(event_id), outcome=outcome)
        await self.deliveries.Report(request, timeout=10)

    async def state(self, issued: Any) -> Any:
        return await self.codes.GetState(otp_pb.GetStateRequest(challenge_id=issued.challenge_id), timeout=10)

    async def issued_event_id(self, issued: Any) -> UUID:
        sql = "SELECT event_id FROM event WHERE stream_id = $1 AND version = 1"
        return await self.sql.fetchval(sql, UUID(issued.challenge_id))

    async def code_of(self, issued: Any) -> str:
        """As the message says it."""
        return (await self.claim(issued, "worker-1")).code

    async def wrong_code_of(self, issued: Any) -> str:
        return f"{(int(await self.code_of(issued)) + 1) % 10**issued.digits:0{issued.digits}d}"

    async def age(self, seconds: float, subject: UUID) -> None:
        """Lets time pass for a subject's budget and challenges."""
        shift = "ARRAY(SELECT t - make_interval(secs => $2) FROM unnest({0}) t ORDER BY t)"
        await self.sql.execute(
            f"UPDATE subject_budget SET wrong_at = {shift.format('wrong_at')}, issued_at = {shift.format('issued_at')}"
            " WHERE subject_id = $1",
            subject,
            seconds,
        )
        await self.sql.execute(
            "UPDATE challenge SET expires_at = expires_at - make_interval(secs => $2),"
            " issued_at = issued_at - make_interval(secs => $2) WHERE subject_id = $1",
            subject,
            seconds,
        )

    async def pass_cool_down(self, subject: UUID) -> None:
        await self.age(self.settings.cool_down_s, subject)

    async def spend(self, subject: UUID, wrong: int) -> None:
        """That many wrong checks, each code of a flow of its own."""
        while wrong:
            flow = uuid4()
            issued = await self.issue(subject, flow)
            code = await self.wrong_code_of(issued)
            for _ in range(min(3, wrong)):
                await self.verify(issued, subject, flow, code)
                wrong -= 1
            await self.pass_cool_down(subject)

    async def wrong_checks(self, subject: UUID) -> int:
        return await self.sql.fetchval("SELECT cardinality(wrong_at) FROM subject_budget WHERE subject_id = $1", subject)

    async def events(self, challenge_id: str) -> list[tuple[str, Any, Any]]:
        """(name, fact, row) of a stream, in order."""
        rows = await self.sql.fetch("SELECT * FROM event WHERE stream_id = $1 ORDER BY version", UUID(challenge_id))
        facts = [payload_of(OtpEvent.FromString(row["data"])) for row in rows]
        return [(type_of(fact), fact, row) for fact, row in zip(facts, rows, strict=True)]

    async def event_names(self, issued: Any) -> list[str]:
        return [name for name, _, _ in await self.events(issued.challenge_id)]

    async def until(self, condition: str) -> None:
        """Waits, seconds at most, until the SQL condition holds."""
        async with asyncio.timeout(5):
            while not await self.sql.fetchval(f"SELECT {condition}"):
                await asyncio.sleep(0.02)
                # Within a transaction what backends do is otherwise read once.
                await self.sql.execute("SELECT pg_stat_clear_snapshot()")

    async def until_waiting_for_locks(self, count: int) -> None:
        await self.until(
            f"count(*) = {count} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    async def deliveries_waiting(self) -> int:
        return await self.sql.fetchval("SELECT count(*) FROM delivery")


@asynccontextmanager
async def running(settings: OtpSettings) -> AsyncIterator[Otp]:
    life = Lifecycle()
    server = asyncio.create_task(roles.server(settings, life))
    try:
        while not life.is_ready:
            if server.done():
                server.result()
            await asyncio.sleep(0.01)
        connection = await asyncpg.connect(settings.postgres_url)
        try:
            async with grpc.aio.insecure_channel(settings.listen) as channel:
                yield Otp(settings, channel, connection)
        finally:
            await connection.close()
    finally:
        life.stop()
        await server
        await life.cancel_background()


Start = Callable[..., Any]


@pytest.fixture
async def start(database_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the server with settings of the test's own. The sweep sleeps unless asked for."""
    make_keys(tmp_path / "keys", datetime.now(UTC))
    async with AsyncExitStack() as stack:

        async def start_with(**settings: Any) -> Otp:
            chosen = OtpSettings(
                **{
                    "postgres_url": database_url,
                    "keys_dir": tmp_path / "keys",
                    "listen": f"127.0.0.1:{free_port()}",
                    "sweep_interval_s": 3600,
                    **settings,
                }
            )
            await migrate(chosen, MIGRATIONS)
            return await stack.enter_async_context(running(chosen))

        yield start_with


@pytest.fixture
async def otp(start: Start) -> Otp:
    return await start()


@pytest.fixture
def subject() -> UUID:
    return uuid4()


@pytest.fixture
def flow() -> UUID:
    return uuid4()
