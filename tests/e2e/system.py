"""What a test does with the running system."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar
from uuid import UUID

import asyncpg
import grpc
from zasov.auth.v1.common_pb2 import Session
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD
from zasov.lockout.v1 import lockout_service_pb2 as lockout
from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceStub

from devstack.event_log import EventLog
from devstack.handsets import Handsets
from devstack.mailboxes import Mail, Mailboxes
from devstack.office import Office
from devstack.stack import Stack
from devstack.staff import StaffSystem
from devstack.subscriber import BackEnd, Subscriber, new_client, new_phone
from services.chassis.errors import ServiceError

T = TypeVar("T")

PASSWORD = "Winter-in-Tver-26"
NEW_PASSWORD = "Spring-in-Pskov-27"
WRONG = "Summer-in-Tver-26"


class System:
    """A stack, seen from outside."""

    def __init__(self, stack: Stack, back_end: type[BackEnd] = BackEnd) -> None:
        self.stack = stack
        self._channel = grpc.aio.insecure_channel(stack.at.grpc["auth"])
        self.back_end = back_end(self._channel)
        outside = stack.infra.addresses()
        self.handsets = Handsets(outside["smsc"]["handsets"])
        self.mailboxes = Mailboxes(outside["mail"]["mailboxes"])
        self.subscribers: list[Subscriber] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    def event_log(self) -> EventLog:
        return EventLog(self.stack.at.kafka)

    def office(self, name: str = "tver-1") -> Office:
        return Office(self.back_end, StaffSystem(self.stack.at.keys), name)

    def subscriber(self) -> Subscriber:
        self.subscribers.append(Subscriber(self.back_end, self.handsets, new_phone(), new_client()))
        return self.subscribers[-1]

    async def registered(self) -> tuple[Subscriber, UUID]:
        """A subscriber whose password is PASSWORD, and their account id."""
        person = self.subscriber()
        session = await person.register(PASSWORD)
        return person, UUID(session.account_id)

    async def put_email_on_file(self, person: Subscriber, session: Session, email: str, password: str) -> None:
        sent = await self.back_end.start_email_change(session.token, password, email, person.client)
        code = code_in(await self.mailboxes.wait(email, timeout=20.0))
        await self.back_end.confirm_email_change(session.token, sent.grant, code, person.client)

    async def history(self, account_id: UUID) -> list[str]:
        """The types of an account's events, in order."""
        rows = await self.query("auth", "SELECT type FROM event WHERE stream_id = $1 ORDER BY version", account_id)
        return [row["type"] for row in rows]

    async def query(self, service: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.stack.at.databases[service])
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def status(self, account_id: UUID) -> lockout.GetStatusResponse:
        subject = lockout.Subject(owner_id=str(account_id), credential=CREDENTIAL_PASSWORD)
        async with grpc.aio.insecure_channel(self.stack.at.grpc["lockout"]) as channel:
            return await LockoutServiceStub(channel).GetStatus(lockout.GetStatusRequest(subject=subject), timeout=5)

    async def until_settled(self, account_id: UUID, timeout: float = 60.0) -> lockout.GetStatusResponse:
        """The subject's status once no attempt is open."""
        return await until(lambda: self.status(account_id), lambda status: status.open_attempts == 0, timeout)


def code_in(mail: Mail) -> str:
    """The code that it brings: the one line of digits."""
    (code,) = [line for line in mail.text.splitlines() if line.isdigit()]
    return code


async def until(look: Callable[[], Awaitable[T]], good: Callable[[T], bool], timeout: float = 30.0) -> T:
    """Looks, again and again, until what is seen is good. The last thing seen goes into the error."""
    deadline = time.monotonic() + timeout
    while True:
        seen = await look()
        if good(seen):
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"last seen: {seen}")
        await asyncio.sleep(0.05)


async def once_cooled_down(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks, and waits as a caller is told to."""
    while True:
        try:
            return await ask()
        except ServiceError as error:
            if error.reason != "COOL_DOWN" or error.retry_after is None:
                raise
            await asyncio.sleep(error.retry_after.total_seconds())
