"""Auth, lockout and otp as they run in production, in this process, each on a PostgreSQL of its own; the stream is played."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from zasov.auth.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    captcha_service_pb2,
    captcha_service_pb2_grpc,
    delivery_service_pb2_grpc,
    recovery_service_pb2,
    recovery_service_pb2_grpc,
    registration_service_pb2,
    registration_service_pb2_grpc,
    sign_in_service_pb2,
    sign_in_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from zasov.auth.v1.common_pb2 import ClientContext, CodeSent, Session
from zasov.events.v1.auth_event_pb2 import AuthEvent
from zasov.otp.v1 import delivery_service_pb2 as otp_delivery_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceStub as OtpDeliveryStub

from services.auth.sessions import decode_token
from services.auth.texts.commands import Commands
from services.chassis.lifecycle import Lifecycle
from services.chassis.settings import ChassisSettings
from services.lockout import outcomes
from services.lockout.store import LockoutStore
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.integration.auth.notifying import Notifier

PHONE, OTHER_PHONE, UNKNOWN_PHONE = "+79161234567", "+79161234568", "+79167654321"
PASSWORD, NEW_PASSWORD = "Vesna-na-Volge-7", "Osen-na-Onege-8"
IP = "203.0.113.77"
CAPTCHA_TEXT = "HAPPY-REPTXX"
# Settings of auth: an installation with pictures, whose characters are known here.
PICTURES: dict[str, Any] = {"captcha_provider": "picture", "captcha_fixed_text": CAPTCHA_TEXT, "reflection": True}


@dataclass(frozen=True)
class Refusal:
    """All that a caller gets to see of an error."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_s: float | None = field(compare=False)
    raw: bytes = field(compare=False)


async def refusal(call: Awaitable[Any]) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def refusal_of(error: Any) -> Refusal:
    assert isinstance(error, grpc.aio.AioRpcError), repr(error)
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    if status is None:
        return Refusal(error.code().name, "", "", {}, {}, None, b"")
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    retry_s = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        if detail.Unpack(retry):
            retry_s = retry.retry_delay.ToTimedelta().total_seconds()
    violations = {one.field: one.description for one in bad.field_violations}
    raw = status.SerializeToString()
    return Refusal(error.code().name, info.reason, status.message, dict(info.metadata), violations, retry_s, raw)


def client(**changed: str) -> ClientContext:
    return ClientContext(**{"ip": IP, "device_id": "device-of-the-test", **changed})


