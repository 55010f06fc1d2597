"""A mail server (aiosmtpd) that keeps what it takes, and misbehaves on command."""

import asyncio
import email
import email.policy
import json
import logging
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from devstack.mailboxes import Mail

STAGES = ("mail", "rcpt", "data", "content", "answer")
FOREVER = -1


@dataclass(frozen=True, slots=True)
class MailBehaviour:
    """Counts are of the next transactions, -1 is "until told otherwise".

    Stages: mail, rcpt, data (the command), content (after its last line; it is not kept), answer (it is kept). A refusal is
    at one of the first four.
    """

    refuse_count: int = 0
    refuse_at: str = "rcpt"
    refuse_code: int = 451
    drop_count: int = 0  # the connection is cut
    drop_at: str = "rcpt"
    hang_count: int = 0  # no answer, for ever
    hang_at: str = "content"
    starttls: bool = True  # whether it is offered, to connections made from then on

    def changed(self, knobs: dict[str, Any]) -> "MailBehaviour":
        """Raises ValueError for a knob or a value that doesn't exist."""
        if unknown := knobs.keys() - {item.name for item in fields(self)}:
            raise ValueError(f"no such knob: {', '.join(sorted(unknown))}")
        new = replace(self, **knobs)
        if not {new.refuse_at, new.drop_at, new.hang_at} <= set(STAGES):
            raise ValueError(f"a stage is one of {', '.join(STAGES)}")
        if not 400 <= new.refuse_code <= 599:
            raise ValueError("a refusal is 400 to 599")
        return new

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class MailSink:
    """An async context manager: listening inside, gone outside. Port 0 takes a free one.

    tls: offered by STARTTLS, and required then; implicit: spoken from the first byte instead. None: never. accounts: names and
    passwords, of which one is required then.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        tls: ssl.SSLContext | None,
        *,
        implicit: bool = False,
        accounts: Mapping[str, str] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self.behaviour = MailBehaviour()
        self.accounts = accounts
        self.connections = 0  # since it began to listen
        self._listen, self._tls, self._implicit = listen, tls, implicit
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._boxes: dict[str, list[Mail]] = defaultdict(list)
        self._arrived = asyncio.Condition()
        self._file = state_dir / "mail.jsonl" if state_dir else None
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            for line in self._file.read_text().splitlines() if self._file.exists() else ():
                kept = Mail.from_json(json.loads(line))
                self._boxes[kept.to.lower()].append(kept)
        # It would write addresses down.
        logging.getLogger("mail.log").setLevel(logging.ERROR)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        implicit = self._tls if self._implicit else None
        self._server = await loop.create_server(self._connection, *self._listen, ssl=implicit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.cut()
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def behave(self, **knobs: Any) -> None:
        self.behaviour = self.behaviour.changed(knobs)

    def messages(self, address: str) -> list[Mail]:
        return list(self._boxes[address.lower()])

    async def wait(self, address: str, after: int = 0) -> Mail:
        async with self._arrived:
            box = self._boxes[address.lower()]
            await self._arrived.wait_for(lambda: len(box) > after)
            return box[after]

    async def stage(self, connection: "_Connection", name: str) -> str | None:
        """What a misbehaving server does here: hangs, cuts the connection, or gives this refusal. None: goes on."""
        if self._spend("hang", name):
            await asyncio.Event().wait()
        if self._spend("drop", name):
            connection.cut()
            await asyncio.Event().wait()  # the connection's end cancels it
        if self._spend("refuse", name):
            return f"{self.behaviour.refuse_code} refused as told"
        return None

    async def keep(self, session: Session, envelope: Envelope) -> None:
        assert isinstance(envelope.content, bytes)
        for to in envelope.rcpt_tos:
            box = self._boxes[to.lower()]
            mail = _read(
                len(box) + 1, to, envelope.mail_from or "", envelope.content, session.ssl is not None or self._implicit
            )
            if self._file is not None:
                with self._file.open("a") as file:
                    file.write(json.dumps(mail.to_json(), ensure_ascii=False) + "\n")
            async with self._arrived:
                box.append(mail)
                self._arrived.notify_all()

    def _spend(self, what: str, stage: str) -> bool:
        left: int = getattr(self.behaviour, f"{what}_count")
        if not left or getattr(self.behaviour, f"{what}_at") != stage:
            return False
        if left > 0:
            self.behaviour = self.behaviour.changed({f"{what}_count": left - 1})
        return True

    def _connection(self) -> "_Connection":
        self.connections += 1
        return _Connection(self, self._tls if self.behaviour.starttls and not self._implicit else None)

    def opened(self, connection: "_Connection") -> None:
        self._open.add(connection)

    def closed(self, connection: "_Connection") -> None:
        self._open.discard(connection)


class _Connection(SMTP):
    """What aiosmtpd asks its handler it asks this, too."""

    def __init__(self, sink: MailSink, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            self,
            tls_context=tls,
            require_starttls=tls is not None,
            auth_required=sink.accounts is not None,
            authenticator=self._is_account,
            hostname="mail.example",
            loop=asyncio.get_running_loop(),
        )
        self._sink = sink

    def _is_account(self, _: Any, __: Any, ___: Any, ____: str, data: Any) -> AuthResult:
        known = (self._sink.accounts or {}).get(data.login.decode())
        # Unhandled, so that it answers 535 by itself.
        return AuthResult(success=known is not None and known == data.password.decode(), handled=False)

    def cut(self) -> None:
        transport = self._original_transport or self.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sink.opened(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.closed(self)
        super().connection_lost(error)

    async def handle_exception(self, error: Exception) -> str:
        logging.getLogger(__name__).error("%s", type(error).__name__)
        return "451 something is wrong with this server"

    async def handle_MAIL(self, _: Any, __: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        if refusal := await self._sink.stage(self, "mail"):
            return refusal
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, _: Any, __: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        if refusal := await self._sink.stage(self, "rcpt"):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def smtp_DATA(self, arg: str) -> None:
        if refusal := await self._sink.stage(self, "data"):
            await self.push(refusal)
            return
        await super().smtp_DATA(arg)

    async def handle_DATA(self, _: Any, session: Session, envelope: Envelope) -> str:
        if refusal := await self._sink.stage(self, "content"):
            return refusal
        await self._sink.keep(session, envelope)
        await self._sink.stage(self, "answer")
        return "250 OK"


def _read(index: int, to: str, envelope_from: str, content: bytes, secured: bool) -> Mail:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    return Mail(
        index=index,
        to=to,
        envelope_from=envelope_from,
        headers={name: str(value) for name, value in message.items()},
        text=text.get_content() if text else "",
        html=html.get_content() if html else "",
        raw=content.decode("utf-8", "replace"),
        secured=secured,
        received_at=datetime.now(UTC),
    )
