"""A notifier in the test's own process: real PostgreSQL, the dev stack's SMSC, fake issuers over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import uuid6
from aiokafka import ConsumerRecord
from google.protobuf.message import Message as ProtoMessage
from pydantic import SecretStr
from zasov.events.v1.auth_event_pb2 import AuthEvent, PasswordChanged
from zasov.events.v1.lockout_event_pb2 import AccountBlocked, LockoutEvent
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, EventMeta
from zasov.events.v1.notifier_event_pb2 import NotifierEvent
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_RECOVERY, OtpEvent, OtpIssued, OtpPurpose

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from services.chassis import entrypoint
from services.chassis.eventstore import payload_of, type_of
from services.chassis.keys import make_keys
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import Database, migrate, open_database
from services.chassis.sealing import PrivateSeal, read_key
from services.chassis.streams import AUTH_EVENTS, LOCKOUT_EVENTS, OTP_EVENTS, headers_of
from services.notifier import roles
from services.notifier.dispatcher import Dispatcher
from services.notifier.settings import NotifierSettings
from services.notifier.store import Store
from services.notifier.templates import Templates
from tests.fakes.delivery_services import FakeDelivery, serving_deliveries
from tests.integration.rebuilding import assert_rows_are_their_events

PHONE = "+79160000001"
MIGRATIONS = [Path(entrypoint.__file__).parent / "migrations", Path(roles.__file__).parent / "migrations"]


@pytest.fixture
async def issuer() -> AsyncIterator[FakeDelivery]:
    async with serving_deliveries(FakeDelivery()) as fake:
        yield fake


@pytest.fixture
async def smsc(tmp_path: Path) -> AsyncIterator[Smsc]:
    at = ("127.0.0.1", 0)
    async with Smsc(listen=at, control=at, state_dir=tmp_path / "smsc", system_id="zasov", password="devstack") as running:
        yield running


@pytest.fixture
def handsets(smsc: Smsc) -> Handsets:
    return Handsets(smsc.control_address)


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", datetime.now(UTC))
    return tmp_path / "keys"


@pytest.fixture
def private(keys_dir: Path) -> PrivateSeal:
    """What auth holds, and the notifier doesn't."""
    return PrivateSeal(read_key(keys_dir / "auth-inbound.key"))


@pytest.fixture
def settings(database_url: str, issuer: FakeDelivery, smsc: Smsc, keys_dir: Path) -> NotifierSettings:
    """Impatient, so that tests are short."""
    return NotifierSettings(
        postgres_url=database_url,
        auth_address=issuer.address,
        otp_address=issuer.address,
        smpp_address=f"127.0.0.1:{smsc.address[1]}",
        smpp_system_id="zasov",
        smpp_password=SecretStr("devstack"),
        smpp_rate=10_000,
        smpp_window=10,
        smpp_response_timeout_s=0.5,
        smpp_reconnect_max_s=0.6,
        keys_dir=keys_dir,
        lease_s=1.0,
        poll_interval_s=0.1,
        retry_first_s=0.05,
        retry_most_s=0.2,
        drain_grace_s=2.0,
    )


@pytest.fixture
async def database(settings: NotifierSettings) -> AsyncIterator[Database]:
    await migrate(settings, MIGRATIONS)
    async with open_database(settings) as opened:
        yield opened
        async with opened.connection() as connection:
            await assert_rows_are_their_events(connection, "notifier")


@dataclass
class Notifier:
    """One worker, Kafka aside."""

    store: Store
    dispatcher: Dispatcher
    handlers: Any

    async def meet(self, event: "Event") -> None:
        """As the consumer would hand it over."""
        await self.handlers[event.topic][event.kind](event.record())


@dataclass
class Event:
    topic: str
    kind: str
    stream_id: UUID
    envelope: ProtoMessage
    event_id: UUID
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    def record(self) -> ConsumerRecord:
        value = self.envelope.SerializeToString()
        key = str(self.stream_id).encode()
        return ConsumerRecord(self.topic, 0, 0, 0, 0, key, value, None, len(key), len(value), self.headers)