class Auth:
    """One replica, and the calls that tests make of it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.signing_in = sign_in_service_pb2_grpc.SignInServiceStub(channel)
        self.registration = registration_service_pb2_grpc.RegistrationServiceStub(channel)
        self.recovery = recovery_service_pb2_grpc.RecoveryServiceStub(channel)
        self.account = account_service_pb2_grpc.AccountServiceStub(channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self.delivery = delivery_service_pb2_grpc.DeliveryServiceStub(channel)
        self.captchas = captcha_service_pb2_grpc.CaptchaServiceStub(channel)

    async def sign_in(self, phone: str = PHONE, password: str = PASSWORD, timeout: float = 20, **context: str) -> Session:
        request = sign_in_service_pb2.SignInRequest(phone=phone, password=password, client=client(**context))
        return (await self.signing_in.SignIn(request, timeout=timeout)).session

    async def request_temporary(self, phone: str = PHONE, **context: str) -> Any:
        request = recovery_service_pb2.RequestTemporaryPasswordRequest(phone=phone, client=client(**context))
        return await self.recovery.RequestTemporaryPassword(request, timeout=20)

    async def use_temporary(self, password: str, phone: str = PHONE, grant: str = "") -> str:
        """The grant for choosing a permanent one."""
        request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
            phone=phone, temporary_password=password, client=client(), grant=grant
        )
        return str((await self.signing_in.SignInWithTemporaryPassword(request, timeout=20)).must_choose.grant)

    async def confirm_proposed(self, grant: str, password: str) -> Session:
        request = sign_in_service_pb2.ConfirmProposedPasswordRequest(grant=grant, password=password, client=client())
        return (await self.signing_in.ConfirmProposedPassword(request, timeout=20)).session

    async def choose_permanent(self, grant: str, password: str = NEW_PASSWORD) -> Session:
        request = sign_in_service_pb2.ChoosePermanentPasswordRequest(grant=grant, password=password, client=client())
        return (await self.signing_in.ChoosePermanentPassword(request, timeout=20)).session

    async def change(self, token: str, old: str = PASSWORD, new: str = NEW_PASSWORD) -> None:
        request = account_service_pb2.ChangePasswordRequest(
            session_token=token, old_password=old, new_password=new, client=client()
        )
        await self.account.ChangePassword(request, timeout=20)

    async def picture(self) -> captcha_service_pb2.CreateCaptchaResponse:
        return await self.captchas.CreateCaptcha(captcha_service_pb2.CreateCaptchaRequest(client=client()), timeout=20)

    async def solved(self, characters: str = CAPTCHA_TEXT) -> str:
        """The proof of a picture that was answered so."""
        return f"{(await self.picture()).captcha_id}:{characters}"

    async def introspect(self, token: str) -> Any:
        return await self.tokens.Introspect(token_service_pb2.IntrospectRequest(token=token), timeout=10)

    async def is_active(self, token: str) -> bool:
        return bool((await self.introspect(token)).active)

    def flow(self, kind: str) -> "FlowCalls":
        return FlowCalls(self, kind)


class FlowCalls:
    """The same four steps of either flow; kind: "Registration" or "Recovery"."""

    def __init__(self, auth: Auth, kind: str) -> None:
        self._stub = auth.registration if kind == "Registration" else auth.recovery
        self._pb: Any = registration_service_pb2 if kind == "Registration" else recovery_service_pb2
        self._kind = kind

    async def start(self, phone: str = PHONE, **context: str) -> CodeSent:
        return (await self._call(f"Start{self._kind}", phone=phone, client=client(**context))).code

    async def send_again(self, grant: str, **context: str) -> CodeSent:
        return (await self._call(f"Send{self._kind}CodeAgain", grant=grant, client=client(**context))).code

    async def confirm(self, grant: str, code: str) -> str:
        confirmed = (await self._call(f"Confirm{self._kind}", grant=grant, code=code, client=client())).confirmed
        assert confirmed.expires_at.seconds > 0
        return str(confirmed.grant)

    async def choose(self, grant: str, password: str = PASSWORD) -> Session:
        return (await self._call(f"Choose{self._kind}Password", grant=grant, password=password, client=client())).session

    async def _call(self, method: str, **fields: Any) -> Any:
        return await getattr(self._stub, method)(getattr(self._pb, f"{method}Request")(**fields), timeout=20)


@dataclass
class Suite:
    """auth: a replica. said: what was typed, and must be found in no event and no log. notifier: for tests that have one."""

    start_auth: Callable[..., Awaitable[Auth]]
    auth: Auth
    sql: asyncpg.Connection
    lockout_sql: asyncpg.Connection
    otp_sql: asyncpg.Connection
    lockout: LockoutStore
    otp_delivery: OtpDeliveryStub
    keys_dir: Any
    start_commands: Callable[[], Awaitable[Commands]]
    said: set[str] = field(default_factory=lambda: {PASSWORD, NEW_PASSWORD, IP, "device-of-the-test"})
    notifier: "Notifier | None" = None

    async def close(self) -> None:
        for connection in (self.sql, self.lockout_sql, self.otp_sql):
            await connection.close()

    async def code_of(self, grant: str) -> str:
        """The code, as the message says it."""
        return await self._claim(await self._challenge_of(grant))

    async def goes_to_an_account(self, grant: str) -> bool:
        """Whether otp says so of its newest code."""
        return bool((await self._claimed(await self._challenge_of(grant))).has_account)

    async def _challenge_of(self, grant: str) -> UUID:
        decoded = decode_token(grant, 1)
        assert decoded is not None
        found: UUID = await self.sql.fetchval("SELECT challenge_id FROM flow WHERE flow_id = $1", decoded[0][0])
        return found

    async def temporary_password(self, phone: str = PHONE, **context: str) -> str:
        """Asks for one, and reads it as the message says it."""
        await self.auth.request_temporary(phone, **context)
        return await self.newest_password()

    async def newest_password(self) -> str:
        newest = "SELECT id FROM challenge WHERE purpose > 2 AND state = 'open' ORDER BY issued_at DESC LIMIT 1"
        return await self.password_of(await self.otp_sql.fetchval(newest))

    async def password_of(self, challenge_id: UUID) -> str:
        password = await self._claim(challenge_id)
        self.said.add(password)
        return password

    async def _claim(self, challenge_id: UUID) -> str:
        code = str((await self._claimed(challenge_id)).code)
        if len(code) == 8:  # a shorter one may stand in any identifier by chance
            self.said.add(code)
        return code

    async def _claimed(self, challenge_id: UUID) -> Any:
        event_id = await self.otp_sql.fetchval("SELECT event_id FROM event WHERE stream_id = $1 AND version = 1", challenge_id)
        request = otp_delivery_pb.ClaimRequest(challenge_id=str(challenge_id), event_id=str(event_id), claimant="test")
        return await self.otp_delivery.Claim(request, timeout=10)

    async def confirmed(self, kind: str, phone: str = PHONE, **context: str) -> str:
        """The grant with which a password can be chosen."""
        flow = self.auth.flow(kind)
        sent = await flow.start(phone, **context)
        return await flow.confirm(sent.grant, await self.code_of(sent.grant))

    async def register(self, phone: str = PHONE, password: str = PASSWORD, **context: str) -> Session:
        return await self.auth.flow("Registration").choose(await self.confirmed("Registration", phone, **context), password)

    async def recover(self, phone: str = PHONE, password: str = NEW_PASSWORD) -> Session:
        return await self.auth.flow("Recovery").choose(await self.confirmed("Recovery", phone), password)

    async def play_stream(self) -> int:
        """Relay and lockout's stream: settles what auth has published. Returns how many events that was."""
        rows = await self.sql.fetch(
            "SELECT o.id, e.type, e.data FROM outbox o JOIN event e USING (stream_id, version) ORDER BY 1"
        )
        await outcomes.settle(
            [outcomes.parse_auth(row["data"]) for row in rows if row["type"] in outcomes.AUTH_KINDS], self.lockout
        )
        await self.sql.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])
        return len(rows)

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[None]:
        """Plays it all the while."""

        async def play() -> None:
            while True:
                await self.play_stream()
                await asyncio.sleep(0.005)

        playing = asyncio.create_task(play())
        try:
            yield
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await self.play_stream()

    async def wrong(self, times: int = 1, phone: str = PHONE, auth: Auth | None = None) -> list[Refusal]:
        """Guesses wrong, each settled before the next."""
        refusals = []
        for _ in range(times):
            refusals.append(await refusal((auth or self.auth).sign_in(phone, "Wrong-1-password")))
            await self.play_stream()
        return refusals

    async def limit_origin(self) -> None:
        """For 40 s, that of a guess which has failed: in every dimension."""
        failed = AuthEvent.FromString(await self.sql.fetchval("SELECT data FROM event WHERE type = 'LoginFailed'"))
        await self.lockout_sql.execute(
            "INSERT INTO penalty (pseudonym, dimension, key_id, until, version)"
            " SELECT $1, d, '', clock_timestamp() + interval '40 s', 1 FROM unnest($2::smallint[]) d",
            failed.meta.origin.ip_pseudonym,
            [1, 2, 3, 4],
        )

    async def open_attempts(self) -> int:
        return int(await self.lockout_sql.fetchval("SELECT count(*) FROM attempt"))

    async def strikes(self, owner: str) -> int:
        return int(await self.lockout_sql.fetchval("SELECT strikes FROM subject WHERE owner_id = $1", UUID(owner)) or 0)

    async def kinds(self, stream: str) -> list[str]:
        rows = await self.sql.fetch("SELECT type FROM event WHERE stream_id = $1 ORDER BY version", UUID(stream))
        return [row["type"] for row in rows]

    async def accounts(self) -> int:
        return int(await self.sql.fetchval("SELECT count(*) FROM account"))

    async def until_waiting_for_locks(self, count: int) -> None:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

        async def waiting() -> bool:
            await self.sql.execute("SELECT pg_stat_clear_snapshot()")
            return bool(await self.sql.fetchval(sql) == count)

        await until(f"{count} waiting for locks", waiting)


@asynccontextmanager
async def running(role: Callable[[Any, Lifecycle], Awaitable[None]], settings: ChassisSettings) -> AsyncIterator[None]:
    """A role, as its process runs it."""
    life = Lifecycle()
    work = asyncio.ensure_future(role(settings, life))

    async def is_ready() -> bool:
        if work.done():
            work.result()
        return life.is_ready

    try:
        await until("ready", is_ready)
        yield
    finally:
        life.stop()
        await work
        await life.cancel_background()
