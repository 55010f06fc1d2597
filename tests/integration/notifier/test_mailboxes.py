"""The dev stack's mail server as the stack runs it: a process, whose mailboxes are read from others."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from devstack.mail_tls import certificates_in
from devstack.mailboxes import Mailboxes, MailboxesRefused, MailboxesUnavailable
from devstack.paths import REPO
from devstack.waiting import free_port
from services.notifier.channels import Outgoing, Refused, Taken
from services.notifier.channels.email import EmailChannel
from services.notifier.settings import NotifierSettings
from tests.integration.notifier.test_email_channel import outgoing

ADDRESS = "anna@example.com"


class MailServer:
    """One process; it keeps its addresses, its messages and its certificate over a restart."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._smtp, self.control = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.mailboxes = Mailboxes(self.control)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        arguments = ["--listen", self._smtp, "--control", self.control, "--state-dir", str(self._state_dir)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "devstack.mail", *arguments, stdout=asyncio.subprocess.PIPE, cwd=REPO
        )
        assert self._process.stdout is not None
        assert self._smtp.encode() in await asyncio.wait_for(self._process.stdout.readline(), 20)

    async def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        assert await asyncio.wait_for(self._process.wait(), 10) == 0

    def channel(self) -> EmailChannel:
        settings = {
            "postgres_url": "postgresql://127.0.0.1/none",
            "smtp_address": self._smtp,
            "smtp_ca_file": certificates_in(self._state_dir).ca,
            "smtp_sender": "no-reply@zasov.example",
        }
        server = NotifierSettings.model_validate(settings).mail_server()
        assert server is not None
        return EmailChannel(server)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    started = MailServer(tmp_path / "mail")
    await started.start()
    yield started
    await started.stop()


async def sent(server: MailServer, message: Outgoing) -> object:
    async with server.channel() as channel:
        await channel.wait_up(5.0)
        return await channel.dispatch(message)


async def test_a_mailbox_is_read_from_another_process_and_outlives_its_server(server: MailServer) -> None:
    waiting = asyncio.create_task(server.mailboxes.wait(ADDRESS))
    assert isinstance(await sent(server, outgoing(notification_id=uuid4())), Taken)
    assert (await waiting).text.strip() == "Код 4711"
    await server.stop()
    with pytest.raises(MailboxesUnavailable):
        await server.mailboxes.messages(ADDRESS)
    await server.start()
    assert [mail.subject for mail in await server.mailboxes.messages("ANNA@example.com")] == ["Zasov: ваш код"]
    assert isinstance(await sent(server, outgoing()), Taken), "by the certificate that it had before"


async def test_it_misbehaves_on_command_and_obeys_again(server: MailServer) -> None:
    await server.mailboxes.set_behaviour(refuse_count=-1, refuse_code=550)
    assert await sent(server, outgoing()) == Refused(550)
    await server.mailboxes.reset_behaviour()
    assert isinstance(await sent(server, outgoing()), Taken)
    for wrong in ({"no_such": 1}, {"refuse_code": 250}, {"drop_at": "tea"}):
        with pytest.raises(MailboxesRefused):
            await server.mailboxes.set_behaviour(**wrong)


async def test_a_mailbox_is_read_on_the_command_line(server: MailServer) -> None:
    await sent(server, outgoing())
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "devstack", "mailbox", "read", ADDRESS, "--control", server.control],
        stdout=asyncio.subprocess.PIPE,
        cwd=REPO,
        env={**os.environ, "COLUMNS": "120"},
    )
    shown, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    assert "Zasov: ваш код" in shown.decode()
    assert "4711" in shown.decode()