def otp_issued(
    *,
    lives: timedelta = timedelta(minutes=5),
    age: timedelta = timedelta(0),
    version: int = 1,
    purpose: "OtpPurpose.ValueType" = OTP_PURPOSE_RECOVERY,
) -> Event:
    at = datetime.now(UTC) - age
    issued = OtpIssued(purpose=purpose, digits=4)
    issued.expires_at.FromDatetime(at + lives)
    return _event(OTP_EVENTS, OtpEvent, "otp_issued", issued, uuid4(), version, at)


def account_blocked(account_id: UUID | None = None, version: int = 3, age: timedelta = timedelta(0)) -> Event:
    account = account_id or uuid4()
    blocked = AccountBlocked(account_id=str(account), credential=CREDENTIAL_PASSWORD, epoch=1)
    return _event(LOCKOUT_EVENTS, LockoutEvent, "account_blocked", blocked, account, version, datetime.now(UTC) - age)


def password_changed(account_id: UUID | None = None, version: int = 7) -> Event:
    changed = PasswordChanged(credential_version=2)
    return _event(AUTH_EVENTS, AuthEvent, "password_changed", changed, account_id or uuid4(), version, datetime.now(UTC))


def auth_event(payload: ProtoMessage, version: int = 7) -> Event:
    """Any event of an account's stream."""
    name = next(one.name for one in AuthEvent.DESCRIPTOR.fields if one.message_type is payload.DESCRIPTOR)
    return _event(AUTH_EVENTS, AuthEvent, name, payload, uuid4(), version, datetime.now(UTC))


def _event(topic: str, envelope: Any, name: str, payload: ProtoMessage, stream: UUID, version: int, at: datetime) -> Event:
    event_id, kind = uuid6.uuid7(), type_of(payload)
    meta = EventMeta(event_id=str(event_id), stream_id=str(stream), version=version)
    meta.occurred_at.FromDatetime(at)
    headers = headers_of("test", envelope.DESCRIPTOR.name, event_id, kind, stream, at, None)
    return Event(topic, kind, stream, envelope(meta=meta, **{name: payload}), event_id, headers)


Start = Callable[..., Awaitable[Notifier]]


@pytest.fixture
async def start(settings: NotifierSettings, database: Database) -> AsyncIterator[Start]:
    """Starts workers; `await start(lease_s=9)` changes settings, `bound=False` doesn't wait for the SMSC."""
    async with AsyncExitStack() as stack:

        async def started(*, bound: bool = True, **changes: Any) -> Notifier:
            chosen, life = settings.model_copy(update=changes), Lifecycle()
            store, dispatcher = await stack.enter_async_context(roles.dispatching(chosen, life, database, Templates()))
            if bound:
                await until(lambda: dispatcher.can_send)
            return Notifier(store, dispatcher, roles.handlers_of(store, dispatcher))

        yield started


@pytest.fixture
async def notifier(start: Start) -> Notifier:
    return await start()


async def until(holds: Callable[[], Any], timeout: float = 8.0) -> Any:
    """Waits until it holds; what it answered."""
    async with asyncio.timeout(timeout):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


async def state_of(database: Database, event: Event) -> str | None:
    state: str | None = await database.fetch_value("SELECT state FROM message WHERE cause_event_id = $1", event.event_id)
    return state


async def comes_to(database: Database, event: Event, state: str) -> asyncpg.Record:
    """The message's row, once it is in this state."""
    row: asyncpg.Record = await until(
        lambda: database.fetch_row("SELECT * FROM message WHERE cause_event_id = $1 AND state = $2", event.event_id, state)
    )
    return row


async def facts_of(database: Database, event: Event) -> list[Any]:
    """The message's public events, in order."""
    rows = await database.fetch(
        "SELECT data FROM event JOIN message ON stream_id = notification_id WHERE cause_event_id = $1 AND is_public"
        " ORDER BY event.version",
        event.event_id,
    )
    return [payload_of(NotifierEvent.FromString(row["data"])) for row in rows]


async def names_of_facts(database: Database, event: Event) -> list[str]:
    return [type_of(fact) for fact in await facts_of(database, event)]
