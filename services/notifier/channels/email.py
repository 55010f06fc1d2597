"""Email over SMTP: one message to one address, and what the mail server made of it.

`Taken` says that the mail server has it. What becomes of it there comes back, if at all, as a letter to the envelope's sender.
"""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from types import TracebackType
from typing import Self

from services.chassis.email_addresses import NotAnAddress, email_address
from services.chassis.telemetry import logger
from services.notifier.channels import InDoubt, Outcome, Outgoing, PutOff, Refused, Taken
from services.notifier.domain import ChannelId
from services.notifier.letters import Letter
from services.notifier.mail.connections import Away, Connections, connect
from services.notifier.mail.message import compose, message_id
from services.notifier.mail.settings import MailServer
from services.notifier.mail.transaction import Lost, Verdict, send

# Names the space of Message-IDs, as an SMSC's name that of its ids.
_PROVIDER = "smtp"
_RANDOM = random.SystemRandom()


class EmailChannel:
    """A context manager. Up while the mail server can be reached safely: after a failure no message is tried before."""

    id = ChannelId.EMAIL

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._sender = Address(server.operator, addr_spec=server.sender)
        self._connections = Connections(server)
        self._places = asyncio.Semaphore(server.connections)
        self._up = asyncio.Event()
        self._closing = False
        self._probing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._probing = asyncio.create_task(self._probe(0.0), name="mail server")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._up.clear()
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._connections.close()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    async def wait_up(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), timeout_s)

    async def dispatch(self, outgoing: Outgoing) -> Outcome:
        try:
            to = email_address(outgoing.destination)
        except NotAnAddress:
            return Refused(0)
        valid_until = asyncio.get_running_loop().time() + outgoing.validity.total_seconds()
        async with self._places:
            if not self.is_up or asyncio.get_running_loop().time() >= valid_until:
                return PutOff()
            letter = Letter(outgoing.subject, outgoing.text, outgoing.html)
            content = compose(outgoing.notification_id, letter, sender=self._sender, to=to, at=datetime.now(UTC))
            verdict, code = await self._send(to, content)
        match verdict:
            case Verdict.TAKEN:
                return Taken(_PROVIDER, (message_id(outgoing.notification_id, self._server.domain),))
            case Verdict.LATER:
                return PutOff()
            case Verdict.NEVER:
                return Refused(code)
            case Verdict.IN_DOUBT:
                return InDoubt()

    async def _send(self, to: str, content: bytes) -> tuple[Verdict, int]:
        """A connection that was idle may have been closed meanwhile: then a new one is tried, once, for nothing went out."""
        for fresh in (False, True):
            try:
                client, is_new = await self._connections.take(fresh=fresh)
            except Away as away:
                self._went_down(away.kind)
                return Verdict.LATER, 0
            try:
                verdict = await send(
                    client,
                    sender=self._server.sender,
                    to=to,
                    content=content,
                    timeout_s=self._server.timeout_s,
                    answer_timeout_s=self._server.answer_timeout_s,
                )
            except Lost:
                if not is_new:
                    continue
                self._went_down("Lost")
                return Verdict.LATER, 0
            self._connections.give_back(client)
            return verdict
        raise AssertionError("a new connection is the last one tried")

    def _went_down(self, kind: str) -> None:
        if not self._up.is_set():
            return
        self._up.clear()
        logger().warning("mail server away", error=kind)
        self._probing = asyncio.create_task(self._probe(self._server.reconnect_first_s), name="mail server")

    async def _probe(self, pause_s: float) -> None:
        # Python 3.11's wait_for drops a cancellation that comes as the try fails: cancelled alone, it would go on for ever.
        while not self._closing:
            await asyncio.sleep(pause_s * _RANDOM.uniform(0.5, 1.0))
            try:
                self._connections.give_back(await connect(self._server))
            except Away as away:
                logger().warning("mail server away", error=away.kind)
                pause_s = min(max(pause_s * 2, self._server.reconnect_first_s), self._server.reconnect_most_s)
                continue
            self._up.set()
            return
